"""The file of a run's reports."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from bench.data.study import Study
from bench.store import write_atomic


def write_predictions(path: Path, studies: Sequence[Study], reports: Sequence[str]) -> None:
    """`study_id,report`: every id of the split once, in manifest order."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["study_id", "report"])
    writer.writerows((s.id, r) for s, r in zip(studies, reports, strict=True))
    write_atomic(path, text.getvalue())
