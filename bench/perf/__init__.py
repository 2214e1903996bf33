"""Timings of this machine: `bench perf`."""
