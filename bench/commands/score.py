"""Score anyone's predictions: against a dataset's split, or against references of one's own.

  bench score FILE dataset=iu_xray            the test split of a dataset
  bench score FILE --references FILE          any two files, ids matched, or line by line
  bench score FILE                            one file with predictions and references

Files may be CSV, TSV, JSON (a map of ids, a list of objects, lists "references" and "hypotheses"),
JSON Lines, plain lines, R2Gen's annotation, ReXrank's predictions. What a file was taken for is
said; what could be two things is asked for.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

from bench.data.registry import split_overrides
from bench.errors import BenchError, unknown
from bench.files import write_atomic
from bench.formats.roles import Columns
from bench.metrics import available, own_references, per_report, registry
from bench.metrics.cache import keep
from bench.metrics.explain import Explained, rendered
from bench.metrics.jobs import Files, Job, job_of
from bench.metrics.predictions import align
from bench.metrics.references import KNOWN
from bench.metrics.scoring import Scored, refuse_idle, score
from bench.runs.workspace import default_cache
from bench.settings import ranged
from bench.terminal import counting, number, table


def _default() -> tuple[str, ...]:
    return registry.scored(registry.ALWAYS, registry.EXPECTED)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("predictions", type=Path, help="file of predictions")
    parser.add_argument(
        "settings", nargs="*", metavar="key=value",
        help="dataset=NAME split=NAME dataset.KEY=value; with a file of references: "
        "section=findings|impression|both split=NAME cleaning=iu|mimic",
    )  # fmt: skip
    parser.add_argument("--references", type=Path, help="file of references")
    parser.add_argument("--id-column", default="", help="field of the study ids")
    parser.add_argument("--report-column", default="", help="field of the predictions")
    parser.add_argument("--reference-column", default="", help="field of the references")
    parser.add_argument(
        "--vocabulary", type=Path,
        help="words that R2Gen's tokenizer kept, one a line, or its annotation.json: for r2gen@1",
    )  # fmt: skip
    parser.add_argument(
        "--metrics", default="", help=f"families, by commas (default: {','.join(_default())})"
    )
    parser.add_argument("--treatments", default="", help=f"by commas, of {', '.join(KNOWN)}")
    parser.add_argument(
        "--missing",
        choices=("error", "empty"),
        default="error",
        help="studies without a report: refuse, or score as empty",
    )
    parser.add_argument(
        "--in-order", action="store_true",
        help="reports without ids are paired by their place: with the other file, or a split",
    )  # fmt: skip
    parser.add_argument(
        "--explain", action="store_true", help="one table of what each choice of text moves"
    )
    parser.add_argument(
        "--per-report", type=Path, metavar="FILE", help="write each report's scores"
    )
    parser.add_argument(
        "--show", type=ranged(1), default=0, metavar="N", help="N worst and best reports, marked"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--cache", type=Path, default=default_cache())


def run(arguments: argparse.Namespace) -> int:
    _refuse_idle(arguments)
    settings = split_overrides(arguments.settings)
    keep(arguments.cache)
    metrics = _metrics(arguments.metrics)
    treatments = _treatments(arguments.treatments)
    refuse_idle(metrics, treatments)
    job = job_of(_files(arguments, settings), settings, _say)
    if arguments.explain:
        print(_explained(job, arguments.missing))
        return 0
    scored = _scored(job, metrics, treatments, arguments.missing)
    if arguments.per_report:
        write_atomic(arguments.per_report, per_report.as_csv(scored))
        _say(f"wrote {arguments.per_report}")
    if arguments.show:
        print("\n".join(_shown(job, scored, arguments.show)), "\n")
    print(_json(scored) if arguments.json else _text(scored, job.own))
    return 3 if _lacking(metrics, scored) else 0


def _json(scored: Scored) -> str:
    """As JSON that every reader takes: a score that is no number (0 of 0 words) is null."""
    found = scored.as_json()
    for row in found["scores"]:
        if not math.isfinite(row.get("value", 0)):
            row["value"] = None
    return json.dumps(found, indent=1, allow_nan=False)


def _lacking(asked: list[str], scored: Scored) -> set[str]:
    """The families asked for of which no score could be computed here."""
    found = {registry.family(s.metric) for s in scored if s.value is not None}
    return {registry.family(name) for name in asked} - found


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _metrics(asked: str) -> list[str]:
    """The families asked for, all of them computable from reports alone; [] for the default."""
    metrics = registry.listed(asked)
    for name in metrics:
        if not available.reads_text(registry.family(name)):
            raise BenchError(
                f"{name} is computed from a model's features, not from reports",
                "it is among the scores of every run whose model has such features",
            )
    return metrics


def _treatments(asked: str) -> list[str]:
    names = [name.strip() for name in asked.split(",") if name.strip()]
    for name in names:
        if name not in KNOWN:
            raise unknown("text treatment", name, KNOWN)
    return names


def _files(arguments: argparse.Namespace, settings: dict[str, str]) -> Files:
    columns = Columns(
        arguments.id_column,
        arguments.report_column,
        arguments.reference_column,
        settings.get("section", ""),
        arguments.in_order,
    )
    return Files(arguments.predictions, arguments.references, arguments.vocabulary, columns)


# --- results ------------------------------------------------------------------------------------


def _scored(job: Job, metrics: list[str], treatments: list[str], missing: str) -> Scored:
    with counting("scoring", "metrics") as progress:
        if job.own:
            references = {study.id: study.report for study in job.dataset.split(job.split)}
            return own_references.score(
                job.predictions, references, metrics=metrics, treatments=treatments,
                cleaning=job.dataset.cleaning, vocabulary=job.words,
                section=job.dataset.section, missing=missing, progress=progress,
            )  # fmt: skip
        wanted = metrics or [*dict.fromkeys((*_default(), *available.here()))]
        return score(
            job.predictions, job.dataset, job.split, wanted, treatments or None,
            missing=missing, words=job.words, progress=progress,
        )  # fmt: skip


def _sides(job: Job, missing: str) -> tuple[list[str], list[str]]:
    studies = job.dataset.split(job.split)
    reports, _ = align(job.predictions, [study.id for study in studies], missing)
    return reports, [study.report for study in studies]


def _refuse_idle(arguments: argparse.Namespace) -> None:
    """Options that would do nothing beside others."""
    given = [n for n in ("json", "show", "per_report", "metrics", "treatments")
             if getattr(arguments, n)]  # fmt: skip
    if arguments.explain and given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise BenchError(
            f"--explain prints one table of every choice, and not {names}", "ask for one of them"
        )
    if arguments.show and arguments.json:
        raise BenchError(
            "--show prints reports, which are no JSON", "--per-report FILE, or no --json"
        )


def _shown(job: Job, scored: Scored, count: int) -> list[str]:
    reports, references = _sides(job, "empty")
    return list(per_report.extremes(scored, reports, references, count))


def _explained(job: Job, missing: str) -> str:
    reports, _ = _sides(job, missing)
    with counting("explaining", "choices") as progress:
        rows = Explained(job.dataset, job.split, reports, job.words).rows(progress)
    return rendered(f"{_named(job)}: {len(reports)} studies", rows)


def _named(job: Job) -> str:
    return job.dataset.name if job.own else f"{job.dataset.name} {job.split}"


def _text(scored: Scored, own: bool) -> str:
    """The scores as a table, and one line for each metric that could not run here."""
    missing = f", {len(scored.missing)} missing scored as empty" if scored.missing else ""
    name = scored.dataset if own else f"{scored.dataset} {scored.split}"
    title = f"{name}: {len(scored.ids)} studies{missing}"
    rows = [
        [s.metric, s.treatment, number(s.value, 4), s.signature]
        for s in scored
        if s.value is not None
    ]
    absent: dict[str, list[str]] = {}  # reason -> metrics
    for s in (s for s in scored if s.value is None):
        absent.setdefault(s.unavailable, []).append(s.metric)
    lines = [f"{', '.join(dict.fromkeys(names))}: {why}" for why, names in absent.items()]
    return "\n".join([table(title, ["metric", "treatment", "value", "signature"], rows), *lines])
