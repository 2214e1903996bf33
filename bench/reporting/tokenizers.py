"""What the codes of the rows' image tokenizers keep of an image: reconstruction, use of the codes,
and a linear probe per finding beside the same probe on the pixels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from bench.files import csv_text
from bench.pretraining.appraise import RESULTS
from bench.runs.workspace import pretraining_of
from bench.store import RunFolder, load_spec, read_json

if TYPE_CHECKING:
    from bench.reporting.summary import Summary

FILE = "tokenizers.csv"
FIGURES = {"dvae/psnr": "PSNR, dB", "dvae/used": "codes used", "dvae/perplexity": "perplexity"}
HEAD = ("tokenizer", "trainings", "figure", "of", "n", "value")


@dataclass(frozen=True)
class Kept:
    """One tokenizer's figures, means over its `trainings` (one a seed or fold).

    probes: finding -> what was read ("films", the pixels, or "codes") -> AUROC.
    """

    name: str
    rows: tuple[str, ...]
    trainings: int
    figures: Mapping[str, float]
    studies: Mapping[str, int | None]
    probes: Mapping[str, Mapping[str, float]]


def kept(suite: Summary) -> list[Kept]:
    """Tokenizers that rows of a suite began with and whose figures were measured."""
    rows: dict[str, list[str]] = {}
    runs: dict[str, dict[str, None]] = {}
    for row in suite.trained:
        for folder in trained_for(suite, row):
            if not _has_figures(folder):
                continue
            name = load_spec(folder).model.target.rpartition(".")[2]
            runs.setdefault(name, {})[folder.run_id] = None
            if row not in rows.setdefault(name, []):
                rows[name].append(row)
    out = suite.contrasts.out
    return [
        _mean(name, rows[name], [read_json(out / run / RESULTS) for run in own])
        for name, own in runs.items()
    ]


def trained_for(suite: Summary, row: str) -> Iterator[RunFolder]:
    """The sealed image tokenizers of this harness that a row's runs began with."""
    for run in suite.keys[row]:
        spec = load_spec(RunFolder(suite.contrasts.out, run))
        for reference in spec.tokenizer.weights.values() if spec.tokenizer else ():
            if run_id := pretraining_of(reference):
                yield RunFolder(suite.contrasts.out, run_id)


def _has_figures(folder: RunFolder) -> bool:
    return (folder / RESULTS).exists() and "tokenizer" in read_json(folder / RESULTS)


def _mean(name: str, rows: Sequence[str], found: Sequence[Mapping[str, Any]]) -> Kept:
    figures = {key: fmean(f["tokenizer"][key] for f in found) for key in found[0]["tokenizer"]}
    probes: dict[str, dict[str, list[float]]] = {}
    studies: dict[str, int | None] = {}
    for each in (row for f in found for row in f.get("probe", {}).get("rows", ())):
        if each["value"] is None:  # a finding that too few studies show
            continue
        probes.setdefault(each["finding"], {}).setdefault(each["weights"], []).append(each["value"])
        studies[each["finding"]] = each["positives"]
    means = {k: {w: fmean(v) for w, v in by.items()} for k, by in probes.items()}
    return Kept(name, tuple(rows), len(found), figures, studies, means)


def section(found: Sequence[Kept]) -> str:
    """The section of a report; "" where no tokenizer has figures."""
    return "\n".join(map(_one, found))


def _one(tokenizer: Kept) -> str:
    said = ", ".join(
        f"{title} {tokenizer.figures[key]:.3g}"
        for key, title in FIGURES.items()
        if key in tokenizer.figures
    )
    lines = [
        f"| {finding} | {tokenizer.studies[finding] or '–'} | {by['films']:.3f} "
        f"| {by['codes']:.3f} |"
        for finding, by in tokenizer.probes.items()
    ]
    table = (
        "| finding | test studies with it | pixels | codes |\n|---|---:|---:|---:|\n"
        + "\n".join(lines)
        + "\n"
    )
    return (
        f"### What {tokenizer.name}'s codes keep\n\n"
        f"The tokenizer of {', '.join(tokenizer.rows)}; means of {tokenizer.trainings} "
        f"training{'s' if tokenizer.trainings > 1 else ''}. On validation images: {said}. AUROC of "
        "a linear probe on which code stands where, beside the same probe on the pixels. What the "
        "probe finds is in the codes; what it misses a decoder may find all the same.\n\n"
    ) + (table if lines else "No probe: the dataset has no labels.\n")


def to_csv(found: Sequence[Kept]) -> str:
    """Full precision, a line a figure."""
    rows: list[Sequence[object]] = []
    for t in found:
        rows += [(t.name, t.trainings, key, "", "", value) for key, value in t.figures.items()]
        for finding, by in t.probes.items():
            n = t.studies[finding]
            rows += [(t.name, t.trainings, f"auroc {w}", finding, n, v) for w, v in by.items()]
    return csv_text(HEAD, rows)
