"""The papers' tables, run again: configurations, the papers' numbers, and ours beside them."""
