"""Floors: baselines that need no learning, and what they may use."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.data.leakage import cleaned_reports
from bench.metrics.predictions import PREDICTIONS
from bench.model import ImageSpec
from bench.runs.reports import write_predictions
from bench.runs.workspace import Workspace
from bench.spec import RunSpec
from bench.store import RunFolder

FLOOR_PIXELS = 32  # side of the pictures that a floor may compare
PICTURE = ImageSpec(size=FLOOR_PIXELS, resize=FLOOR_PIXELS, filter="bilinear")


class _Material:
    """What a floor may use; see `baselines.floors.Material`."""

    split = "test"

    def __init__(self, spec: RunSpec, work: Workspace, order: np.ndarray | None) -> None:
        self._order = order  # whose test images each study is shown; None: its own
        opened = work.open(spec)
        self._work, self._dataset = work, opened.dataset
        treatment, vocabulary = opened.treatment, opened.vocabulary
        self.train = cleaned_reports(self._dataset, "train")
        self.val = [treatment.reference(s.report, vocabulary) for s in self._dataset.split("val")]
        self.count = len(self._dataset.split(self.split))
        self._labeler = str(spec.model.params.get("labeler", ""))

    def choose(
        self, candidates: Sequence[str], references: Sequence[str], metric: str = "BLEU-4"
    ) -> int:
        from bench.metrics import bleu, cider

        if metric == "CIDEr":
            return cider.best_constant(candidates, references)[0]
        return bleu.best_constant(candidates, references, metric)[0]

    def no_finding(self, reports: Sequence[str]) -> list[bool]:
        from bench.metrics.clinical.labeler import no_finding

        return no_finding(self._labeler, reports)

    def pictures(self, split: str) -> np.ndarray:
        from bench.data.batches import views_of
        from bench.data.images import open_store

        studies = self._dataset.split(split)
        count = min(len(s.images) for s in self._dataset.studies)
        images = views_of(studies, count)
        store = open_store(self._dataset, images, PICTURE, training=False, cache=self._work.cache)
        shape = (len(studies), count, FLOOR_PIXELS, FLOOR_PIXELS)
        pictures = np.asarray(store.array).reshape(shape)
        shuffled = split == self.split and self._order is not None
        return pictures[self._order] if shuffled else pictures


def floor_reports(spec: RunSpec, work: Workspace, order: np.ndarray | None = None) -> list[str]:
    """A floor's report per test study; `order` shows it the images of other studies."""
    from bench.model import construct

    floor = construct(spec.model, {}, seed=spec.derived_seed("floor") % 2**32)
    reports: list[str] = floor.write(_Material(spec, work, order))
    return reports


def write_floor(spec: RunSpec, work: Workspace, folder: RunFolder) -> None:
    studies = work.open(spec).dataset.split("test")
    write_predictions(folder / PREDICTIONS, studies, floor_reports(spec, work))
