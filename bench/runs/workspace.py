"""Where a command works: folders, device, and what is loaded once for all of its runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bench.data
from bench import weights
from bench.canonical import digest
from bench.data.study import Dataset
from bench.data.text import Treatment, Vocabulary, treatment, vocabulary
from bench.errors import BenchError, DataError
from bench.spec import SEEDED
from bench.store import WEIGHTS, RunFolder, file_digest

if TYPE_CHECKING:
    from bench.model import Tokenizer
    from bench.spec import DataSpec, PartSpec, RunSpec

RANDOM = "random"
RUN = "run:"  # weights that a pretraining run of this workspace sealed


def default_out() -> Path:
    """Folder of the runs: $BENCH_OUT, or `runs` here."""
    return Path(os.environ.get("BENCH_OUT") or "runs")


def default_cache() -> Path:
    """Folder of the image and code caches: $BENCH_CACHE, or `cache` here."""
    return Path(os.environ.get("BENCH_CACHE") or "cache")


def pretraining_of(reference: str) -> str | None:
    """The run id behind a reference to weights; None where they come from elsewhere."""
    name = reference.partition("@")[0]
    for prefix in (RUN, SEEDED):
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return None


@dataclass
class Workspace:
    """`out` holds runs, `cache` what can be computed again. `say` prints one line."""

    out: Path = field(default_factory=default_out)
    cache: Path = field(default_factory=default_cache)
    say: Callable[[str], None] = lambda line: None
    _datasets: dict[str, Dataset] = field(default_factory=dict)
    _opened: dict[str, Opened] = field(default_factory=dict)

    def __post_init__(self) -> None:
        chosen = os.environ.get("BENCH_DEVICE")
        if chosen and chosen not in ("cpu", "cuda"):
            fix = "give cpu or cuda, or unset it; CUDA_VISIBLE_DEVICES says which GPU"
            raise BenchError(f"BENCH_DEVICE={chosen}", fix)

    @property
    def device(self) -> str:
        """ "cuda" when there is one, else "cpu"; $BENCH_DEVICE overrides."""
        import torch

        chosen = os.environ.get("BENCH_DEVICE")
        if chosen == "cuda" and not torch.cuda.is_available():
            raise BenchError(f"BENCH_DEVICE={chosen}, but torch sees no CUDA device", "unset it")
        return chosen or ("cuda" if torch.cuda.is_available() else "cpu")

    # --- data -----------------------------------------------------------------------------------

    def dataset(self, target: str, params: Mapping[str, Any]) -> Dataset:
        key = digest([target, params])
        if key not in self._datasets:
            self._datasets[key] = bench.data.load(target, **params)
        return self._datasets[key]

    def open(self, spec: RunSpec) -> Opened:
        """What a spec names; runs of one dataset and tokenizer share it."""
        key = digest([spec.data, spec.tokenizer])
        if key not in self._opened:
            self._opened[key] = Opened(spec.data, spec.tokenizer, self)
        return self._opened[key]

    # --- weights --------------------------------------------------------------------------------

    def reference(self, name: str | None) -> str:
        """What a spec records of initial weights: "random" or "<name>@<sha256>".

        A name that ends in "?" is optional: without its file the part starts at random, and the
        row says so.
        """
        if name is None:
            return RANDOM
        optional, name = name.endswith("?"), name.removesuffix("?")
        if (run_id := pretraining_of(name)) is not None:
            moved = RunFolder(self.out, run_id).left_behind  # a plan needs their digest alone
            return f"{name}@{moved.get(WEIGHTS) or file_digest(self._run_weights(run_id))}"
        try:
            return f"{name}@{weights.resolve(name).digest}"
        except BenchError:
            if optional:
                return RANDOM
            raise

    def path(self, reference: str) -> Path | None:
        """The verified file behind a reference, None for random initial values."""
        if reference == RANDOM:
            return None
        name, _, expected = reference.rpartition("@")
        if (run_id := pretraining_of(name)) is not None:
            path = self._run_weights(run_id)
            found = file_digest(path)
        else:
            resolved = weights.resolve(name)
            path, found = resolved.path, resolved.digest
        if found != expected:
            raise DataError(
                f"weights {name} have changed: sha256 {found[:12]} instead of {expected[:12]}",
                "put the file back, or run again to make a new run with the present one",
            )
        return path

    def paths(self, references: Mapping[str, str]) -> dict[str, Path | None]:
        return {part: self.path(reference) for part, reference in references.items()}

    def _run_weights(self, run_id: str) -> Path:
        folder = RunFolder(self.out, run_id)
        path = folder / WEIGHTS
        if folder.left_behind:
            raise DataError(
                f"{path} was left behind when this run's folder moved",
                "bring it from where the run was made; its digest is in the manifest",
            )
        if not path.exists():
            raise DataError(f"no pretrained weights at {path}", "run `bench pretrain` first")
        return path


@dataclass
class Opened:
    """Dataset, vocabulary, treatment and image tokenizer of a spec: each opened once, when it is
    first asked for."""

    data: DataSpec
    part: PartSpec | None  # the tokenizer's
    work: Workspace

    @cached_property
    def dataset(self) -> Dataset:
        """The spec's dataset; one that has changed since is an error that says so."""
        dataset = self.work.dataset(self.data.target, self.data.params)
        if dataset.cleaning != self.data.cleaning:
            raise DataError(
                f"dataset {self.data.name} is cleaned as {dataset.cleaning!r}, and was as "
                f"{self.data.cleaning!r} for this run",
                "run again to make a new run on the present data",
            )
        if dataset.manifest != self.data.manifest:
            raise DataError(
                f"dataset {self.data.name} is not the one of this run: manifest "
                f"{dataset.manifest[:12]} instead of {self.data.manifest[:12]}",
                "run again to make a new run on the present data",
            )
        return dataset

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return vocabulary(self.dataset)

    @cached_property
    def treatment(self) -> Treatment:
        return treatment(self.data.text, self.dataset)

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """The frozen image tokenizer, on the device; None where the spec has none."""
        from bench.model import construct

        if self.part is None:
            return None
        built = construct(self.part, self.work.paths(self.part.weights))
        moved: Tokenizer = built.to(self.work.device) if hasattr(built, "to") else built
        return moved
