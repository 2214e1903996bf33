"""What the gate measures and how it compares: scores, floors, control, first losses, short runs.

A short run is trained for a few steps, validated, and writes the reports of the sample's test
studies: with the first losses it shows whether other code computes the same numbers.
"""

from __future__ import annotations

import csv
import datetime
import io
import platform
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.canonical import digest
from bench.config import load_yaml, names
from bench.errors import BenchError
from bench.identity import SAME_NUMBERS, code_of, first_of
from bench.metrics.available import METRICS
from bench.metrics.predictions import PREDICTIONS
from bench.metrics.scoring import score
from bench.provenance import processor
from bench.runs.controls import derangement
from bench.runs.execute import execute
from bench.runs.floors import floor_reports
from bench.runs.information import LIKELIHOODS
from bench.runs.prediction import ALIGNMENT
from bench.runs.training import rerun
from bench.runs.workspace import Workspace
from bench.spec import TREATMENT, BudgetSpec, RunSpec
from bench.store import WEIGHTS, RunFolder, file_digest, write_atomic
from bench.suites.composer import Composer
from bench.suites.suite import Row
from bench.suites.work import Job
from bench.terminal import Progress

STEPS = 20
SCORES = 1e-9  # absolute: the same arithmetic on another machine
ELSEWHERE = 2e-2  # relative: losses on a platform without golden ones of its own
# Beside every model's YAML: UAR without codes runs without a tokenizer's code.
VARIANTS = (Row("uar, pixels", "uar", ("model.params.lsu=false",)),)


def measure(dataset: str, count: int, work: Workspace) -> dict[str, Any]:
    """Scores, floors, control and losses on a sample of `count` studies a split."""
    common = [f"dataset={dataset}", f"dataset.sample={count}", "budget=tiny",
              f"budget.pretrain.amount={STEPS * 16}"]  # fmt: skip
    job = Job(work, Progress(), metrics=())
    composer = Composer(work, job.pretrain, common)
    floors = {name: composer.floor(name) for name in names("floor")}
    spec = next(iter(floors.values()))
    return {
        "manifest": spec.data.manifest,
        "scores": _metric_scores(spec, work),
        "floors": {name: _floor_scores(floor, work) for name, floor in floors.items()},
        "control": _control_scores(floors["nearest"], work),
        **_models(composer, floors, work),
    }


def _metric_scores(spec: RunSpec, work: Workspace) -> dict[str, dict[str, Any]]:
    """Every metric that works here, each study given the reference of the study before it."""
    dataset = work.open(spec).dataset
    studies = dataset.split("test")
    shifted = (studies[-1], *studies[:-1])
    predictions = {s.id: other.report for s, other in zip(studies, shifted, strict=True)}
    scored = score(predictions, dataset, "test", METRICS)
    return {
        f"{s.metric} {s.treatment}": {"value": s.value, "signature": s.signature}
        for s in scored
        if s.value is not None
    }


def _floor_scores(spec: RunSpec, work: Workspace, shuffle: bool = False) -> dict[str, float | None]:
    dataset = work.open(spec).dataset
    ids = [s.id for s in dataset.split("test")]
    order = derangement(len(ids), seed=0) if shuffle else None
    reports = floor_reports(spec, work, order)
    predictions = dict(zip(ids, reports, strict=True))
    scored = score(predictions, dataset, "test", ("BLEU", "CIDEr"), (TREATMENT,))
    return {s.metric: s.value for s in scored if s.metric in ("BLEU-4", "CIDEr")}


def _control_scores(spec: RunSpec, work: Workspace) -> dict[str, float | None]:
    """The floor that sees images, shown those of other studies."""
    return _floor_scores(spec, work, shuffle=True)


