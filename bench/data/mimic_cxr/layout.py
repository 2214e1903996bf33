"""Where the parts of MIMIC-CXR lie in `<root>/mimic_cxr/`, however they were fetched.

Tables: `mimic-cxr-2.0.0-split.csv.gz` and `-metadata`, of any version, packed or plain. Images:
`files/p10/…`, `images/p10/…` or `p10/…`. Reports: a folder, `mimic-cxr-reports.zip`, or MIT-LCP's
`mimic_cxr_sectioned.csv`. All of them directly in the folder, or where `wget -r` puts them
(`physionet.org/files/mimic-cxr-jpg/2.0.0/`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.data.mimic_cxr.choices import Choices
from bench.data.mimic_cxr.tables import SOURCES
from bench.errors import BenchError, DataError

FOLDER = "mimic_cxr"
ANNOTATION = "annotation.json"
SPLIT_FILE = "mimic-cxr-2.0.0-split.csv.gz"  # both keep 2.0.0 in release 2.1.0
METADATA_FILE = "mimic-cxr-2.0.0-metadata.csv.gz"
SECTIONED = "mimic_cxr_sectioned.csv"
_TREES = ("", "mimic-cxr-jpg", "mimic-cxr", "physionet.org/files/mimic-cxr-jpg",
          "physionet.org/files/mimic-cxr")  # fmt: skip
_ARCHIVE = "mimic-cxr-reports.zip"


@dataclass(frozen=True)
class Layout:
    """The parts in one folder; what is absent is None, or a DataError where it is asked for."""

    folder: Path
    choices: Choices

    @cached_property
    def bases(self) -> list[Path]:
        """The folder, and the trees in or beside it that `wget -r` makes; newest versions first."""
        found = []
        for start in (self.folder, self.folder.parent):
            for tree in _TREES if start is self.folder else _TREES[3:]:
                base = start / tree
                versions = sorted(base.glob("[0-9]*.[0-9]*"), reverse=True) if tree else []
                found += [p for p in (base, *versions) if p.is_dir()]
        return found

    @cached_property
    def split(self) -> Path | None:
        return self._table("split")

    @cached_property
    def metadata(self) -> Path | None:
        return self._table("metadata")

    def _table(self, kind: str) -> Path | None:
        pattern = f"mimic-cxr-*-{kind}.csv"
        found = [p for base in self.bases for p in sorted(base.glob(f"{pattern}*"), reverse=True)]
        return next((p for p in found if p.name.endswith((".csv", ".csv.gz"))), None)

    @cached_property
    def annotation(self) -> Path | None:
        found = (base / ANNOTATION for base in self.bases)
        return next((p for p in found if p.is_file()), None)

    @cached_property
    def by_tables(self) -> bool:
        """Whether PhysioNet's tables are read, not R2Gen's annotation."""
        wanted = self.choices.source
        if wanted in ("auto", "release") and self.split:
            return True
        if wanted in ("auto", "annotation") and self.annotation:
            return False
        lacks = {
            "auto": f"neither {SPLIT_FILE} nor {ANNOTATION}",
            "release": f"no {SPLIT_FILE}",
            "annotation": f"no {ANNOTATION}",
        }[wanted]
        raise DataError(f"no MIMIC-CXR in {self.folder}: {lacks}", self._advice(wanted))

    def _advice(self, wanted: str) -> str:
        other = self.annotation or self.split
        if wanted != "auto" and other:
            return f"{other.name} is here: dataset.source=auto reads it"
        above = Layout(self.folder.parent, Choices())
        if above.folder.name == FOLDER and (above.split or above.annotation):
            return f"BENCH_DATA names {FOLDER}/ itself: set it to {above.folder.parent}"
        return f"set BENCH_DATA to the folder that holds {FOLDER}/; {SOURCES}"

    def image_folders(self) -> Iterator[Path]:
        """Folders that may hold p10/ to p19/ of the images, likeliest first."""
        first = ("files", "images") if self.by_tables else ("images", "files")
        yield from (base / name for base in self.bases for name in (*first, ""))

    @property
    def named_reports(self) -> Path | None:
        """What dataset.reports names; DataError where that is not here."""
        if not self.choices.reports:
            return None
        path = Path(self.choices.reports).expanduser()
        path = path if path.is_absolute() else self.folder / path
        if not path.exists():
            raise DataError(f"no reports at {path}", "correct dataset.reports")
        return path

    def report_folders(self) -> Iterator[Path]:
        """Folders that may hold p10/p10000032/s50414267.txt."""
        if self.choices.reports:
            given = self.named_reports
            bases: Iterable[Path] = [given] if given and given.is_dir() else []
        else:
            bases = self.bases
        names = (
            "reports/files",
            "reports",
            "mimic-cxr-reports/files",
            "mimic-cxr-reports",
            "files",
        )
        yield from (
            base / name for base in bases for name in (*names, "") if (base / name).is_dir()
        )

    def archive(self) -> Path | None:
        """The zip file of reports."""
        if given := self.named_reports:
            return given if given.suffix == ".zip" else None
        places = (b / p / _ARCHIVE for b in self.bases for p in ("", "reports"))
        return next((p for p in places if p.is_file()), None)

    def sectioned(self) -> Path | None:
        """MIT-LCP's file of sections."""
        if given := self.named_reports:
            return given if given.name.endswith((".csv", ".csv.gz")) else None
        names = (SECTIONED, f"{SECTIONED}.gz", f"reports/{SECTIONED}")
        return next((b / n for b in self.bases for n in names if (b / n).is_file()), None)


def locate(root: Path, choices: Choices) -> Layout:
    """The layout of `<root>/mimic_cxr`; DataError where neither tables nor annotation are there."""
    layout = Layout(root / FOLDER, choices)
    if not layout.by_tables:
        _refuse_divided(layout, choices)
    return layout


def _refuse_divided(layout: Layout, choices: Choices) -> None:
    """What an annotation cannot give: it holds findings, divided by R2Gen."""
    for name, default in (("section", "findings"), ("sections", "bench"), ("reports", "")):
        if (value := getattr(choices, name)) != default:
            raise BenchError(
                f"dataset.{name}={value}, but {layout.annotation} holds findings alone",
                f"leave it out, or put {SPLIT_FILE} and the reports there: dataset.source=release",
            )


def exists(path: str) -> bool:
    """Whether a path leads to anything; less work than a Path's method, and asked 370,000 times."""
    return os.path.exists(path)  # noqa: PTH110 - for its speed
