"""Three reports as files of a stranger, in a folder of a test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.metrics import ptb

TEXTS = {"1": "Lungs are clear.", "2": "Heart is normal.", "3": "Small, left effusion."}
PLAIN = 'study_id,report\n1,Lungs are clear.\n2,Heart is normal.\n3,"Small, left effusion."\n'


def apart(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in this folder, and without Java's tokenizer."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(ptb, "tokenize", lambda texts: [" ".join(t.lower().split()) for t in texts])


def write(name: str, data: str | bytes) -> Path:
    Path(name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return Path(name)
