"""What figures need of a trained model, sealed beside its reports: small, and enough to draw from.

`representations.npz` holds what the model has of

images, reports  int8 (n, d): pooled features of the test split, each row scaled by its largest
                 entry, of models with a common image-report space
gram             float16 (m, m): cosines of the first m rows of the matrix that both modalities
                 query; cosines int64 (BINS,): of all its pairs of rows, from -1 to 1; shape (2,)
study, region    int32 (k,): phrases of the references that name a finding whose place is known (a
                 study's row, and which of `Dataset.regions`); without such, the sentences of the
                 first `PLAIN` studies, with region -1
words            int32 (k, 2): the first of the phrase's words in its report, and the one after it
attention, free  float16 (k, L): mean over the phrase's words, layers and heads; without the mask
shares           float32 (k, 5): see `bench.metrics.attention.SHARES`; only where places are known
grid             int32 (3,): views, rows and columns of the L visual tokens

No number of a report or of its scores depends on this file but the scores of "attention-box",
whose metric has a version; it can be made again from the run's weights at any time.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.data.text import clean, normalise
from bench.files import write_atomic
from bench.model import ImageSpec, image_spec
from bench.runs.training import open_split, trained_model
from bench.runs.workspace import Workspace
from bench.spec import RunSpec
from bench.store import WEIGHTS, RunFolder

if TYPE_CHECKING:
    from bench.data.batches import Split
    from bench.data.study import Dataset, Region, Study

REPRESENTATIONS = "representations.npz"
VERSION = 1
BATCH = 64
ROWS = 64  # of the shared matrix, whose cosines are kept one by one
BINS = 400
BLOCK = 256  # rows of the shared matrix multiplied at once
PLAIN = 64  # studies whose sentences are kept where no place is known


def lacking(spec: RunSpec, folder: RunFolder) -> bool:
    """Whether the run has weights to make the file from, and no file."""
    weights = (folder / WEIGHTS).exists()
    return spec.kind == "train" and weights and not (folder / REPRESENTATIONS).exists()


def represent(spec: RunSpec, work: Workspace, folder: RunFolder) -> None:
    """Write the file of a trained model; of one that shows nothing, with the version alone."""
    model = trained_model(spec, work, folder)
    split = open_split(spec, image_spec(model), work, "test", train=False)
    arrays: dict[str, np.ndarray] = {"version": np.int64(VERSION)}  # type: ignore[dict-item]
    if hasattr(model, "features"):
        arrays |= _features(model, split, work.device)
    if hasattr(model, "shared") and (matrix := model.shared()) is not None:
        arrays |= gram(matrix.detach().float().cpu().numpy())
    if hasattr(model, "attention"):
        arrays |= _attention(model, split, work.open(spec).dataset, work.device)
    data = io.BytesIO()
    np.savez_compressed(data, **arrays)  # type: ignore[arg-type]
    write_atomic(folder / REPRESENTATIONS, data.getvalue())


# --- features and the shared matrix -------------------------------------------------------------


def _features(model: Any, split: Split, device: str) -> dict[str, np.ndarray]:
    pairs = [model.features(b) for b in split.batches(BATCH, device)]
    images, reports = (np.concatenate([x[i].float().cpu().numpy() for x in pairs]) for i in (0, 1))
    return {"images": _bytes(images), "reports": _bytes(reports)}


def _bytes(rows: np.ndarray) -> np.ndarray:
    """Directions to 8 bits an entry: cosines change by less than .01."""
    largest = np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-12)
    return np.round(127 * rows / largest).astype(np.int8)


def gram(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Cosines between different rows of a matrix (rows, d): some of them, and how all lie."""
    unit = matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
    counts = np.zeros(BINS, dtype=np.int64)
    for first in range(0, len(unit), BLOCK):
        block = np.clip(unit[first : first + BLOCK] @ unit.T, -1.0, 1.0)
        later = np.triu(np.ones(block.shape, dtype=bool), first + 1)
        counts += np.histogram(block[later], BINS, (-1.0, 1.0))[0]
    some = unit[:ROWS] @ unit[:ROWS].T
    return {"gram": some.astype(np.float16), "cosines": counts, "shape": np.array(matrix.shape)}


# --- attention ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Phrase:
    """Words `first` to `stop` (exclusive) of a study's report, and what they name, if known."""

    study: int
    region: int
    first: int
    stop: int
    finding: str = ""
    inside: np.ndarray | None = None  # (L,): how much of each visual token's cell the boxes cover


