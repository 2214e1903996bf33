"""Score anyone's predictions: a CSV with the columns study_id,report against a dataset's split."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from bench.data.registry import chosen_dataset, split_overrides
from bench.errors import BenchError
from bench.metrics import available, registry
from bench.metrics.cache import keep
from bench.metrics.scoring import Scored, score
from bench.runs.workspace import default_cache
from bench.terminal import number, table


def _default() -> tuple[str, ...]:
    return registry.scored(registry.ALWAYS, registry.EXPECTED)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("predictions", type=Path, help="CSV file: study_id,report")
    parser.add_argument(
        "settings", nargs="*", metavar="key=value", help="dataset=NAME split=NAME dataset.KEY=value"
    )
    parser.add_argument(
        "--metrics", default="", help=f"families, by commas (default: {','.join(_default())})"
    )
    parser.add_argument(
        "--missing",
        choices=("error", "empty"),
        default="error",
        help="studies without a report: refuse, or score as empty",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--cache", type=Path, default=default_cache())


def run(arguments: argparse.Namespace) -> int:
    settings = split_overrides(arguments.settings)
    dataset = chosen_dataset(settings, others=("split",))
    keep(arguments.cache)
    asked = registry.listed(arguments.metrics)
    metrics = asked or [*dict.fromkeys((*_default(), *available.here()))]
    for name in metrics:
        if not available.reads_text(registry.family(name)):
            raise BenchError(
                f"{name} is computed from a model's features, not from reports",
                "it is among the scores of every run whose model has such features",
            )
    scored = score(
        arguments.predictions,
        dataset,
        settings.get("split", "test"),
        metrics,
        missing=arguments.missing,
    )
    print(json.dumps(scored.as_json(), indent=1) if arguments.json else _text(scored))
    return 0


def _text(scored: Scored) -> str:
    """The scores as a table, and one line for each metric that could not run here."""
    missing = f", {len(scored.missing)} missing scored as empty" if scored.missing else ""
    title = f"{scored.dataset} {scored.split}: {len(scored.ids)} studies{missing}"
    rows = [
        [s.metric, s.treatment, number(s.value, 4), s.signature]
        for s in scored
        if s.value is not None
    ]
    absent = dict.fromkeys(f"{s.metric}: {s.unavailable}" for s in scored if s.value is None)
    return "\n".join([table(title, ["metric", "treatment", "value", "signature"], rows), *absent])