def _models(
    composer: Composer, floors: Mapping[str, RunSpec], work: Workspace
) -> dict[str, dict[str, Any]]:
    """First losses, and code and result of a short run, of every model, on one thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        specs = dict(_specs(composer))
        losses = {name: _first_losses(name, specs[name], work) for name in names("model")}
        runs = {name: _short_run(spec, work) for name, spec in {**specs, **floors}.items()}
    finally:
        torch.set_num_threads(threads)
    return {"losses": {platform_key(): losses}, "runs": {platform_key(): runs}}


def _specs(composer: Composer) -> Iterator[tuple[str, RunSpec]]:
    for name in names("model"):
        pretraining = load_yaml("model", name).get("kind") == "pretrain"
        yield name, composer.pretraining(name) if pretraining else composer.row(Row(name, name))
    for row in VARIANTS:
        yield row.name, composer.row(row)


def _first_losses(name: str, spec: RunSpec, work: Workspace) -> list[float]:
    folder = RunFolder(work.out, f"check-{name}")
    return [row["loss"] for row in rerun(spec, work, folder, STEPS)]


def _short_run(spec: RunSpec, work: Workspace) -> dict[str, str]:
    """The code of a run, and the digest of its weights and reports after a few steps."""
    if spec.kind != "floor":
        spec = replace(spec, budget=BudgetSpec("steps", float(STEPS)))
    folder = RunFolder(work.out, spec.run_id)
    with folder.lock():
        execute(spec, work, folder)
    names = (WEIGHTS, PREDICTIONS, LIKELIHOODS, ALIGNMENT)
    files = [folder / name for name in names]
    results = [file_digest(path) for path in files if path.exists()]
    steps = "0" if spec.kind == "floor" else str(STEPS)
    return {"code": code_of(spec, first=False), "steps": steps, "result": digest(results)}


def platform_key() -> str:
    """What the last digits of a loss depend on beside the code: torch and the processor."""
    import torch

    unit = torch.backends.cpu.get_cpu_capability()
    return (
        f"{platform.system()}-{platform.machine()}-{processor()}-{unit}-torch-{torch.__version__}"
    )


def merged(golden: Mapping[str, Any] | None, now: Mapping[str, Any]) -> dict[str, Any]:
    """The present figures; losses of other platforms are kept only while the sample is the same."""
    same = golden is not None and golden["manifest"] == now["manifest"]
    kept = golden if golden is not None and same else {}
    by_platform = {key: {**kept.get(key, {}), **now.get(key, {})} for key in ("losses", "runs")}
    return {**now, **by_platform}


# --- comparison --------------------------------------------------------------------------------


def changes(
    golden: Mapping[str, Any], now: Mapping[str, Any], telling: bool = True
) -> Iterator[str]:
    """One sentence for everything that differs, with its size.

    `telling`: the pictures are known to tell what the reports say. On 64 studies of real data
    the nearest-image floor need be no better than with other studies' images, only different.
    """
    if golden["manifest"] != now["manifest"]:
        yield (
            f"the sampled dataset changed: manifest {golden['manifest'][:12]} -> "
            f"{now['manifest'][:12]}"
        )
    yield from _score_changes(golden["scores"], now["scores"])
    for part in ("floors", "control"):
        for name, before, after in _leaves(golden[part], now[part], part):
            if before is None or after is None or abs(before - after) > SCORES:
                yield f"{name}: {_moved(before, after)}"
    yield from _control_changes(now, telling)
    yield from training_changes(golden, now)


def training_changes(golden: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """The same of trainings and their reports alone, whatever is said of these."""
    yield from _loss_changes(golden["losses"], now["losses"])
    yield from _result_changes(golden.get("runs", {}), now.get("runs", {}))


def _score_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old is None or new is None:
            yield f"score {name}: {'new' if old is None else 'gone'}"
        elif old["signature"] != new["signature"]:
            yield f"score {name}: signature {old['signature']} -> {new['signature']}"
        elif abs(old["value"] - new["value"]) > SCORES:
            yield f"score {name}: {_moved(old['value'], new['value'])}"


def _leaves(before: Any, after: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, Mapping) or isinstance(after, Mapping):
        for key in sorted({*(before or {}), *(after or {})}):
            yield from _leaves((before or {}).get(key), (after or {}).get(key), f"{name} {key}")
    else:
        yield name, before, after


def _moved(before: float | None, after: float | None) -> str:
    if before is None or after is None:
        return f"{before} -> {after}"
    return f"{before!r} -> {after!r} ({after - before:+.3g})"


def _control_changes(now: Mapping[str, Any], telling: bool) -> Iterator[str]:
    own, shuffled = now["floors"]["nearest"]["CIDEr"], now["control"]["CIDEr"]
    if shuffled == own or (telling and not shuffled < own):
        yield (
            f"shuffled-image control: the nearest-image floor has CIDEr {own:.4f} with its own "
            f"images and {shuffled:.4f} with others': images are not shuffled, or not read"
        )


def _loss_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    [(key, now)] = after.items()
    golden = before.get(key)
    exact = golden is not None
    golden = golden if golden is not None else next(iter(before.values()))
    for name in sorted({*golden, *now}):
        old, new = golden.get(name), now.get(name)
        if old is None or new is None:
            yield f"losses of {name}: {'new model' if old is None else 'model gone'}"
            continue
        step = next(
            (i for i, pair in enumerate(zip(old, new, strict=False)) if _off(*pair, exact)), None
        )
        if step is not None or len(old) != len(new):
            at = step if step is not None else min(len(old), len(new)) - 1
            where = "" if exact else " (golden of another platform)"
            yield f"losses of {name}, step {at + 1}: {_moved(old[at], new[at])}{where}"


def _off(old: float, new: float, exact: bool) -> bool:
    return old != new if exact else abs(old - new) > ELSEWHERE * abs(old)


def _result_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Short runs that come to something else; only a platform's own golden ones can tell."""
    for key, runs in after.items():
        for name, run in runs.items():
            old = before.get(key, {}).get(name)
            if old is not None and old["result"] != run["result"]:
                yield f"{name}: {STEPS} steps come to other reports or weights than before"


