"""Manifests: what exactly a dataset consists of, as ids and hashes, without a word of its text.

`manifests/iu_xray.csv.gz` lists R2Gen's studies: id, patient, split, sha256 of the cleaned report,
and the chosen images. A rendition (`iu_xray.256-jpg.csv.gz`) lists sizes and sha256 of one known
set of image files of those keys; other files of the same images are other renditions. A
`<name>.split.csv.gz` lists only ids and splits: another division of the same studies, or, with a
column `fold<f>` each, the divisions of a set of folds.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path

from bench.data.study import SPLITS, Dataset, Image
from bench.data.text import clean, normalise
from bench.errors import DataError
from bench.files import csv_text

FOLDER = Path(str(files("bench.data") / "manifests"))
COLUMNS = ("study", "patient", "split", "text", "images")


def sha256(text: str) -> str:
    """Hex digest of a text's UTF-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()


def text_hash(report: str, cleaning: str) -> str:
    """sha256 of the cleaned report, neither thresholded nor cut."""
    return sha256(normalise(clean(report, cleaning)))


@dataclass(frozen=True, slots=True)
class Entry:
    """One study of a manifest; `text` is its `text_hash`."""

    study: str
    patient: str
    split: str
    text: str
    images: tuple[Image, ...]


@dataclass(frozen=True)
class Manifest:
    """The studies of a dataset, in order."""

    entries: tuple[Entry, ...]

    @cached_property
    def content(self) -> str:
        """The canonical CSV, one study a line; images are `key:view`, separated by spaces."""
        rows = (
            (e.study, e.patient, e.split, e.text, " ".join(f"{i.key}:{i.view}" for i in e.images))
            for e in self.entries
        )
        return csv_text(COLUMNS, rows)

    @cached_property
    def digest(self) -> str:
        """sha256 of `content`."""
        return sha256(self.content)

    def counts(self) -> dict[str, int]:
        """Studies per split."""
        return {s: sum(e.split == s for e in self.entries) for s in SPLITS}

    def resplit(self, splits: Mapping[str, str]) -> Manifest:
        """The same studies in other splits; `splits` must name each study once."""
        ids = {entry.study for entry in self.entries}
        if ids != splits.keys():
            raise DataError("the split does not cover the manifest's studies", "build it again")
        return Manifest(tuple(replace(e, split=splits[e.study]) for e in self.entries))

    @classmethod
    def parse(cls, content: str) -> Manifest:
        """The inverse of `content`."""
        return cls(
            tuple(
                Entry(row["study"], row["patient"], row["split"], row["text"], _images(row))
                for row in csv.DictReader(io.StringIO(content))
            )
        )


def _images(row: Mapping[str, str]) -> tuple[Image, ...]:
    pairs = (item.rsplit(":", 1) for item in row["images"].split())
    return tuple(Image(key, view) for key, view in pairs)


@dataclass(frozen=True)
class Rendition:
    """Known files of a manifest's images: key -> (bytes, sha256)."""

    name: str
    files: Mapping[str, tuple[int, str]]

    @property
    def content(self) -> str:
        """The canonical CSV, in order of keys."""
        rows = ((k, str(size), digest) for k, (size, digest) in sorted(self.files.items()))
        return csv_text(("image", "bytes", "sha256"), rows)

    @cached_property
    def digest(self) -> str:
        """sha256 of `content`."""
        return sha256(self.content)

    @classmethod
    def parse(cls, name: str, content: str) -> Rendition:
        """The inverse of `content`."""
        rows = csv.DictReader(io.StringIO(content))
        return cls(name, {r["image"]: (int(r["bytes"]), r["sha256"]) for r in rows})


@cache
def load(name: str) -> Manifest:
    """The manifest `name` that ships with the project."""
    return Manifest.parse(_read(f"{name}.csv.gz"))


def load_splits(name: str, column: str = "split") -> dict[str, str]:
    """Study id -> split of the division `name` that ships with the project.

    `column`: "split", or that of one fold, such as "fold0", in a set of folds.
    """
    rows = csv.DictReader(io.StringIO(_read(f"{name}.split.csv.gz")))
    return {row["study"]: row[column] for row in rows}


@cache
def renditions(name: str) -> tuple[Rendition, ...]:
    """Every known rendition of the manifest `name`."""
    known = []
    for path in sorted(FOLDER.glob(f"{name}.*.csv.gz")):
        rendition = path.name.removeprefix(f"{name}.").removesuffix(".csv.gz")
        if rendition != "split":
            known.append(Rendition.parse(rendition, _read(path.name)))
    return tuple(known)


def _read(name: str) -> str:
    try:
        return gzip.decompress((FOLDER / name).read_bytes()).decode()
    except FileNotFoundError:
        raise DataError(f"no manifest {name} in {FOLDER}", "reinstall rrg-bench") from None


SAMPLE = "-sample"  # in the name of a sample, between its dataset's and its size


def sample(dataset: Dataset, count: int) -> Dataset:
    """`count` studies of each split (all, where it has fewer), drawn by the sha256 of their ids.

    The draw depends on nothing but the ids: it is the same on every machine, and a larger sample
    contains the smaller. The sample has a manifest of its own; its vocabulary is its own too.
    """
    drawn: set[str] = set()
    for split in SPLITS:
        drawn.update(sorted((s.id for s in dataset.split(split)), key=sha256)[:count])
    return replace(
        dataset,
        name=f"{dataset.name}{SAMPLE}{count}",
        studies=tuple(s for s in dataset.studies if s.id in drawn),
        manifest=sha256("\n".join([dataset.manifest, *sorted(drawn)])),
    )


def hashed(path: Path) -> tuple[int, str]:
    """Size and sha256 of a file."""
    data = path.read_bytes()
    return len(data), hashlib.sha256(data).hexdigest()
