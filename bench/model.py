"""The contract between the harness and a model. Structural: a model package imports nothing here.

Token ids: 0 is at once BOS, EOS and padding (R2Gen's convention); words are 1..V. A report is
`0, words, 0`, cut to the dataset's max_length, so that a long one has no closing 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, Protocol

from bench.errors import BenchError, unknown
from bench.spec import PartSpec
from bench.targets import PARTS, follow, refuse_strange

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Batch:
    """What a model sees of B studies in training.

    images: (B, V, C, H, W) float32 pixels as the model's `image` declares them, or
        (B, V, L) int64 codes when it declares `kind: codes`, (B, V, L, c) float32 features when it
        declares `kind: features`.
    tokens: (B, T) int64, padded with 0. lengths: (B,) int64 ids that count, BOS and EOS included.
    texts: the B cleaned reports, for models that bring a tokenizer of their own.
    progress: share of the budget spent so far, 0 to 1 (for schedules inside a model).
    whole: the other parts of the batch where several processes train together, else None.
    """

    images: Tensor
    tokens: Tensor
    lengths: Tensor
    texts: Sequence[str] = ()
    progress: float = 0.0
    whole: Whole | None = None


class Whole(Protocol):
    """The batch of which a `Batch` is one process's part; all parts have the same B.

    Terms are averaged over processes. So a mean over studies needs nothing; a mean over anything
    else divides by the `mean` of its count; and a contrast between studies is that of all of them.
    """

    def mean(self, count: Tensor) -> Tensor:
        """Mean over processes of a number that has no gradient."""

    def gather(self, x: Tensor) -> Tensor:
        """Rows (B, ...) of every process one after the other, with gradient."""

    def first(self, rows: int) -> int:
        """Where this process's `rows` begin in what `gather` gives."""


@dataclass(frozen=True)
class ImageSpec:
    """What a model wants to see of an image, as data; recorded in every row.

    Training: resize to `resize` pixels (`mode` "squash": both sides; "short": the shorter side,
    aspect kept; "pad": the longer side, aspect kept, zero-padded to a square), then a `size`
    crop at a random place when `resize > size`, then a horizontal flip with probability `flip`.
    Evaluation: `evaluate` "squash": resized to `size` x `size` directly (R2Gen, UAR); "center":
    resized as in training, then the central crop (MGCA).
    `kind` "pixels": float32 (x - mean) / std of x in [0, 1], `channels` equal channels;
    "codes": int64 codes of the model's image tokenizer; "features": of a frozen network.
    """

    size: int
    resize: int
    mode: str = "squash"
    evaluate: str = "squash"
    flip: float = 0.0
    filter: str = "lanczos"  # or "bilinear" (torchvision's Resize, antialiased)
    kind: str = "pixels"
    channels: int = 3
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    views: int = 2


