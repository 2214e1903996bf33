"""What may stand side by side in one table: seeds of one spec, on one set of data or of folds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.boards.rows import BoardRow
from bench.canonical import digest, to_dict
from bench.errors import BenchError, some
from bench.runs.workspace import RUN
from bench.spec import SEEDED, DataSpec, PartSpec, RunSpec
from bench.store import RunFolder, load_spec


def mixed(rows: Iterable[BoardRow], specs: Mapping[str, RunSpec]) -> list[str]:
    """Why runs cannot be read as one table: a sentence for other data, and for every mixed row.

    The runs of a row are taken for its seeds, so they must differ in nothing else; statistics of
    different rows are paired study by study, so the studies must be the same. Folds of one set are
    blocks of one table: in each, a row has its own runs, which differ from those of other folds
    only in the data and in what was pretrained on them. `specs`: of the runs.
    """
    variants: dict[str, list[RunSpec]] = {}
    for variant, run_id in dict.fromkeys((row.variant, row.run_id) for row in rows):
        variants.setdefault(variant, []).append(specs[run_id])
    return mixed_specs(variants)


def mixed_specs(rows: Mapping[str, Sequence[RunSpec]]) -> list[str]:
    """The same of rows that are given as the specs of their runs."""
    variants = {name: {spec.run_id: spec for spec in own} for name, own in rows.items()}
    runs = {run: spec for own in variants.values() for run, spec in own.items()}
    by_data = _grouped({run: spec.data.manifest for run, spec in runs.items()})
    found = []
    if len(by_data) > 1 and not _are_folds([spec.data for spec in runs.values()]):
        parts = (f"{data[:16]} (run {some(ids, 2)})" for data, ids in by_data.items())
        found.append(f"runs on different data under one name, by manifest: {'; '.join(parts)}")
    for variant, own in variants.items():
        by_spec = _grouped({run: run.rpartition("-s")[0] for run in own})
        if len(by_spec) > 1 and not _one_row(own.values()):
            parts = (f"{spec} (run {some(ids, 2)})" for spec, ids in by_spec.items())
            found.append(
                f"{variant} has runs of {len(by_spec)} specs, "
                "so they are not seeds of the same row: "
                f"{'; '.join(parts)}; they differ in {some(_differences(own.values()))}"
            )
    return found


def _are_folds(data: Sequence[DataSpec]) -> bool:
    """Whether data differ only in which fold of one set they are, each fold having one manifest."""
    sets = {digest(_without_fold(d)) for d in data}
    folds = {(d.params.get("fold"), d.manifest) for d in data}
    numbers = {fold for fold, _ in folds}
    return len(sets) == 1 and len(folds) == len(numbers) and None not in numbers


def _without_fold(data: DataSpec) -> DataSpec:
    params = {k: v for k, v in data.params.items() if k != "fold"}
    return replace(data, params=params, manifest="")


def _one_row(specs: Collection[RunSpec]) -> bool:
    """Whether specs are one row in several folds: one spec a fold, of equal settings."""
    by_fold = {(spec.data.params.get("fold"), spec.spec_id) for spec in specs}
    folds = {fold for fold, _ in by_fold}
    alike = {digest(_of_any_fold(spec)) for spec in specs}
    return len(alike) == 1 and len(by_fold) == len(folds) and None not in folds


def _of_any_fold(spec: RunSpec) -> RunSpec:
    """A spec without what its fold decides: the data, and weights that were pretrained on them."""
    tokenizer = spec.tokenizer and _unpretrained(spec.tokenizer)
    model, data = _unpretrained(spec.model), _without_fold(spec.data)
    return replace(spec, data=data, model=model, tokenizer=tokenizer, seed=0)


def _unpretrained(part: PartSpec) -> PartSpec:
    kept = {k: RUN if v.startswith((RUN, SEEDED)) else v for k, v in part.weights.items()}
    return replace(part, weights=kept)


def _grouped(labels: Mapping[str, str]) -> dict[str, list[str]]:
    """Label -> what has it."""
    groups: dict[str, list[str]] = {}
    for name, label in labels.items():
        groups.setdefault(label, []).append(name)
    return groups


def _differences(specs: Iterable[RunSpec]) -> list[str]:
    """What specs disagree in, seeds apart: `budget.amount (3.0, 300.0)`; digests are cut."""
    leaves = [_leaves(to_dict(spec)) for spec in specs]
    said = []
    for key in dict.fromkeys(key for one in leaves for key in one):
        values = dict.fromkeys(one.get(key, "none") for one in leaves)
        if key != "seed" and len(values) > 1:
            short = (v if len(v) <= 12 else f"{v[:8]}..." for v in values)
            said.append(f"{key} ({', '.join(short)})")
    return said


def _leaves(value: Any, path: str = "") -> dict[str, str]:
    """Dotted path -> text of every value that is neither a mapping nor a list; None is left out."""
    if value is None:
        return {}
    if not isinstance(value, (dict, list)):
        return {path: str(value)}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found: dict[str, str] = {}
    for key, item in items:
        found.update(_leaves(item, f"{path}.{key}".lstrip(".")))
    return found


def refuse_mixed(
    board: Path, rows: Sequence[BoardRow], own: Mapping[str, RunSpec] | None = None
) -> None:
    """Rows that no table can show side by side; `own`: specs of runs not on the board yet."""
    for problem in mixed_on(board, rows, own or {}):
        raise BenchError(
            f"{board}: {problem}",
            "bench board retract RUN --reason ... for every run that is to go, or publish each "
            "kind to a --board of its own",
        )


def mixed_on(board: Path, rows: Sequence[BoardRow], own: Mapping[str, RunSpec]) -> list[str]:
    """What `mixed` says of rows whose runs are the board's, or `own`."""
    runs = dict.fromkeys(r.run_id for r in rows)
    return mixed(rows, {run: own.get(run) or _spec_on(board, run) for run in runs})


def _spec_on(board: Path, run_id: str) -> RunSpec:
    folder = RunFolder(board / "runs", run_id)
    if not (folder / "spec.json").exists():
        raise BenchError(
            f"run {run_id} has rows on the board, but no {folder / 'spec.json'}",
            "bench board validate names all that is missing: put it back",
        )
    return load_spec(folder)
