"""What a pretrained image encoder is worth: retrieval, and linear probes at few labels.

A pretraining model takes part as `Transferred` says: products of its `features` rank reports for
images, and a linear layer reads what its `encoder` gives, frozen. The control is the same encoder
with random weights, drawn anew for each seed. Everything is measured on the test split, on which
nothing was trained or selected; intervals resample its patients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from bench.errors import BenchError, DataError, MissingError
from bench.metrics.clinical.truth import observations, source
from bench.model import Aligned
from bench.pretraining import probe
from bench.pretraining.frozen import RESAMPLES, Frozen, draws, ends, probe_rows
from bench.runs.workspace import Workspace
from bench.spec import RunSpec
from bench.store import WEIGHTS, RunFolder, read_json, sealed, write_json
from bench.terminal import table

if TYPE_CHECKING:
    from torch import nn


RESULTS = "pretraining.json"
FORMAT = 2  # of RESULTS; rises when a figure would change
BATCH = 64
PRETRAINED, RANDOM = "pretrained", "random"


class Transferred(Aligned, Protocol):
    """What a pretraining model offers beside the contract of `bench.model` to be measured here."""

    @staticmethod
    def encoder(params: Mapping[str, Any], weights: Path | None) -> nn.Module:
        """The encoder alone, of a model's parameters: (B, V, C, H, W) -> features (B, d).

        Declares its `image` as a model does. `weights`: a sealed pretraining or whatever file
        the package reads; None gives random values.
        """


def takes_part(spec: RunSpec) -> bool:
    """Whether a pretraining's model has an encoder to be measured (an image tokenizer has not)."""
    from bench.model import part_class

    return hasattr(part_class(spec.model), "encoder")


def is_tokenizer(spec: RunSpec) -> bool:
    """Whether a pretraining's model is an image tokenizer that paints its codes again."""
    from bench.model import part_class

    return spec.kind == "pretrain" and hasattr(part_class(spec.model), "reconstruct")


def is_appraised(folder: RunFolder) -> bool:
    """Whether the figures of a sealed pretraining are those that would be measured now."""
    path = folder / RESULTS
    try:  # figures that were altered, or that a killed process left unsealed, are measured again
        return path.exists() and bool(read_json(path)["format"] == FORMAT)
    except DataError:
        return False


def appraise(spec: RunSpec, work: Workspace, folder: RunFolder) -> None:
    """Measure a finished pretraining, draw its figures, seal anew; the caller holds the lock."""
    from bench.engine.validation import EVALUATION_BATCH
    from bench.pretraining import codes, curves, reconstructions

    folder.refuse_altered(RESULTS, "figures/")
    found: dict[str, Any] = {"format": FORMAT}
    if takes_part(spec):
        found["retrieval"] = retrieve(spec, work, folder)
        found["probe"] = probed(spec, work, folder / WEIGHTS)
        curves.draw(folder, min(EVALUATION_BATCH, len(work.open(spec).dataset.split("val"))))
    elif is_tokenizer(spec):
        found["tokenizer"] = reconstructions.draw(spec, work, folder)
        found["probe"] = codes.probed(spec, work, folder)
    write_json(folder / RESULTS, found)
    folder.seal(status="pretrained")


# --- retrieval ---------------------------------------------------------------------------------


def retrieve(spec: RunSpec, work: Workspace, folder: RunFolder) -> list[dict[str, Any]]:
    """Recall at 1, 5, 10 in both directions, with chance; a report that reads the same is right."""
    import torch

    from bench.engine.checkpoint import load_weights
    from bench.model import image_spec
    from bench.runs.training import initial_model, open_split

    model = initial_model(spec, work).to(work.device).eval()
    load_weights(sealed(folder / WEIGHTS), model)
    split = open_split(spec, image_spec(model), work, "test", train=False)
    with torch.inference_mode():
        pairs = [model.features(batch) for batch in split.batches(BATCH, work.device)]
    images, reports = (np.concatenate([p[i].float().cpu().numpy() for p in pairs]) for i in (0, 1))
    texts = [" ".join(text.split()) for text in split.texts]
    return retrieval_rows(images, reports, texts, draws(split, np.arange(len(split))))


def retrieval_rows(
    images: np.ndarray, reports: np.ndarray, texts: Sequence[str], counts: np.ndarray
) -> list[dict[str, Any]]:
    """One row a direction and rank; `counts` (R, n) of the bootstrap over queries."""
    expected = probe.chance(len(texts), texts)
    rows = []
    for name, hits in probe.answers(images, reports, texts).items():
        direction, _, metric = name.partition("/")
        if metric not in expected:
            continue
        drawn = counts @ hits / counts.sum(axis=1)
        value, low, high = probe.spread(np.concatenate([[hits.mean()], drawn]))
        row = {"direction": direction, "metric": metric, "n": len(texts), **ends(value, low, high)}
        rows.append({**row, "chance": expected[metric], "times_chance": value / expected[metric]})
    return rows


# --- linear probes -----------------------------------------------------------------------------


