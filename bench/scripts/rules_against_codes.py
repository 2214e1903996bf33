"""How well `chexpert-rules` agrees with the experts' MeSH codes of IU X-ray.

    python -m bench.scripts.rules_against_codes [even|odd] [problems|mesh] [--errors]

The phrases were tuned on studies with an odd uid only; figures are reported on even ones. The
mapping of codes is data: `bench/conf/labels/iu_mesh.yaml`. No report text is printed.
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from bench.config import load_yaml
from bench.errors import BenchError, DataError
from bench.metrics.base import Metric
from bench.metrics.clinical import rules
from bench.metrics.clinical.f1 import Convention, measures, statistics
from bench.metrics.clinical.observations import (
    OBSERVATIONS,
    UNCERTAIN,
)
from bench.metrics.clinical.truth import code_labels
from bench.stats import Interval, Plan, intervals

COUNT = len(OBSERVATIONS)


@dataclass(frozen=True)
class Coded:
    """Studies with their text (findings, new line, impression) and their codes' labels (n, 14)."""

    uids: tuple[int, ...]
    texts: tuple[str, ...]
    labels: np.ndarray


def load(table: Path, parity: str, columns: str) -> Coded:
    """The coded studies with an even or odd uid. `columns`: "problems" or "mesh"."""
    if not table.is_file():
        raise DataError(f"no {table}", "set BENCH_DATA to the folder that holds iu_xray/")
    mapping = load_yaml("labels", "iu_mesh")
    left_out = set(mapping["left_out"])
    with table.open(encoding="utf-8", newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if int(row["uid"]) % 2 == (parity == "odd") and row["Problems"] not in left_out
        ]
    return Coded(
        tuple(int(row["uid"]) for row in rows),
        tuple(f"{row['findings'].strip()}\n{row['impression'].strip()}" for row in rows),
        np.array([code_labels(row, mapping, columns) for row in rows], dtype=np.int8),
    )


def compare(coded: Coded, uncertain: str) -> np.ndarray:
    """Statistics (n, 3 * 14) of the rules against the codes: TP, FP, FN."""
    found = rules.labeler()(coded.texts)
    return statistics(found, coded.labels, Convention("", uncertain))[:, : 3 * COUNT]


def ten() -> list[int]:
    """Columns of the ten pathologies that codes and observations share."""
    mapping = load_yaml("labels", "iu_mesh")
    return [OBSERVATIONS.index(name) for name in mapping["ten"]]


def f1s(sums: np.ndarray) -> np.ndarray:
    """F1 of each observation, then micro-F1 of the ten and of all 14: (..., 16)."""
    tp, fp, fn = (sums[..., i * COUNT : (i + 1) * COUNT] for i in range(3))
    each = measures(tp, fp, fn)[2]
    micro = [
        measures(*(part[..., columns].sum(-1) for part in (tp, fp, fn)))[2]
        for columns in (ten(), list(range(COUNT)))
    ]
    return np.concatenate([each, np.stack(micro, axis=-1)], axis=-1)


class Agreement(Metric):
    """The F1 of labels against codes, so that `bench.stats` gives their intervals."""

    name: ClassVar[str] = "rules-mesh"
    version: ClassVar[int] = 1
    scores = (*OBSERVATIONS, "micro, the ten (\\*)", "micro, all 14")

    def statistics(self, hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
        raise BenchError("the references are codes, not reports", "use rules_against_codes.compare")

    def aggregate(self, sums: np.ndarray, n: np.ndarray | int) -> np.ndarray:
        return f1s(sums)

    def implementation(self) -> str:
        return f"rules:{rules.digest()}"


def agreement(coded: Coded, table: np.ndarray) -> dict[str, Interval]:
    """Each F1 with its 95 % interval, studies resampled; `table` as `compare` gives it."""
    return intervals(Agreement(), table, Plan(tuple(map(str, coded.uids))))


def render(coded: Coded, uncertain: str) -> str:
    """A Markdown table of F1, interval and counts."""
    table = compare(coded, uncertain)
    counts = table.sum(axis=0).reshape(3, COUNT)
    shared = ten()
    columns = [*([i] for i in range(COUNT)), shared, list(range(COUNT))]
    lines = ["| observation | F1 | 95 % | TP | FP | FN |", "|---|---|---|---|---|---|"]
    for (name, found), summed in zip(agreement(coded, table).items(), columns, strict=True):
        tp, fp, fn = (int(part[summed].sum()) for part in counts)
        star = " \\*" if summed[0] in shared and len(summed) == 1 else ""
        lines.append(
            f"| {name}{star} | {found.value:.3f} | {found.low:.3f}–{found.high:.3f} "
            f"| {tp} | {fp} | {fn} |"
        )
    return "\n".join(lines)


def errors(coded: Coded, uncertain: str) -> dict[str, dict[str, list[int]]]:
    """Observation -> {"extra", "missed", "missed, uncertain"} -> uids, for the ten."""
    found = rules.labeler()(coded.texts)
    table = statistics(found, coded.labels, Convention("", uncertain))
    uids = np.array(coded.uids)
    result = {}
    for column in ten():
        missed = table[:, 2 * COUNT + column] > 0
        doubtful = found[:, column] == UNCERTAIN
        result[OBSERVATIONS[column]] = {
            "extra": uids[table[:, COUNT + column] > 0].tolist(),
            "missed": uids[missed & ~doubtful].tolist(),
            "missed, uncertain": uids[missed & doubtful].tolist(),
        }
    return result


def main(arguments: Sequence[str]) -> None:
    """Print the table, and the uids of the errors when asked."""
    parity = "odd" if "odd" in arguments else "even"
    columns = "mesh" if "mesh" in arguments else "problems"
    root = Path(os.environ.get("BENCH_DATA", "data"))
    coded = load(root / "iu_xray" / "indiana_reports.csv", parity, columns)
    print(f"{len(coded.uids)} coded studies with an {parity} uid, mapping: {columns}\n")
    print(render(coded, "negative"))
    if "--errors" in arguments:
        for name, kinds in errors(coded, "negative").items():
            for kind, uids in kinds.items():
                print(f"{name}, {kind}: {len(uids)}: {' '.join(map(str, uids))}")


if __name__ == "__main__":
    main(sys.argv[1:])
