"""Manifests: what exactly a dataset consists of, as ids and hashes, without a word of its text.

`manifests/iu_xray.csv.gz` lists R2Gen's studies: id, patient, split, sha256 of the cleaned report,
and the chosen images. A rendition (`iu_xray.256-jpg.csv.gz`) lists sizes and sha256 of one known
set of image files of those keys; other files of the same images are other renditions. A
`<name>.split.csv.gz` lists only ids and splits: another division of the same studies.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path

from bench.data.study import SPLITS, Dataset, Image
from bench.data.text import clean, normalise
from bench.errors import DataError

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
        return _csv(COLUMNS, rows)

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
        return _csv(("image", "bytes", "sha256"), rows)

    @cached_property
    def digest(self) -> str:
        """sha256 of `content`."""
        return sha256(self.content)

    @classmethod
    def parse(cls, name: str, content: str) -> Rendition:
        """The inverse of `content`."""
        rows = csv.DictReader(io.StringIO(content))
        return cls(name, {r["image"]: (int(r["bytes"]), r["sha256"]) for r in rows})


def _csv(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()


@cache
def load(name: str) -> Manifest:
    """The manifest `name` that ships with the project."""
    return Manifest.parse(_read(f"{name}.csv.gz"))


def load_splits(name: str) -> dict[str, str]:
    """Study id -> split of the division `name` that ships with the project."""
    rows = csv.DictReader(io.StringIO(_read(f"{name}.split.csv.gz")))
    return {row["study"]: row["split"] for row in rows}


@cache
def renditions(name: str) -> tuple[Rendition, ...]:
    """Every known rendition of the manifest `name`."""
    known = []
    for path in sorted(FOLDER.glob(f"{name}.*.csv.gz")):
        rendition = path.name.removeprefix(f"{name}.").removesuffix(".csv.gz")
        if rendition != "split":
            known.append(Rendition.parse(rendition, _read(path.name)))
    return tuple(known)


def splits_csv(manifest: Manifest) -> str:
    """The canonical CSV of a manifest's division alone."""
    return _csv(("study", "split"), ((e.study, e.split) for e in manifest.entries))


def write(path: Path, content: str) -> None:
    """`content`, compressed without a time stamp, so that equal contents give equal files."""
    path.write_bytes(gzip.compress(content.encode(), 9, mtime=0))


def _read(name: str) -> str:
    try:
        return gzip.decompress((FOLDER / name).read_bytes()).decode()
    except FileNotFoundError:
        raise DataError(f"no manifest {name} in {FOLDER}", "reinstall rrg-bench") from None


def draw(seed: str, key: str) -> float:
    """A uniform number in [0, 1) that depends on `seed` and `key` alone, on every platform."""
    return int(sha256(f"{seed}:{key}")[:13], 16) / 16**13


def exchangeable(
    manifest: Manifest, strata: Mapping[str, str], shares: Mapping[str, float], seed: str
) -> dict[str, str]:
    """Study id -> split, drawn so that no text is in two splits and all splits are alike.

    Studies of one text (or one patient's: the union of both relations) form a group, which goes
    to one split whole. Groups come in random order; each goes to a split drawn with probability
    proportional to the room that is left there in the group's stratum, so that sizes come out
    near `shares` and large groups favour no split. `strata` maps study ids ("normal").
    """
    groups = _groups(manifest)
    room = _room(manifest, strata, shares)
    splits: dict[str, str] = {}
    for ids in sorted(groups, key=lambda ids: draw(f"{seed}/order", ids[0])):
        left = room[_majority([strata[i] for i in ids])]
        split = _choose(left, draw(f"{seed}/split", ids[0]))
        left[split] -= len(ids)
        splits.update(dict.fromkeys(ids, split))
    return splits


def _groups(manifest: Manifest) -> list[list[str]]:
    """Study ids, joined (transitively) where they share a text or a patient."""
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        while parent.setdefault(node, node) != node:
            node = parent[node]
        return node

    for entry in manifest.entries:
        for relation in (f"text {entry.text}", f"patient {entry.patient}"):
            parent[root(relation)] = root(f"study {entry.study}")
    groups: dict[str, list[str]] = {}
    for entry in manifest.entries:
        groups.setdefault(root(f"study {entry.study}"), []).append(entry.study)
    return [sorted(ids) for ids in groups.values()]


def _room(
    manifest: Manifest, strata: Mapping[str, str], shares: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    room: dict[str, dict[str, float]] = {}
    for entry in manifest.entries:
        left = room.setdefault(strata[entry.study], dict.fromkeys(shares, 0.0))
        for split, share in shares.items():
            left[split] += share
    return room


def _majority(names: Sequence[str]) -> str:
    return max(sorted(set(names)), key=names.count)


def _choose(room: Mapping[str, float], point: float) -> str:
    """The split at `point` (0 to 1) of the room laid end to end; the roomiest when all is full."""
    total = sum(max(left, 0.0) for left in room.values())
    passed = 0.0
    for split, left in room.items():
        passed += max(left, 0.0)
        if point * total < passed:
            return split
    return max(room, key=lambda split: room[split])


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
        name=f"{dataset.name}-sample{count}",
        studies=tuple(s for s in dataset.studies if s.id in drawn),
        manifest=sha256("\n".join([dataset.manifest, *sorted(drawn)])),
    )
