"""Timings of this machine: `python -m bench perf`."""
