"""The image caches that a plan's runs will read, filled together: one decoding an image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from bench.data.study import Dataset
from bench.errors import BenchError
from bench.model import ImageSpec
from bench.runs.floors import PICTURE
from bench.runs.workspace import Workspace
from bench.spec import RunSpec

if TYPE_CHECKING:
    from bench.data.resize import Resize

# Renditions of a split that a training reads: whether each is the one that crops are drawn from.
_READ = {"train": (True, False), "val": (False,), "test": (False,)}
_PICTURES = ("train", "test")  # what a floor compares


def gather(specs: Iterable[RunSpec], work: Workspace) -> None:
    """Fill what is missing. What cannot be filled is left to the run that needs it: it says why."""
    from bench.data.batches import views_of
    from bench.data.images import open_stores

    wanted: dict[tuple[str, str, int], tuple[Dataset, dict[Resize, None]]] = {}
    try:
        for spec in specs:
            dataset = work.open(spec).dataset
            for split, views, rule in _rules(spec, dataset):
                place = wanted.setdefault((dataset.manifest, split, views), (dataset, {}))
                place[1][rule] = None
        for (_, split, views), (dataset, rules) in wanted.items():
            if len(rules) > 1:  # a single one is filled where it is read
                open_stores(dataset, views_of(dataset.split(split), views), [*rules], work.cache)
    except BenchError:
        return


def _rules(spec: RunSpec, dataset: Dataset) -> Iterator[tuple[str, int, Resize]]:
    """(split, images of a study, rule) of every rendition that a run may read."""
    from bench.data.resize import Resize

    if spec.kind == "floor":
        views = min(len(s.images) for s in dataset.studies)
        yield from ((split, views, Resize.of(PICTURE, False)) for split in _PICTURES)
    elif declared := spec.model.params.get("image"):
        image = _image(declared)
        for split, kinds in _READ.items():
            yield from ((split, image.views, Resize.of(image, training)) for training in kinds)


def _image(declared: Mapping[str, Any]) -> ImageSpec:
    known = {field.name for field in fields(ImageSpec)}
    return ImageSpec(**{k: v for k, v in declared.items() if k in known})
