"""Digests of IU X-ray's sentences, by which a test finds them in what the project commits.

Predictions of models trained on real data repeat training reports word for word, so that a file of
predictions, a figure or a note can carry report text into the project unnoticed. Shipped are eight
bytes of each sentence's SHA-256: enough to recognise a sentence, and no way back to one.

    BENCH_DATA=... python -m bench.scripts.iu_sentences tests/golden/iu_sentences.bin
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from bench.data import data_root
from bench.files import write_atomic

TABLE, COLUMNS = "indiana_reports.csv", ("findings", "impression")
WORDS = 8  # of a sentence at least: shorter ones are anyone's
BYTES = 8
# Of reports, and of what could hold them: prose, cells of a table, strings of code and of JSON.
_END = re.compile(r"(?<=[.!?])\s+|[\n\r\t\"'|;<>]+|\\n")


def digests(text: str) -> Iterator[bytes]:
    """Of every sentence of `WORDS` words or more, whatever its case and punctuation."""
    for sentence in _END.split(text):
        words = re.findall(r"[a-z0-9]+", sentence.lower())
        if len(words) >= WORDS:
            yield hashlib.sha256(" ".join(words).encode()).digest()[:BYTES]


def pack(found: Iterable[bytes]) -> bytes:
    return b"".join(sorted(set(found)))


def unpack(data: bytes) -> frozenset[bytes]:
    return frozenset(data[i : i + BYTES] for i in range(0, len(data), BYTES))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("target", type=Path)
    target = parser.parse_args().target
    with (data_root() / "iu_xray" / TABLE).open(encoding="utf-8", newline="") as file:
        texts = [row[column] for row in csv.DictReader(file) for column in COLUMNS]
    write_atomic(target, pack(found for text in texts for found in digests(text)))


if __name__ == "__main__":
    main()
