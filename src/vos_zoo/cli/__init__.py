"""The two console commands: ``vos-zoo`` for everything that works on videos, ``lightning`` for training.

Both are thin: they read arguments, call the library and print.
"""
