"""One run: train -> predict -> score -> seal. A stage whose output is known is skipped."""

from __future__ import annotations

import csv
import ctypes
import io
import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.data.leakage import cleaned_reports
from bench.data.study import Study
from bench.provenance import environment
from bench.seal import seal
from bench.spec import RunSpec, digest, to_dict
from bench.store import RunFolder, file_digest, read_json, write_atomic, write_json
from bench.workspace import Workspace

if TYPE_CHECKING:
    from bench.data.batches import Split, Views
    from bench.model import ImageSpec
    from bench.train import Training

PREDICTIONS = "predictions.csv"
ALIGNMENT = "alignment.txt"  # per study 1 or 0, of models with a common image-report space
PREDICT_BATCH = 64
MMAP_MAX, TRIM_THRESHOLD = -4, -1  # of glibc's malloc.h
SEEN_STUDIES = 512  # of the train split, by a model that starts from the data
FLOOR_PIXELS = 32  # side of the pictures that a floor may compare


def execute(spec: RunSpec, work: Workspace, folder: RunFolder) -> None:
    """Train and predict (or write a floor); the caller holds the folder's lock.

    Ends with predictions.csv of the test split and status "predicted" (a pretraining:
    "pretrained"); scoring comes after, and elsewhere if need be.
    """
    folder.sweep()
    write_json(folder / "spec.json", to_dict(spec))
    if spec.kind == "floor":
        _write_floor(spec, work, folder)
    else:
        _train_and_predict(spec, work, folder)
    write_json(folder / "env.json", environment())
    _remove_checkpoints(folder)  # before the seal, which would list them
    seal(folder, status="pretrained" if spec.kind == "pretrain" else "predicted")


# --- trained models ----------------------------------------------------------------------------


