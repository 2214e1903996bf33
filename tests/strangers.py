"""Three reports as files of a stranger, in a folder of a test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.__main__ import main
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


def scored(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """What `bench score p.csv --references r.csv` prints of BLEU as JSON; it must succeed."""
    code = main(["score", "p.csv", "--references", "r.csv", "--metrics", "BLEU", "--json", *argv])
    found = capsys.readouterr()
    assert code == 0, found.err
    return found.out
