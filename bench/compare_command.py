"""Compare two systems in one or more scores: difference, interval, p, and plain words.

A and B are run ids (or their beginnings), or CSV files of predictions (study_id,report).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from bench.assess import SPLIT, TABLES
from bench.compare import Comparison, System, compare, corrected, number
from bench.data.study import Dataset
from bench.datasets import chosen_dataset, split_overrides
from bench.errors import BenchError, unknown
from bench.metrics import registry
from bench.metrics.cache import keep
from bench.metrics.scoring import Scored, score
from bench.workspace import default_cache, default_out


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", help="run id or predictions.csv")
    parser.add_argument("b", help="run id or predictions.csv")
    parser.add_argument(
        "settings", nargs="*", metavar="key=value", help="dataset=NAME dataset.KEY=value"
    )
    parser.add_argument("--metric", default="BLEU-4,METEOR,ROUGE-L,CIDEr", help="scores, by commas")
    parser.add_argument("--text", default="r2gen@1", help="text treatment")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path, default=default_out(), help="folder of the runs")
    parser.add_argument("--cache", type=Path, default=default_cache())


def run(arguments: argparse.Namespace) -> int:
    settings = split_overrides(arguments.settings)
    dataset = chosen_dataset(settings)
    keep(arguments.cache)
    names = [m for m in arguments.metric.split(",") if m]
    families = list(dict.fromkeys(registry.family(name) for name in names))
    scored = {
        text: _scored(text, arguments.out, dataset, families) for text in (arguments.a, arguments.b)
    }
    found = corrected(
        [_compare(arguments.a, arguments.b, scored, m, arguments.text, dataset) for m in names]
    )
    if arguments.json:
        print(json.dumps([c.record() for c in found], indent=1))
    else:
        print("\n".join(map(_line, found)))
    return 0


def _line(c: Comparison) -> str:
    caveat = f" ({c.caveat})" if c.caveat else ""
    return f"{c.score}: {number(c.value_a)} against {number(c.value_b)}. {c.sentence()}{caveat}"


def _scored(name: str, out: Path, dataset: Dataset, families: list[str]) -> Scored:
    """Statistics of a run that was scored before, or of a file that is scored now."""
    path = Path(name)
    if path.is_file():
        return score(path, dataset, SPLIT, families)
    folders = sorted(p for p in out.glob(f"{name}*") if (p / TABLES).exists())
    if len(folders) != 1:
        known = [p.name for p in out.glob("*") if (p / TABLES).exists()]
        if folders:
            raise BenchError(f"{name!r} begins the ids of several runs", "give more of the id")
        raise unknown("run or file", name, known)
    return Scored.load(folders[0] / TABLES)


def _compare(
    a: str, b: str, scored: dict[str, Scored], metric: str, text: str, dataset: Dataset
) -> Comparison:
    family = registry.family(metric)
    patients = {s.id: s.patient for s in dataset.split(SPLIT)}
    systems = []
    for name in (a, b):
        table = scored[name].statistics.get((text, family))
        if table is None:
            raise BenchError(f"{name} has no {family} under {text}", "see `bench list metrics`")
        ids = scored[name].ids
        known = tuple(patients[i] for i in ids) if all(i in patients for i in ids) else ()
        systems.append(System(Path(name).name, table, ids, known))
    return compare(systems[0], systems[1], registry.load(family), metric)
