"""Sweeps: many runs of main.py, started as processes. See `sweep.py` for one from start to end."""