def probed(spec: RunSpec, work: Workspace, weights: Path | None) -> dict[str, Any]:
    """Linear probes of the encoder in `weights` beside random ones; None: of random ones alone.

    A dataset without labels gives the reason instead.
    """
    try:
        observations(spec.data.name, work.open(spec).dataset.split("test"))
    except MissingError as error:
        return {"unavailable": error.message}
    runs = {}
    if weights is not None:
        runs[PRETRAINED] = [frozen(spec, work, weights)] * len(probe.SEEDS)
    runs[RANDOM] = [frozen(spec, work, None, seed) for seed in probe.SEEDS]
    rows, drawn = [], {}
    for name, each in runs.items():
        for fraction in probe.FRACTIONS:
            found, values = probe_rows(each, fraction)
            rows += [{"weights": name, **row} for row in found]
            drawn[name, fraction] = values
    return {
        "labels": source(spec.data.name),
        "seeds": list(probe.SEEDS),
        "resamples": RESAMPLES,
        "rows": rows,
        "differences": _differences(drawn) if weights is not None else [],
    }


def frozen(spec: RunSpec, work: Workspace, weights: Path | None, seed: int = 0) -> Frozen:
    """What a frozen encoder sees; without `weights` it is the random one of `seed`."""
    import torch

    from bench.model import image_spec, part_class
    from bench.runs.training import keep_freed_memory, open_split

    keep_freed_memory()
    torch.manual_seed(seed)
    try:
        network = part_class(spec.model).encoder(spec.model.params, weights)
    except (ValueError, OSError) as error:
        raise BenchError(str(error), "choose the model of these weights: model=NAME") from error
    network = network.to(work.device).eval()
    features, labels, counts = {}, {}, np.zeros(0)
    for name in ("train", "val", "test"):
        split = open_split(spec, image_spec(network), work, name, train=False)
        known, values = observations(spec.data.name, split.studies)
        with torch.inference_mode():
            seen = [network(b.images).float().cpu() for b in split.batches(BATCH, work.device)]
        features[name], labels[name] = torch.cat(seen).numpy()[known], values[known]
        if name == "test":
            counts = draws(split, np.flatnonzero(known))
    return Frozen(features, labels, counts)


def _differences(drawn: dict[tuple[str, float], np.ndarray]) -> list[dict[str, Any]]:
    """Mean AUROC of the pretrained encoder minus that of random ones, on the same resamples."""
    gaps = {f: (drawn[PRETRAINED, f] - drawn[RANDOM, f])[:, -1] for f in probe.FRACTIONS}
    return [{"fraction": f, **ends(*probe.spread(gap))} for f, gap in gaps.items()]


# --- in words ----------------------------------------------------------------------------------


def render(found: dict[str, Any]) -> str:
    """The content of RESULTS, or of `bench probe`, as tables for a terminal."""
    parts = []
    if rows := found.get("retrieval"):
        cells = [
            [r["direction"].replace("_", " "), r["metric"], _figure(r), f"{r['chance']:.3f}",
             f"{r['times_chance']:.1f}"]
            for r in rows
        ]  # fmt: skip
        title = f"retrieval among {rows[0]['n']} test studies; a report that reads the same counts"
        parts.append(table(title, ["query", "metric", "value [95 %]", "chance", "times"], cells))
    if figures := found.get("tokenizer"):
        cells = [[name.rpartition("/")[2], f"{value:.4g}"] for name, value in figures.items()]
        parts.append(table("codes of validation films", ["figure", "value"], cells))
    if probes := found.get("probe"):
        parts.append(_render_probe(probes))
    return "\n".join(parts)


def _render_probe(found: dict[str, Any]) -> str:
    if reason := found.get("unavailable"):
        return f"no linear probe: {reason}\n"
    rows = found["rows"]
    kinds = list(dict.fromkeys((r["weights"], r["fraction"]) for r in rows))
    cell = {(r["finding"], r["weights"], r["fraction"]): _figure(r) for r in rows}
    positives = {r["finding"]: r["positives"] for r in rows}
    cells = [
        [
            name,
            "" if count is None else str(count),
            *(cell.get((name, *kind), "-") for kind in kinds),
        ]
        for name, count in positives.items()
    ]
    title = (
        f"AUROC [95 %] of a linear probe on frozen features, by share of the training labels "
        f"({found['labels']}), {rows[0]['n']} test studies, mean of {len(found['seeds'])} seeds"
    )
    text = table(title, ["finding", "studies", *(f"{w} {f:.0%}" for w, f in kinds)], cells)
    for row in found["differences"]:
        share, other = f"{row['fraction']:.0%}", row.get("over", RANDOM)
        text += f"\n{share} of labels: mean AUROC {_figure(row, '+')} over {other}"
    return text + "\n" if found["differences"] else text


def _figure(row: dict[str, Any], sign: str = "") -> str:
    return f"{row['value']:{sign}.3f} [{row['ci_low']:{sign}.3f}, {row['ci_high']:{sign}.3f}]"
