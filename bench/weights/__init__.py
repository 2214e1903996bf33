"""Pretrained weights by name: a lock file, the user's folder, and nothing fetched unasked.

`bench/conf/weights.lock` names every file with its source, licence and, where known, its sha256.
The files lie in $BENCH_WEIGHTS (default `weights/`) or inside an installed Python package. A
digest that the lock does not know is recorded in the folder's own `recorded.yaml` when a file is
added; from then on a file that differs is refused.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import yaml

from bench.errors import BenchError, DataError, MissingError, unknown
from bench.files import exclusive, file_digest, replacing, unwritable, write_atomic

LOCK = Path(__file__).parents[1] / "conf" / "weights.lock"
RECORDED = "recorded.yaml"
REPAIR = "correct or remove it; `bench weights add` records each file again"


@dataclass(frozen=True)
class Entry:
    """One named file. `sha256` is "" when no trusted value is known."""

    name: str
    file: str
    source: str
    licence: str
    url: str = ""
    sha256: str = ""
    sha256_prefix: str = ""
    size: int = 0
    package: str = ""
    unpack: str = ""
    beside: tuple[str, ...] = ()  # names of files that must lie in the same folder


@dataclass(frozen=True)
class Resolved:
    """A file that is here, and the sha256 of its content."""

    path: Path
    digest: str


@dataclass(frozen=True)
class Status:
    """One line of a listing. `state`: "here", "missing", or what is wrong."""

    entry: Entry
    state: str
    path: Path | None = None
    digest: str = ""


def folder() -> Path:
    """The user's folder of weights: $BENCH_WEIGHTS, or `weights` here."""
    return Path(os.environ.get("BENCH_WEIGHTS") or "weights")


def made_folder() -> Path:
    """The user's folder, made where it is not there; a disk that refuses is a RunError."""
    try:
        folder().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder(), error) from error
    return folder()


def entries() -> dict[str, Entry]:
    """Every known name: the lock's, with the digests that the user's folder has recorded."""
    table: dict[str, Any] = yaml.safe_load(LOCK.read_text(encoding="utf-8"))
    known = {name: _entry(name, fields) for name, fields in table.items()}
    for name, fields in _recorded().items():
        if name not in known:
            known[name] = _entry(name, fields)
        elif not known[name].sha256:
            known[name] = replace(known[name], sha256=fields["sha256"], size=fields["size"])
    return known


def entry(name: str) -> Entry:
    """The entry of a name; an unknown one is an error that names the nearest."""
    known = entries()
    if name not in known:
        raise unknown("weights", name, known)
    return known[name]


def _entry(name: str, fields: Mapping[str, Any]) -> Entry:
    given = {key: value for key, value in fields.items() if value is not None}
    return Entry(name=name, **{**given, "beside": tuple(given.get("beside", ()))})


def place(entry: Entry) -> Path:
    """Where its file lies in the user's folder: weights with companions have their own folder."""
    name = Path(entry.file).name
    return folder() / entry.name / name if entry.beside else folder() / name


def locate(entry: Entry) -> Path | None:
    """Where its file lies: the user's folder first, then the installed package. None: nowhere."""
    own = place(entry)
    if own.is_file():
        return own
    if entry.package and (spec := importlib.util.find_spec(entry.package)):
        for root in spec.submodule_search_locations or ():
            packaged = Path(root) / entry.file
            if packaged.is_file():
                return packaged
    return None


def resolve(name: str) -> Resolved:
    """The verified file of a name. MissingError when it is not here, DataError when altered."""
    found = entry(name)
    path = locate(found)
    if path is None:
        raise MissingError(f"no weights {name!r}: {place(found)} not found", how(found))
    _refuse_lone(found, path)
    digest = _digest(path)
    if problem := mismatch(found, path, digest):
        raise DataError(
            f"weights {name!r} are not what they should be: {problem}",
            f"replace {path}; get it from: {found.source}",
        )
    return Resolved(path, digest)


def how(entry: Entry) -> str:
    """One line: how to get the file and make it known."""
    if entry.package:
        return f"install it: {entry.source}"
    names = [Path(entry.file).name, *entry.beside]
    if entry.beside:
        listed = f"{', '.join(names[:-1])} and {names[-1]}"
        return (
            f"get {listed} ({entry.source}) into one folder, then "
            f"`bench weights add {entry.name} FOLDER/{names[0]}`: it copies the others, too"
        )
    ask = f"`bench weights fetch {entry.name}`, or " if entry.url else ""
    return f"{ask}get {names[0]} ({entry.source}), then `bench weights add {entry.name} FILE`"


def _refuse_lone(entry: Entry, path: Path) -> None:
    """Weights without their companions would be read with whatever else lies there."""
    missing = [name for name in entry.beside if not (path.parent / name).is_file()]
    if missing:
        raise MissingError(
            f"weights {entry.name!r}: {' and '.join(missing)} must lie beside {path}", how(entry)
        )


def mismatch(entry: Entry, path: Path, digest: str) -> str:
    """What is wrong with a file, "" when nothing is."""
    size = path.stat().st_size
    if entry.size and size != entry.size:
        kind = "truncated" if size < entry.size else "too large"
        return f"{path.name} is {kind}, {size} bytes instead of {entry.size}"
    if entry.sha256 and digest != entry.sha256:
        return f"sha256 {digest[:12]}… instead of {entry.sha256[:12]}…"
    if entry.sha256_prefix and not digest.startswith(entry.sha256_prefix):
        return f"sha256 {digest[:12]}… does not begin with {entry.sha256_prefix}"
    return ""


def _digest(path: Path) -> str:
    facts = path.stat()
    return _remembered(path.resolve(), facts.st_size, facts.st_mtime_ns)


