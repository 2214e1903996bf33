"""Which runs a local report is of: its folder, and the command that makes it again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.canonical import digest
from bench.data.registry import EMBEDDED, split_overrides
from bench.spec import PROTOCOL

REPORTS = "reports"  # in the repository: of boards alone; in a folder of runs: of those runs
_PLAIN = re.compile(r"[\w.=+~@-]+")  # a setting that can stand in the name of a folder
_LONGEST = 80


@dataclass(frozen=True)
class Selection:
    """What `bench run` was given. A report of other settings is another report."""

    suite: str
    dataset: str
    overrides: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    seeds: int = 1
    smoke: bool = False

    @property
    def command(self) -> str:
        """The command line that makes these runs and their report."""
        options = [f"--only={','.join(self.only)}"] if self.only else []
        options += [f"--seeds={self.seeds}"] if self.seeds != 1 else []
        options += ["--smoke"] if self.smoke else []
        settings = [f"dataset={self.dataset}", *self._settings()]
        return shlex.join(["bench", "run", self.suite, *settings, *options])

    def folder(self, reports: Path) -> Path:
        """reports/<suite>[-<dataset>][,<setting>...], or a digest of many or odd settings."""
        parts = [*self._settings(), *self._options()]
        name = ",".join(parts)
        if len(name) > _LONGEST or not all(map(_PLAIN.fullmatch, parts)):
            name = f"settings-{digest(parts)[:12]}"
        whole = report_folder(reports, self.suite, self.dataset)
        return whole.with_name(f"{whole.name},{name}") if parts else whole

    def _settings(self) -> list[str]:
        """Overrides in one order; the dataset is told by itself."""
        pairs = split_overrides([o for o in self.overrides if not o.startswith("~")])
        removed = [o for o in self.overrides if o.startswith("~")]
        return sorted([*removed, *(f"{k}={v}" for k, v in pairs.items() if k != "dataset")])

    def _options(self) -> Iterator[str]:
        if self.only:
            yield f"only={'+'.join(sorted(set(self.only)))}"
        if self.seeds != 1:
            yield f"seeds={self.seeds}"
        if self.smoke:
            yield "smoke"


def reports_of(board: Path, reports: Path) -> Path:
    """Where the reports of a board belong: `reports` for the protocol's own, a folder in it for
    others."""
    return reports if board.name == PROTOCOL else reports / board.name


def report_folder(reports: Path, suite: str, dataset: str) -> Path:
    """reports/<suite> for the embedded dataset, reports/<suite>-<dataset> for others."""
    return reports / (suite if dataset == EMBEDDED else f"{suite}-{dataset}")
