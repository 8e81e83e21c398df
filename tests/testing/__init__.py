"""Helpers that several tests share; the package itself never imports them."""