class Model(Protocol):
    """A report generator: `target(vocab_size=V + 1, max_length=T, weights={...}, **params)`.

    `weights` maps a part's name ("visual") to a local file, or None for random initial values;
    the harness has resolved and verified it. A model whose row has an image tokenizer also gets
    its `codebook_size`, or the `feature_shape` of an extractor.
    """

    image: Mapping[str, Any]  # the fields of `ImageSpec`

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Scalar terms by name; "ce" is the mean token cross-entropy. The harness weights them.

        Of a part of a batch (`batch.whole`): terms whose mean over processes is the whole batch's.
        """

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Every trainable parameter once, by a group name that a config gives rates to.

        A class whose configurations have different groups lists all their names in `GROUPS`.
        """

    def encode(self, images: Tensor) -> Any:
        """State of B hypotheses, one per study, before the first token."""

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Feed tokens (N,), get logits or log-probabilities (N, V + 1) of the next, and the state.

        N = B x k: the k hypotheses of a study are neighbours, B studies in order. What belongs
        to a study (visual keys and values) is held once per study, never once per hypothesis.
        """

    def reorder(self, state: Any, index: Tensor, studies: Tensor | None = None) -> Any:
        """State whose hypothesis i is hypothesis index[i] of `state`; index (N',).

        An index never crosses studies. `studies` (B',), when given, says which studies stay
        (finished ones are dropped); index then addresses only hypotheses of those.
        """


class Stages(Protocol):
    """Optional: a model whose parts are switched between training stages."""

    def switch(self, **switches: Any) -> None:
        """Turn named parts on or off (UAR: `refine`)."""


class Prepared(Protocol):
    """Optional: a model that learns a vocabulary of its own before training."""

    def prepare(self, texts: Sequence[str]) -> None:
        """The cleaned reports of the train split, in manifest order."""


class Seeing(Protocol):
    """Optional: a model whose initial values come from train images (a dVAE's codebook)."""

    def see(self, images: Tensor) -> None:
        """Images (N, C, H, W) of the train split's first studies, before training."""


class Diagnosed(Protocol):
    """Optional: a model that can report on its own mechanism."""

    def diagnose(self, batch: Batch) -> dict[str, float]:
        """Named figures for the log, computed without gradient (UAR: how inert TIR is)."""


class Aligned(Protocol):
    """Optional: a model with a common image-report space (UAR Figure 4)."""

    def features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Pooled image and report features (B, d) each."""


class Inspected(Protocol):
    """Optional: a model whose attention and shared matrix are sealed for figures (UAR 5 and 6)."""

    def attention(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Cross-attention (B, T - 1, L) of the word after each of a batch's tokens but the last.

        And the same without a mask that is put on it, None where there is none. The L visual
        tokens are the cells of square views, row by row.
        """

    def shared(self) -> Tensor | None:
        """The matrix (rows, d) that images and reports both query, None where there is none."""


class Scoring(Protocol):
    """Optional: a model that scores given reports, so that its use of the images is measured."""

    def log_probs(self, batch: Batch, state: Any = None, studies: Tensor | None = None) -> Tensor:
        """Log-probabilities (B, T) of each token given those before it and the images.

        0 for BOS and padding; EOS counts. `state`, of `encode`, stands for the batch's images, and
        `studies` (B,) says which of its studies each report is held against (default: its own),
        in any order and any number of times.
        """


class Tokenizer(Protocol):
    """An image tokenizer (UAR's LSU). Built as `target(weights={"dvae": Path}, **params)`."""

    codebook_size: int
    factor: int  # pixels per code along a side

    def codes(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float32 in [0, 1] -> (N, H * W / factor**2) int64, row-major."""


class Extractor(Protocol):
    """A frozen network, instead of a tokenizer. Built as one."""

    feature_shape: tuple[int, int]  # tokens and channels of a view

    def features(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float32 in [0, 1] -> (N, tokens, channels)."""


# Of a constructor that was given something wrong, or a damaged file of weights.
FAILURES = (
    TypeError, ValueError, OSError, ArithmeticError, RuntimeError, LookupError, EOFError,
    UnpicklingError,
)  # fmt: skip


def part_class(part: PartSpec) -> Any:
    """What builds a part; BenchError for an import path that is not to be followed."""
    refuse_strange(part.params, part.target)
    return follow(part.target, "target", PARTS)


def construct(part: PartSpec, paths: Mapping[str, Path | None], **given: Any) -> Any:
    """Build a part; a parameter or a weight file that it does not take is an error that says so."""
    try:
        return part_class(part)(weights=dict(paths), **given, **part.params)
    except FAILURES as error:
        raise BenchError(f"{part.target}: {error}", "see the constructor's docstring") from error


def build_model(
    part: PartSpec,
    paths: Mapping[str, Path | None],
    vocab_size: int,
    max_length: int,
    tokenizer: Tokenizer | Extractor | None,
) -> Model:
    """A model; one that reads codes or features is told their size."""
    names = ("codebook_size", "feature_shape")
    extra = {name: getattr(tokenizer, name) for name in names if hasattr(tokenizer, name)}
    return construct(part, paths, vocab_size=vocab_size, max_length=max_length, **extra)


def image_spec(model: Any) -> ImageSpec:
    """The model's declaration as an `ImageSpec`; unknown fields are an error."""
    declared = dict(model.image)
    names = [f.name for f in fields(ImageSpec)]
    for key in declared:
        if key not in names:
            raise unknown(f"field of {type(model).__name__}.image", key, names)
    for key in ("mean", "std"):
        if key in declared:
            declared[key] = tuple(float(x) for x in declared[key])
    return ImageSpec(**declared)