@cache
def _remembered(path: Path, size: int, modified: int) -> str:
    return file_digest(path)  # once per process and state of the file: some are gigabytes


def listing() -> list[Status]:
    """Every known name and whether its file is here; nothing is hashed."""
    found = [(e, locate(e)) for e in entries().values()]
    return [Status(e, "here" if path else "missing", path) for e, path in found]


def verify(names: Iterable[str] = ()) -> list[Status]:
    """Hash the files that are here (or those named) and compare with lock and record."""
    chosen = [entry(name) for name in names] or list(entries().values())
    return [_checked(e) for e in chosen]


def _checked(entry: Entry) -> Status:
    path = locate(entry)
    if path is None:
        return Status(entry, "missing")
    digest = file_digest(path)
    known = entry.sha256 or entry.sha256_prefix
    fine = "verified" if known else "here, no digest to compare with"
    return Status(entry, mismatch(entry, path, digest) or fine, path, digest)


def add(name: str, source: Path) -> Resolved:
    """Copy a file into the user's folder under a known or new name, and record its digest.

    What is refused is refused before anything is written: a file that differs from the lock's or
    the record's digest, a name whose file would take the place of another's.
    """
    if not source.is_file():
        raise BenchError(f"no file {source}", "give the path of the downloaded weights")
    refuse_name(name)
    known = entries().get(name) or Entry(
        name, f"{name}{source.suffix}", f"added by the user from {source.name}", "not stated"
    )
    digest = file_digest(source)
    if problem := mismatch(known, source, digest):
        raise DataError(f"{source} is not {name!r}: {problem}", f"get it from: {known.source}")
    _refuse_lone(known, source)
    target = place(known)
    _refuse_place(known, target, digest)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for name in known.beside:
            _copy(source.parent / name, target.parent / name)
        _copy(source, target)
    except OSError as error:
        raise unwritable(target, error) from error
    with exclusive(folder()):  # another process may be adding other weights
        _record(known, digest, target.stat().st_size)
    return Resolved(target, digest)


def refuse_name(name: str) -> None:
    """BenchError for what cannot name weights."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
        raise BenchError(f"{name!r} cannot name weights", "use lower-case letters, digits, . _ -")


def _refuse_place(entry: Entry, target: Path, digest: str) -> None:
    """A file of other weights, or one that nothing is known of, is not overwritten."""
    other = [e.name for e in entries().values() if e.name != entry.name and place(e) == target]
    if target == folder() / RECORDED:
        raise BenchError(f"{entry.name!r} would replace {target}", "give another name")
    if other:
        raise BenchError(f"{target} is the file of weights {other[0]!r}", "give another name")
    if target.is_file() and file_digest(target) != digest:
        raise BenchError(
            f"{target} is there already, and is another file",
            f"give another name than {entry.name!r}, or move that file away",
        )


def _copy(source: Path, target: Path) -> None:
    if source.resolve() != target.resolve():
        with replacing(target) as part:
            shutil.copyfile(source, part)


def _recorded() -> dict[str, dict[str, Any]]:
    path = folder() / RECORDED
    if not path.is_file():
        return {}
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged: {' '.join(str(error).split())}", REPAIR) from None
    if not isinstance(found, dict):
        raise DataError(f"{path} is damaged: it holds no mapping", REPAIR)
    for name, fields in found.items():
        if not isinstance(name, str) or not _is_record(fields):
            raise DataError(f"{path} is damaged: {name!r} is not an entry", REPAIR)
    return cast(dict[str, dict[str, Any]], found)


def _is_record(fields: Any) -> bool:
    needed = {"file": str, "source": str, "licence": str, "sha256": str, "size": int}
    if not isinstance(fields, dict) or {*fields} != {*needed}:
        return False
    named = Path(str(fields["file"])).name not in ("", "..")
    return named and all(isinstance(fields[k], t) for k, t in needed.items())


def _record(entry: Entry, digest: str, size: int) -> None:
    fields = {"file": entry.file, "source": entry.source, "licence": entry.licence}
    table = _recorded() | {entry.name: {**fields, "sha256": digest, "size": size}}
    write_atomic(folder() / RECORDED, yaml.safe_dump(table, sort_keys=True))


def unpacked(name: str) -> Path:
    """The folder of a tar.gz's content, unpacked once per digest; unsafe members are refused."""
    found, resolved = entry(name), resolve(name)
    target = folder() / f"{found.unpack}-{resolved.digest[:12]}" / found.unpack
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    part.chmod(0o755)
    try:
        with tarfile.open(resolved.path, "r:gz") as archive:
            archive.extractall(part, filter="data")  # no links or paths out of the folder
    except (tarfile.TarError, EOFError, OSError) as error:
        shutil.rmtree(part, ignore_errors=True)
        raise DataError(f"{resolved.path} cannot be unpacked: {error}", how(found)) from error
    part.replace(target)
    return target


def render(rows: Iterable[Status]) -> str:
    """A listing as aligned text."""
    cells: list[tuple[str, ...]] = [
        ("name", "state", "size", "sha256", "licence", "file or source")
    ]
    cells += [_cells(row) for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(5)]
    lines = [
        "  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[5]])
        for row in cells
    ]
    return "\n".join(lines)


def _cells(row: Status) -> tuple[str, ...]:
    size = row.path.stat().st_size if row.path else row.entry.size
    digest = row.digest or row.entry.sha256 or row.entry.sha256_prefix
    return (
        row.entry.name,
        row.state,
        f"{size / 1e6:.1f} MB" if size else "?",
        digest[:12] or "not known",
        row.entry.licence,
        str(row.path or row.entry.source),
    )
