"""The texts of MIMIC-CXR's reports: from files, the zip file, or MIT-LCP's file of sections."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from bench.data.mimic_cxr import mit_lcp, sections
from bench.data.mimic_cxr.layout import SECTIONED, Layout, exists
from bench.data.mimic_cxr.tables import rows
from bench.errors import DataError

UNPACK = "unpack mimic-cxr-reports.zip of MIMIC-CXR (not MIMIC-CXR-JPG) there, or put the zip there"
Divide = Callable[[str, str], dict[str, str]]  # (report, "s50414267") -> sections
Pairs = Iterable[tuple[str, str]]  # (patient, study), numbers as in the tables


class Reports(Protocol):
    """A source of reports. Both functions take patient and study as the tables name them."""

    @property
    def path(self) -> Path: ...

    def stamp(self, patient: str, study: str) -> str | None:
        """What changes when the report does, without reading it; None: there is no such report."""

    def read(self, patient: str, study: str) -> str:
        """The report; DataError where it cannot be read."""


@dataclass(frozen=True)
class Folder:
    """`<path>/p10/p10000032/s50414267.txt`."""

    path: Path
    _stamps: dict[str, str | None] = field(default_factory=dict, repr=False, compare=False)

    def stamp(self, patient: str, study: str) -> str | None:
        if study not in self._stamps:  # asked for once to choose a place, and once to read
            self._stamps[study] = self._stamp(patient, study)
        return self._stamps[study]

    def _stamp(self, patient: str, study: str) -> str | None:
        try:
            found = os.stat(self._path(patient, study))  # noqa: PTH116 - for its speed
        except OSError:
            return None
        return f"{found.st_size}-{found.st_mtime_ns}"

    def read(self, patient: str, study: str) -> str:
        path = self._path(patient, study)
        try:
            return Path(path).read_text(encoding="utf-8-sig", errors="replace")
        except OSError as error:
            raise DataError(f"cannot read the report {path}: {error.strerror}", UNPACK) from error

    def _path(self, patient: str, study: str) -> str:
        return f"{self.path}/p{patient[:2]}/p{patient}/s{study}.txt"


@dataclass(frozen=True)
class Archive:
    """The zip file as PhysioNet has it, not unpacked."""

    path: Path

    @cached_property
    def _members(self) -> Mapping[str, zipfile.ZipInfo]:
        found = {i.filename.rpartition("/")[2]: i for i in self._file.infolist()}
        return {name: i for name, i in found.items() if name.endswith(".txt")}

    @cached_property
    def _file(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(f"cannot read {self.path}: {error}", "get this file again") from error

    def stamp(self, patient: str, study: str) -> str | None:
        member = self._members.get(f"s{study}.txt")
        return f"{member.file_size}-{member.CRC:08x}" if member else None

    def read(self, patient: str, study: str) -> str:
        try:
            data = self._file.read(self._members[f"s{study}.txt"])
        except (OSError, zipfile.BadZipFile, KeyError, EOFError) as error:
            raise DataError(f"{self.path}, s{study}.txt: {error}", "get this file again") from error
        return data.decode("utf-8-sig", "replace").replace("\r\n", "\n").replace("\r", "\n")


@dataclass(frozen=True)
class Parser:
    """Whose rules divide a report; `tag` names rules and version."""

    tag: str
    names: tuple[str, ...]  # of sections, in the order of a prepared file's columns
    divide: Divide


PARSERS = {
    sections.NAME: Parser(
        f"{sections.NAME}-{sections.VERSION}",
        sections.SECTIONS,
        lambda report, study: sections.sections(report),
    ),
    mit_lcp.NAME: Parser(
        f"{mit_lcp.NAME}-{mit_lcp.VERSION}",
        (*mit_lcp.SECTIONED, mit_lcp.CONCLUSION),
        mit_lcp.sections,
    ),
}


def source_of(layout: Layout, pairs: Pairs) -> Reports | None:
    """Where the reports are: the place that has most of these studies' reports, the zip file first.

    A damaged zip file is a DataError only where it is the one place.
    """
    known = list(dict.fromkeys(pairs))
    found: list[tuple[int, Reports]] = []
    damage = None
    for source in _places(layout, known):
        try:
            held = sum(source.stamp(patient, study) is not None for patient, study in known)
        except DataError as error:
            damage = error
            continue
        found.append((held, source))
        if held == len(known):
            break
    if damage and not found:
        raise damage
    return max(found, key=lambda pair: pair[0])[1] if found else None


def _places(layout: Layout, pairs: Sequence[tuple[str, str]]) -> Iterator[Reports]:
    if archive := layout.archive():
        yield Archive(archive)
    yield from (Folder(f) for f in layout.report_folders() if _holds(f, pairs))


def _holds(folder: Path, pairs: Iterable[tuple[str, str]]) -> bool:
    groups = {entry.name for entry in os.scandir(folder) if len(entry.name) == 3}
    paths = (f"{folder}/p{p[:2]}/p{p}/s{s}.txt" for p, s in pairs if f"p{p[:2]}" in groups)
    return any(map(exists, paths))


def no_reports(layout: Layout) -> DataError:
    """What to do where no report was found."""
    if layout.choices.reports:
        return DataError(
            f"no report of these studies in {layout.named_reports}: expected "
            "p10/p10000032/s50414267.txt in it",
            "correct dataset.reports, or leave it out",
        )
    if layout.sectioned():
        return DataError(
            f"the reports are here only as {SECTIONED}, divided by MIT-LCP's rules",
            f"set dataset.sections=mit-lcp, or for the project's own rules: {UNPACK}",
        )
    return DataError(
        f"no reports in {layout.folder}/reports: expected p10/p10000032/s50414267.txt below it",
        f"{UNPACK}; dataset.reports names another folder or zip file",
    )


def sectioned(path: Path) -> dict[str, dict[str, str]]:
    """Study "s50414267" -> its sections in MIT-LCP's file; empty ones are left out."""
    found = {}
    for study, *texts in rows(path, "study", *mit_lcp.SECTIONED):
        pairs = zip(mit_lcp.SECTIONED, texts, strict=True)
        found[study] = {name: text for name, text in pairs if text.strip()}
    return found
