"""MGCA: multi-granularity cross-modal alignment of chest X-rays and reports (NeurIPS 2022).

`PAPER.md` beside this file says which line is which part of the paper and of its released code.
"""