def keep_freed_memory() -> None:
    """Tell glibc to reuse freed memory at once rather than give it back to the system.

    Every step frees and takes the same tens of megabytes; without this the system zeroes them
    anew each time (a tenth of a small step, more of a large one). Changes no number.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return
    for option, value in ((MMAP_MAX, 0), (TRIM_THRESHOLD, 2**31 - 1)):
        mallopt(option, value)


def initial_model(spec: RunSpec, work: Workspace) -> Any:
    """The model before its first step: the same for the same spec and seed."""
    import torch

    from bench.build import build_model

    keep_freed_memory()
    torch.set_num_threads(spec.train.threads or os.cpu_count() or 1)
    torch.use_deterministic_algorithms(spec.deterministic)
    # Deterministic mode also fills new tensors, which costs a tenth of a step; nothing here
    # reads memory that it has not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # Building the tokenizer may draw random numbers, once a process: before the seed is set.
    tokenizer = work.tokenizer(spec.tokenizer) if spec.tokenizer else None
    torch.manual_seed(spec.derived_seed("initial"))
    model = build_model(
        spec.model,
        work.paths(spec.model.weights),
        len(work.vocabulary(spec.data)) + 1,
        spec.data.max_length,
        tokenizer,
    )
    if hasattr(model, "prepare"):  # a model with a text tokenizer of its own
        model.prepare(cleaned_reports(work.dataset_of(spec.data), "train"))
    return model


def rerun(spec: RunSpec, work: Workspace, folder: RunFolder, steps: int) -> list[dict[str, float]]:
    """The rows of losses.csv after the first steps of a training, repeated in another folder."""
    model = initial_model(spec, work)
    return _training(spec, model, work, folder).first_losses(steps)


def _train_and_predict(spec: RunSpec, work: Workspace, folder: RunFolder) -> None:
    from bench.build import image_spec
    from bench.checkpoint import load_weights

    model = initial_model(spec, work)
    weights = folder / "weights.safetensors"
    if not (folder / "train.json").exists():
        _training(spec, model, work, folder).run()
    model.to(work.device).eval()
    load_weights(weights, model)
    if switches := read_json(folder / "train.json")["best"]["switches"]:
        model.switch(**switches)
    if spec.kind == "train" and not (folder / PREDICTIONS).exists():
        _predict(spec, model, image_spec(model), work, folder)


def _training(spec: RunSpec, model: Any, work: Workspace, folder: RunFolder) -> Training:
    from bench.build import image_spec
    from bench.train import Training

    images = image_spec(model)
    splits = {
        name: open_split(spec, images, work, name, train=name == "train")
        for name in ("train", "val")
    }
    if hasattr(model, "see"):  # a model that starts from the data
        model.see(_first_images(splits["train"]))
    vocabulary, treatment = work.vocabulary(spec.data), work.treatment(spec.data)
    return Training(spec, model, splits, vocabulary, treatment, folder, work.device, work.say)


def _first_images(split: Split) -> Any:
    """Images (N, C, H, W) of the split's first studies, all views."""
    import torch

    batches = islice(split.batches(PREDICT_BATCH, "cpu"), -(-SEEN_STUDIES // PREDICT_BATCH))
    return torch.cat([batch.images.flatten(0, 1) for batch in batches])


def open_split(spec: RunSpec, images: ImageSpec, work: Workspace, name: str, train: bool) -> Split:
    """A split as the model wants to see it, from the caches."""
    from bench.data.batches import Pixels, Split
    from bench.data.codes import open_codes

    dataset = work.dataset_of(spec.data)
    studies = dataset.split(name)
    views: Views
    if images.kind == "codes":
        assert spec.tokenizer is not None
        views = open_codes(
            dataset,
            studies,
            images,
            work.tokenizer(spec.tokenizer),
            digest(spec.tokenizer),
            spec.train.crops,
            train,
            work.cache,
            work.device,
        )
    else:
        views = Pixels.open(dataset, studies, images, train, work.cache)
    return Split(dataset, studies, work.vocabulary(spec.data), spec.data.max_length, views)


def _predict(
    spec: RunSpec, model: Any, images: ImageSpec, work: Workspace, folder: RunFolder
) -> None:
    """Test reports, and what the model's own features say of them."""
    split = open_split(spec, images, work, "test", train=False)
    if hasattr(model, "features"):
        marks = _alignment(model, split, work)
        write_atomic(folder / ALIGNMENT, "".join(f"{int(mark)}\n" for mark in marks[:, 0]))
    write_predictions(folder / PREDICTIONS, split.studies, write_reports(spec, model, split, work))


def _alignment(model: Any, split: Split, work: Workspace) -> np.ndarray:
    """Which studies' images and reports are aligned, by the model's own features."""
    from bench.metrics.alignment import aligned

    pairs = [model.features(b) for b in split.batches(PREDICT_BATCH, work.device)]
    images, reports = (np.concatenate([x[i].float().cpu().numpy() for x in pairs]) for i in (0, 1))
    return aligned(images, reports)


def write_reports(spec: RunSpec, model: Any, split: Split, work: Workspace) -> list[str]:
    """One decoded report per study of the split, in manifest order."""
    from bench.decode import generate, lay_out

    lay_out(model)
    vocabulary, seed = work.vocabulary(spec.data), spec.derived_seed("decode")
    reports: list[str] = []
    for batch in split.batches(PREDICT_BATCH, work.device):
        ids = generate(model, batch.images, spec.decode, seed + len(reports))
        reports += [vocabulary.decode(x) for x in ids]
    return reports


def write_predictions(path: Path, studies: Sequence[Study], reports: Sequence[str]) -> None:
    """`study_id,report`: every id of the split once, in manifest order."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["study_id", "report"])
    writer.writerows((s.id, r) for s, r in zip(studies, reports, strict=True))
    write_atomic(path, text.getvalue())


def _remove_checkpoints(folder: RunFolder) -> None:
    """Drop what only an unfinished training needs; the selected weights stay."""
    checkpoints = folder / "checkpoints"
    for path in checkpoints.glob("*.safetensors"):
        path.unlink()
    if checkpoints.exists():
        checkpoints.rmdir()


# --- floors ------------------------------------------------------------------------------------


class _Material:
    """What a floor may use; see `baselines.floors.Material`."""

    split = "test"

    def __init__(self, spec: RunSpec, work: Workspace, order: np.ndarray | None) -> None:
        self._order = order  # whose test images each study is shown; None: its own
        self._work, self._dataset = work, work.dataset_of(spec.data)
        vocabulary, treatment = work.vocabulary(spec.data), work.treatment(spec.data)
        self.train = cleaned_reports(self._dataset, "train")
        self.val = [treatment.reference(s.report, vocabulary) for s in self._dataset.split("val")]
        self.count = len(self._dataset.split(self.split))
        self._labeler = str(spec.model.params.get("labeler", ""))

    def choose(self, candidates: Sequence[str], references: Sequence[str]) -> int:
        from bench.metrics.bleu import best_constant

        return best_constant(candidates, references)[0]

    def no_finding(self, reports: Sequence[str]) -> list[bool]:
        from bench.labeler import no_finding

        return no_finding(self._labeler, reports)

    def pictures(self, split: str) -> np.ndarray:
        from bench.data.batches import views_of
        from bench.data.images import open_store
        from bench.model import ImageSpec

        studies = self._dataset.split(split)
        count = min(len(s.images) for s in self._dataset.studies)
        spec = ImageSpec(size=FLOOR_PIXELS, resize=FLOOR_PIXELS, filter="bilinear")
        images = views_of(studies, count)
        store = open_store(self._dataset, images, spec, training=False, cache=self._work.cache)
        shape = (len(studies), count, FLOOR_PIXELS, FLOOR_PIXELS)
        pictures = np.asarray(store.array).reshape(shape)
        shuffled = split == self.split and self._order is not None
        return pictures[self._order] if shuffled else pictures


def floor_reports(spec: RunSpec, work: Workspace, order: np.ndarray | None = None) -> list[str]:
    """A floor's report per test study; `order` shows it the images of other studies."""
    from bench.build import construct

    floor = construct(spec.model, {}, seed=spec.derived_seed("floor") % 2**32)
    reports: list[str] = floor.write(_Material(spec, work, order))
    return reports


def _write_floor(spec: RunSpec, work: Workspace, folder: RunFolder) -> None:
    studies = work.dataset_of(spec.data).split("test")
    write_predictions(folder / PREDICTIONS, studies, floor_reports(spec, work))


def predictions_digest(folder: RunFolder) -> str:
    """sha256 of predictions.csv: the `predictions_sha` of a row."""
    return file_digest(folder / PREDICTIONS)
