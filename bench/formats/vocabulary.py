"""The vocabulary that r2gen@1 cuts references to: a list of words, or the annotation it is of."""

from __future__ import annotations

from pathlib import Path

from bench.data.text import MIN_COUNTS, Vocabulary, clean
from bench.errors import DataError
from bench.formats.reading import read
from bench.formats.reports import read_references
from bench.formats.rows import ALL
from bench.formats.text import read_text


def read_vocabulary(path: Path, cleaning: str) -> Vocabulary:
    """Of a file of words, one a line, in any order, or of an annotation's train split."""
    if path.suffix.lower() != ".json":
        return Vocabulary.of(_words(path))
    if not read(path, ALL).splits:
        raise DataError(
            f"{path} is no annotation with a train split",
            "give R2Gen's annotation.json, or a text file of words, one a line",
        )
    train = read_references(path, split="train").texts
    return Vocabulary.build((clean(text, cleaning) for text in train), MIN_COUNTS[cleaning])


def _words(path: Path) -> list[str]:
    lines = [line.strip() for line in read_text(path).splitlines()]
    for number, line in enumerate(lines, start=1):
        if len(line.split()) > 1:
            raise DataError(f"{path}, line {number}: {line[:60]!r} is no word", "one word a line")
    if not any(lines):
        raise DataError(f"{path} has no words", "give R2Gen's words, one a line")
    return [line for line in lines if line]
