"""What a report generator is here. A new one subclasses `Generator` and gives five things.

`states`: the decoder's states of whole reports (teacher forcing), which `head` maps to logits.
`head`: set by the constructor. `encode`, `step`, `reorder`: the same decoder, one word of each
hypothesis at a time. Everything else has a default: images by a CNN and a projection, the mean
token cross-entropy, and two parameter groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from baselines.frozen import Features
from baselines.likelihood import TeacherForced
from baselines.transformer import token_loss
from baselines.visual import Visual

# UAR section 4.1: resized to 128 and cropped to 112 in training, resized to 112 otherwise.
UAR_IMAGE: Mapping[str, Any] = {
    "size": 112,
    "resize": 128,
    "mode": "squash",
    "evaluate": "squash",
    "flip": 0.0,
    "filter": "lanczos",
    "kind": "pixels",
    "channels": 3,
    "views": 2,
}
# The shorter side to 256, a random 224 crop and a flip in training; squashed to 224 otherwise.
R2GEN_IMAGE: Mapping[str, Any] = {
    **UAR_IMAGE,
    "size": 224,
    "resize": 256,
    "mode": "short",
    "flip": 0.5,
    "filter": "bilinear",
}


class Studies(Protocol):
    """What is read of the harness' batch: images (B, V, ...), token ids (B, T), id counts (B,).

    whole: None, or what several processes that share a batch ask each other.
    """

    images: Tensor
    tokens: Tensor
    lengths: Tensor
    whole: Any


class Generator(TeacherForced, nn.Module):
    """Images of a study to the words of its report.

    vocab_size: words and id 0, which is at once BOS, EOS and padding. max_length: ids a report has
    at most. weights: a local file, or None for random values, by the name of a part.
    d: width of a visual token. visual: a module from a batch's images to visual tokens (B, L, d).
    feature_shape: tokens and channels of a view where images are features of a frozen network.
    Without these two a CNN, to which the following belong.
    backbone: a name or import path (see `baselines.visual`) with its own `backbone_params`; its
    initial values are weights["visual"], random when None. `freeze` keeps it as it is;
    `apart` runs it on one view of a training batch at a time (None: as the class says).
    image: fields that differ from the class' `IMAGE` with what the visual module expects.
    """

    GROUPS: tuple[str, ...] = ("visual", "rest")  # a frozen backbone's rate is no mistake
    IMAGE: Mapping[str, Any] = R2GEN_IMAGE
    APART = False  # see `Visual`
    ce = "mean"  # see `token_loss`

    visual: Any
    head: nn.Module

    def __init__(
        self,
        vocab_size: int,
        max_length: int,
        weights: Mapping[str, Path | None] | None = None,
        *,
        d: int = 512,
        visual: nn.Module | None = None,
        feature_shape: tuple[int, int] | None = None,
        image: Mapping[str, Any] | None = None,
        backbone: str = "resnet101",
        backbone_params: Mapping[str, Any] | None = None,
        freeze: bool = False,
        apart: bool | None = None,
        visual_dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.vocab_size, self.max_length = vocab_size, max_length
        if visual is None and feature_shape is not None:
            visual = Features(feature_shape, d, visual_dropout)
            self.see = visual.see  # only these start from the data
        elif visual is None:
            file, params = (weights or {}).get("visual"), backbone_params or {}
            apart = self.APART if apart is None else apart
            visual = Visual(d, backbone, file, freeze, visual_dropout, apart, **params)
        self.visual = visual
        self.image = {**self.IMAGE, **self.visual.expected, **(image or {})}

    # --- training -------------------------------------------------------------------------------

    def states(self, batch: Studies) -> Tensor:
        """Decoder states (B, T - 1, d) after each of a batch's tokens but the last."""
        raise NotImplementedError

    def loss(self, batch: Studies) -> dict[str, Tensor]:
        """Scalar terms by name; "ce" is the token cross-entropy."""
        states, of = self.states(batch), (batch.tokens, batch.lengths)
        return {"ce": token_loss(self.head, states, *of, self.ce, batch.whole)}

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """ "visual": the backbone, unless frozen; "rest"."""
        return self.named_groups({"visual": getattr(self.visual, "backbone", None)})

    def named_groups(
        self, parts: Mapping[str, nn.Module | list[nn.Parameter] | None]
    ) -> dict[str, list[nn.Parameter]]:
        """Groups of the named parts, and "rest" for every other trainable parameter."""
        groups: dict[str, list[nn.Parameter]] = {}
        for name, part in parts.items():
            found = part.parameters() if isinstance(part, nn.Module) else part or []
            groups[name] = [p for p in found if p.requires_grad]
        taken = {id(p) for group in groups.values() for p in group}
        groups["rest"] = [p for p in self.parameters() if p.requires_grad and id(p) not in taken]
        return {name: group for name, group in groups.items() if group}

    # --- decoding -------------------------------------------------------------------------------

    def encode(self, images: Tensor) -> Any:
        """State of B hypotheses, one per study, before the first token."""
        raise NotImplementedError

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Feed tokens (N,), get logits (N, vocab_size) of the next, and the state.

        N = B x k: the k hypotheses of a study are neighbours, B studies in order.
        """
        raise NotImplementedError

    def reorder(self, state: Any, index: Tensor, studies: Tensor | None = None) -> Any:
        """State whose hypothesis i is hypothesis index[i] of `state`; index (N',).

        `studies` (B',), when given, says which studies stay; no index crosses studies.
        """
        raise NotImplementedError