def _attention(model: Any, split: Split, dataset: Dataset, device: str) -> dict[str, np.ndarray]:
    known = [dataset.regions(study) for study in split.studies]
    placed = any(known)
    count = len(split) if placed else PLAIN
    used, free = _maps(model, split, count, device)
    images = image_spec(model)
    side = isqrt(used.shape[2] // images.views)
    if images.views * side**2 != used.shape[2]:
        return {}  # tokens that are no square grid have no place on the film
    found = (
        list(_named(split, dataset, known, images, side))
        if placed
        else list(_sentences(split, used.shape[1]))
    )
    found = [p for p in found if p.first < min(p.stop, used.shape[1])]
    if not found:
        return {}
    arrays: dict[str, np.ndarray] = {
        "study": np.array([p.study for p in found], dtype=np.int32),
        "region": np.array([p.region for p in found], dtype=np.int32),
        "words": np.array([(p.first, p.stop) for p in found], dtype=np.int32),
        "grid": np.array([images.views, side, side], dtype=np.int32),
        "attention": _mean(used, found).astype(np.float16),
    }
    if free is not None:
        arrays["free"] = _mean(free, found).astype(np.float16)
    if placed:
        arrays["shares"] = shares(used, free, split.lengths, found).astype(np.float32)
    return arrays


def _maps(
    model: Any, split: Split, count: int, device: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """(n, T - 1, L) of the first `count` studies, with and without a mask."""
    width = split.tokens.shape[1] - 1
    used: list[np.ndarray] = []
    free: list[np.ndarray] = []
    for number, batch in enumerate(split.batches(BATCH, device)):
        if number * BATCH >= count:
            break
        for kept, found in zip((used, free), model.attention(batch), strict=True):
            if found is not None:
                rows = found.float().cpu().numpy()
                kept.append(np.pad(rows, ((0, 0), (0, width - rows.shape[1]), (0, 0))))
    return np.concatenate(used)[:count], np.concatenate(free)[:count] if free else None


def _mean(maps: np.ndarray, phrases: Sequence[Phrase]) -> np.ndarray:
    return np.stack([maps[p.study, p.first : p.stop].mean(axis=0) for p in phrases])


def _named(
    split: Split, dataset: Dataset, known: Sequence[Sequence[Region]], images: ImageSpec, side: int
) -> Iterator[Phrase]:
    for i, (study, regions) in enumerate(zip(split.studies, known, strict=True)):
        words = split.texts[i].split()
        for j, region in enumerate(regions):
            wanted = normalise(clean(region.phrase, dataset.cleaning)).split()
            inside = covered(study, region, images, side)
            first = _place(words, wanted)
            if first is not None and inside.any():
                yield Phrase(i, j, first, first + len(wanted), region.finding, inside)


def _place(words: Sequence[str], wanted: Sequence[str]) -> int | None:
    """Where `wanted` stands in `words`; None where it does not."""
    starts = range(len(words) - len(wanted) + 1)
    return next((s for s in starts if words[s : s + len(wanted)] == wanted), None)


def _sentences(split: Split, width: int) -> Iterator[Phrase]:
    """Every sentence of the first studies, its closing period left out."""
    for i, text in enumerate(split.texts[:PLAIN]):
        first = 0
        words = text.split()[:width]
        for stop in [*(j for j, word in enumerate(words) if word == "."), len(words)]:
            if stop > first:
                yield Phrase(i, -1, first, stop)
            first = stop + 1


def covered(study: Study, region: Region, images: ImageSpec, side: int) -> np.ndarray:
    """(views * side * side,): the share of each visual token's cell that the boxes cover."""
    cells = np.zeros((images.views, side, side))
    cut = (1 - images.size / images.resize) / 2 if images.evaluate == "center" else 0.0
    for cell, image in zip(cells, study.images, strict=False):
        for x0, y0, x1, y1 in region.boxes.get(image.view, ()):
            across, down = (_overlap(a, b, cut, side) for a, b in ((x0, x1), (y0, y1)))
            cell += np.outer(down, across)
    return np.minimum(cells, 1.0).ravel()


def _overlap(start: float, stop: float, cut: float, side: int) -> np.ndarray:
    """(side,): the share of each cell along an axis between two places of the film, of which
    `cut` is lost at either end."""
    low, high = ((edge - cut) / (1 - 2 * cut) * side for edge in (start, stop))
    edges = np.arange(side)
    return np.clip(np.minimum(high, edges + 1) - np.maximum(low, edges), 0.0, 1.0)


def shares(
    used: np.ndarray, free: np.ndarray | None, lengths: np.ndarray, phrases: Sequence[Phrase]
) -> np.ndarray:
    """(k, 5) of `bench.metrics.attention.SHARES`: what of an attention lies inside the boxes.

    used, free (n, T - 1, L): of each word. lengths: ids of each report, BOS counted.
    """
    real = np.arange(used.shape[1]) < np.minimum(lengths - 1, used.shape[1])[:, None]
    kept = used * real[..., None]
    totals, counts = kept.sum(axis=0), real.sum(axis=0)
    own = _mean(used, phrases)
    study, finding = (np.array([getattr(p, k) for p in phrases]) for k in ("study", "finding"))
    rows = []
    for i, p in enumerate(phrases):
        assert p.inside is not None
        words = slice(p.first, p.stop)
        others = np.maximum(counts[words] - real[p.study, words], 0)
        sums = (totals[words] - kept[p.study, words])[others > 0]
        uniform = np.full(used.shape[2], 1 / used.shape[2])
        position = (sums / others[others > 0, None]).mean(axis=0) if len(sums) else uniform
        same = (finding == p.finding) & (study != p.study)
        alike = own[same].mean(axis=0) if same.any() else position
        plain = own[i] if free is None else free[p.study, words].mean(axis=0)
        rows.append([x @ p.inside for x in (own[i], position, alike, uniform, plain)])
    return np.array(rows)
