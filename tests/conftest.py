"""What all tests share: nothing is fetched, and small tensors are not spread over threads."""

from __future__ import annotations

import os

# Before anything imports torch or transformers.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
