"""Functional restatements of STM, STCN and RDE-VOS that compute on state dicts in the authors' key schemes.

They exist to prove the zoo's networks and the conversion of released weights: nothing here is shared with the package,
every formula is written out from the papers and from the released key names, and everything runs in the type of the
state dict (float32 or float64).

``state.random_state_dict(kind, seed)`` makes a seeded state dict with exactly the keys and shapes of a released file.
"""