# --- the same numbers from other code ------------------------------------------------------------

RECORD = ("code", "same_as", "run", "steps", "losses", "result", "platform", "added")


def changed_code(golden: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Name of a short run -> the row that records its code as of the golden code's numbers.

    Only where this platform has golden figures: elsewhere equal numbers cannot be shown.
    """
    found = {}
    for key, runs in now.get("runs", {}).items():
        for name, run in runs.items():
            old = golden.get("runs", {}).get(key, {}).get(name)
            if old is not None and first_of(old["code"]) != first_of(run["code"]):
                losses = now["losses"][key].get(name)
                found[name] = {
                    "code": run["code"],
                    "same_as": first_of(old["code"]),
                    "run": name,
                    "steps": run.get("steps", "0"),
                    "losses": digest(losses)[:16] if losses else "",
                    "result": run["result"][:16],
                    "platform": key,
                    "added": datetime.datetime.now(datetime.UTC).date().isoformat(),
                }
    return found


def record(rows: Mapping[str, Mapping[str, str]], path: Path = SAME_NUMBERS) -> int:
    """Add rows to the record of equal numbers; returns how many digests are new there."""
    before = path.read_text(encoding="utf-8") if path.exists() else ",".join(RECORD) + "\n"
    known = {line.partition(",")[0] for line in before.splitlines()}
    new: dict[str, Mapping[str, str]] = {}
    for row in rows.values():
        if row["code"] in known:
            continue
        other = new.setdefault(row["code"], row)
        if other["same_as"] != row["same_as"]:
            raise BenchError(
                f"{other['run']} and {row['run']} have one code now and had two before",
                "record each change by itself",
            )
    text = io.StringIO()
    csv.DictWriter(text, RECORD, lineterminator="\n").writerows(new.values())
    write_atomic(path, before + text.getvalue())
    return len(new)
