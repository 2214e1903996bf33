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
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.data.registry import EMBEDDED, PART, chosen_dataset, split_overrides
from bench.data.study import Dataset
from bench.data.text import Vocabulary
from bench.errors import BenchError, some, unknown
from bench.files import write_atomic
from bench.formats.reports import Pairs, Reports, read_pairs, read_predictions, refers
from bench.formats.roles import Columns
from bench.formats.vocabulary import read_vocabulary
from bench.metrics import available, own_references, per_report, registry
from bench.metrics.cache import keep
from bench.metrics.explain import Explained, rendered
from bench.metrics.predictions import align
from bench.metrics.references import KNOWN
from bench.metrics.scoring import Scored, score
from bench.runs.workspace import default_cache
from bench.settings import ranged
from bench.terminal import counting, number, table

OWN = ("cleaning", "section", "split")  # settings where references come in a file


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
        help="predictions without ids are in the order of the dataset's split",
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


@dataclass(frozen=True)
class Job:
    """What is to be scored: predictions by id, and the dataset that holds the references."""

    predictions: dict[str, str]
    dataset: Dataset
    split: str
    own: bool  # references of a file
    words: Vocabulary | None


def run(arguments: argparse.Namespace) -> int:
    _refuse_idle(arguments)
    settings = split_overrides(arguments.settings)
    keep(arguments.cache)
    metrics = _metrics(arguments.metrics)
    treatments = _treatments(arguments.treatments)
    job = _own(arguments, settings) if _is_own(arguments, settings) else _of(arguments, settings)
    if arguments.explain:
        print(_explained(job, arguments.missing))
        return 0
    scored = _scored(job, metrics, treatments, arguments.missing)
    if arguments.per_report:
        write_atomic(arguments.per_report, per_report.as_csv(scored))
        _say(f"wrote {arguments.per_report}")
    if arguments.show:
        print("\n".join(_shown(job, scored, arguments.show)), "\n")
    print(json.dumps(scored.as_json(), indent=1) if arguments.json else _text(scored, job.own))
    return 3 if _lacking(metrics, scored) else 0


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


def _columns(arguments: argparse.Namespace, settings: dict[str, str]) -> Columns:
    return Columns(
        arguments.id_column,
        arguments.report_column,
        arguments.reference_column,
        settings.get("section", ""),
    )


def _is_own(arguments: argparse.Namespace, settings: dict[str, str]) -> bool:
    """Whether references come in a file: a second one, or the predictions' own."""
    if arguments.references is not None:
        if "dataset" in settings:
            raise BenchError(
                "references are given twice: --references and dataset=", "leave one of them out"
            )
        return True
    if any(key not in OWN for key in settings):
        return False
    return refers(arguments.predictions, _columns(arguments, settings))


# --- references of a file -----------------------------------------------------------------------


def _own(arguments: argparse.Namespace, settings: dict[str, str]) -> Job:
    for key in settings:
        if key not in OWN:
            raise unknown("setting", key, OWN)
    columns = _columns(arguments, settings)
    pairs = read_pairs(
        arguments.predictions, arguments.references, columns, settings.get("split", "")
    )
    _tell(pairs)
    cleaning = settings.get("cleaning", "iu")
    source = own_references.dataset(pairs.references, cleaning)
    words = _words(arguments.vocabulary, cleaning)
    return Job(dict(pairs.predictions), source, own_references.SPLIT, True, words)


def _words(path: Path | None, cleaning: str) -> Vocabulary | None:
    if path is None:
        return None
    words = read_vocabulary(path, cleaning)
    _say(f"{path}: {len(words)} words, for r2gen@1")
    return words


def _tell(pairs: Pairs) -> None:
    """What the files were taken for, in a line each."""
    for line in pairs.said:
        _say(line)
    empty = sum(not text.strip() for text in pairs.predictions.values())
    if empty:
        _say(f"{empty} predictions are empty: scored as such")
    if pairs.left_out:
        names = some(pairs.left_out)
        _say(f"{len(pairs.left_out)} studies without that section are left out: {names}")


# --- a dataset ----------------------------------------------------------------------------------


def _of(arguments: argparse.Namespace, settings: dict[str, str]) -> Job:
    dataset = chosen_dataset(settings, others=("split",))
    split = settings.get("split", "test")
    _tell_section(settings, dataset, split)
    made = read_predictions(arguments.predictions, _columns(arguments, {}))
    _say(made.said)
    if "dataset" not in settings and arguments.references is None:
        _say(f"no references given: scored against dataset={EMBEDDED}")
    given = _in_order(made, dataset, split) if arguments.in_order else _with_ids(made)
    if arguments.vocabulary and dataset.split("train"):
        raise BenchError(
            f"{dataset.name} has a vocabulary of its own, that of its train split",
            "leave --vocabulary out",
        )
    words = _words(arguments.vocabulary, dataset.cleaning)
    return Job(given, dataset, split, False, words)


def _tell_section(settings: dict[str, str], dataset: Dataset, split: str) -> None:
    """Which studies of the split have no such section, and so are not scored."""
    if f"{PART}section" not in settings:
        return
    whole = chosen_dataset({k: v for k, v in settings.items() if k != f"{PART}section"}, ("split",))
    known = {study.id for study in dataset.split(split)}
    lacking = [study.id for study in whole.split(split) if study.id not in known]
    said = f": {some(lacking)}" if lacking else ""
    _say(f"{settings[f'{PART}section']}: {len(lacking)} studies without it left out{said}")


def _with_ids(made: Reports) -> dict[str, str]:
    if made.ids is None:
        raise BenchError(
            f"{made.path} has no ids",
            "give a column study_id; reports in the order of the split: --in-order",
        )
    return made.by_id()


def _in_order(made: Reports, dataset: Dataset, split: str) -> dict[str, str]:
    ids = [study.id for study in dataset.split(split)]
    if made.ids is not None:
        raise BenchError(f"{made.path} has ids", "leave --in-order out")
    if len(made.texts) != len(ids):
        raise BenchError(
            f"{made.path} has {len(made.texts)} reports, {dataset.name} {split} {len(ids)} studies",
            "give a column study_id",
        )
    return dict(zip(ids, made.texts, strict=True))


# --- results ------------------------------------------------------------------------------------


def _scored(job: Job, metrics: list[str], treatments: list[str], missing: str) -> Scored:
    with counting("scoring", "metrics") as progress:
        if job.own:
            references = {study.id: study.report for study in job.dataset.split(job.split)}
            return own_references.score(
                job.predictions, references, metrics=metrics, treatments=treatments,
                cleaning=job.dataset.cleaning, vocabulary=job.words, missing=missing,
                progress=progress,
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
