"""Demonstrations on real material that is fetched when one is run."""
