"""UAR: LSU, CRA and TIR around the Transformer of BASE; each part can be left out (Table 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baselines.base import Captioner, average
from baselines.cache import Cache
from baselines.frozen import Features
from baselines.generator import Studies
from baselines.transformer import Attention, CrossBias, Words, predicted, token_loss
from uar.cra import CRA
from uar.losses import Triplet
from uar.lsu import LSU
from uar.tir import INERT, TIR, Shape

SILENT = 1e-6  # norm up to which a token counts as zero


@dataclass(frozen=True)
class State:
    """Decoding state: the cache, the basis' keys and values, and what TIR needs of the images.

    basis: (2, 1, heads, size, d / heads), the same for all. seen: (B, L, rank), per study.
    """

    cache: Cache
    basis: Tensor | None
    seen: Tensor | None

    def reorder(self, index: Tensor, studies: Tensor | None = None) -> State:
        seen = self.seen
        if studies is not None and seen is not None:
            seen = seen.index_select(0, studies)
        return State(self.cache.reorder(index, studies), self.basis, seen)


class UAR(Captioner):
    """Unify, Align and Refine: 21.8 M parameters at the defaults with 8192 codes and 761 words.

    lsu: images as codes of a tokenizer, which gives `codebook_size`; otherwise as BASE sees them.
        factor: pixels per code along a side.
    integration: CRA's basis and gates, with options `cra`. cra_at: "input", before the Transformer
        encoder; or "encoded", after it. (Text: always before the decoder.)
    align: CRA's triplet loss, with options `triplet`.
    tir: a variant of `uar.tir.TIR` with options `refiner`, or "off".
    options: of `Captioner`; those of a CNN count without LSU.
    """

    GROUPS = ("visual", "basis", "mask", "rest")

    def __init__(
        self,
        vocab_size: int,
        max_length: int,
        weights: Mapping[str, Path | None] | None = None,
        codebook_size: int | None = None,
        *,
        lsu: bool = True,
        integration: bool = True,
        align: bool = True,
        tir: str | bool = "paper",
        cra: Mapping[str, Any] | None = None,
        cra_at: str = "input",
        triplet: Mapping[str, Any] | None = None,
        refiner: Mapping[str, Any] | None = None,
        factor: int = 8,
        d: int = 512,
        heads: int = 8,
        layers: int = 3,
        **options: Any,
    ) -> None:
        if lsu and codebook_size is None:
            raise ValueError("lsu=True needs a tokenizer: it gives codebook_size")
        super().__init__(
            vocab_size,
            max_length,
            weights,
            d=d,
            heads=heads,
            layers=layers,
            visual=LSU(codebook_size, d) if lsu and codebook_size else None,
            **options,
        )
        if cra_at not in ("input", "encoded"):
            raise ValueError(f"cra_at {cra_at!r}: not one of input, encoded")
        self.cra_at = cra_at
        self.cra = CRA(d, **(cra or {})) if integration else None
        self.triplet = Triplet(**(triplet or {})) if align else None
        self.tir = None
        if tir not in ("off", False):  # YAML reads a bare off as false
            tokens = (
                self._code_count(factor) if lsu else visual_token_count(self.visual, self.image)
            )
            # Of max_length tokens all but BOS are predicted.
            shape = Shape(max_length - 1, tokens, layers, d, heads)
            self.tir = TIR(shape, str(tir), **(refiner or {}))
        self.refine = self.tir is not None

    def _code_count(self, factor: int) -> int:
        return int(self.image["views"]) * (int(self.image["size"]) // factor) ** 2

    def switch(self, refine: bool) -> None:
        """TIR on or off, with its loss (section 3.5: off in the first stage, on in the second)."""
        if refine and self.tir is None:
            raise ValueError("switch refine=true needs a TIR, but this model has tir: off")
        self.refine = refine

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """ "visual": the backbone; "basis": gamma and beta (and B); "mask": M; "rest"."""
        basis = [] if self.cra is None else list(self.cra.parameters(recurse=False))
        backbone = getattr(self.visual, "backbone", None)
        return self.named_groups({"visual": backbone, "basis": basis, "mask": self.tir})

    # --- Eq. 1-4 --------------------------------------------------------------------------------

    def _basis(self) -> Tensor | None:
        return None if self.cra is None else self.cra.project()

    def look(self, images: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """F(I) of Eq. 2, and the encoded visual tokens."""
        if self.cra is not None and self.cra_at == "encoded":
            F = self.cra(self.encoder(self.place_image(self.visual(images))), basis)
            return F, F
        if isinstance(self.visual, LSU):
            F = self._aligned(self.visual, images.flatten(1), basis)
        else:
            F = self.visual(images)
            F = F if self.cra is None else self.cra(F, basis)
        return F, self.encoder(self.place_image(F))

    def _aligned(self, table: Words, ids: Tensor, basis: Tensor | None) -> Tensor:
        """F of the discrete tokens `ids` (B, T): CRA sees each id that occurs once.

        A token's F depends on its id alone. CRA's dropout is thus drawn per id of a batch.
        """
        if self.cra is None:
            return Words.forward(table, ids)
        each, place = ids.unique(return_inverse=True)
        F = self.cra(Words.forward(table, each.unsqueeze(0)), basis)[0]
        return nn.functional.embedding(place, F)

    def read(self, tokens: Tensor, basis: Tensor | None = None) -> Tensor:
        """F(R) of Eq. 2; each token's depends on that token alone, so nothing leaks backwards."""
        return self._aligned(self.words, tokens, basis)

    def _refined(self, seen: Tensor | None, masks: list[Tensor] | None = None) -> CrossBias | None:
        """What TIR adds to cross-attention; `masks` collects sigmoid(M) of the refined layers."""
        if self.tir is None or not self.refine or seen is None:
            return None
        tir = self.tir

        def bias(layer: int, positions: slice, rows: Tensor) -> Tensor | None:
            if layer not in tir.layers:
                return None
            mask = tir.mask(layer, positions, rows, seen)
            if masks is not None:
                masks.append(mask)
            return tir.logits(mask)

        return bias

    def _seen(self, visual: Tensor) -> Tensor | None:
        return None if self.tir is None else self.tir.project(visual)

    # --- training -------------------------------------------------------------------------------

    def states(self, batch: Studies) -> Tensor:
        return self._read_all(batch)[0]

    def loss(self, batch: Studies) -> dict[str, Tensor]:
        """ "ce" (Eq. 5); "align" (Eq. 10) and "mask" (Eq. 12) where those parts are on."""
        states, features, text, masks = self._read_all(batch)
        tokens, lengths, whole = batch.tokens, batch.lengths, batch.whole
        terms = {"ce": token_loss(self.head, states, tokens, lengths, self.ce, whole)}
        if self.triplet is not None:
            pairs = (*self.pooled(features, text, batch), tokens)
            # The hardest negative is that of the whole batch.
            terms["align"] = self.triplet(*(pairs if whole is None else map(whole.gather, pairs)))
        if self.tir is not None and masks:
            terms["mask"] = self.tir.loss(masks, predicted(tokens, lengths), whole)
        return terms

    def _read_all(self, batch: Studies) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Decoder states (B, T - 1, d), F(I), F(R) of all tokens, and TIR's masks."""
        basis = self._basis()
        features, visual = self.look(batch.images, basis)
        text = self.read(batch.tokens, basis)
        masks: list[Tensor] = []
        bias = self._refined(self._seen(visual), masks)
        states, _ = self.decoder(self.place_text(text[:, :-1]), self.decoder.start(visual), bias)
        return states, features, text, masks

    def pooled(self, seen: Tensor, text: Tensor, batch: Studies) -> tuple[Tensor, Tensor]:
        pooling = "words" if self.triplet is None else self.triplet.pooling
        if pooling == "tokens":
            position = torch.arange(text.shape[1], device=text.device)
            return seen.float().mean(1), average(text, position < batch.lengths.unsqueeze(1))
        if pooling == "max":
            words = (batch.tokens != 0).unsqueeze(-1)
            lowest = torch.finfo(torch.float32).min
            top = text.float().masked_fill(~words, lowest).amax(1)
            return seen.float().amax(1), top.masked_fill(~words.any(1), 0.0)
        return super().pooled(seen, text, batch)

    # --- decoding -------------------------------------------------------------------------------

    def encode(self, images: Tensor) -> State:
        basis = self._basis()
        visual = self.look(images, basis)[1]
        return State(self.decoder.start(visual), basis, self._seen(visual))

    def follow(self, tokens: Tensor, state: State) -> Tensor:
        text = self.place_text(self.read(tokens, state.basis))
        return self.head(self.decoder(text, state.cache, self._refined(state.seen))[0])

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        text = self.read(tokens.unsqueeze(1), state.basis)
        placed = self.place_text(text, state.cache.length)
        states, cache = self.decoder(placed, state.cache, self._refined(state.seen))
        return self.head(states[:, 0]), replace(state, cache=cache)

    # --- figures --------------------------------------------------------------------------------

    def shared(self) -> Tensor | None:
        """The adjusted basis of Eq. 6."""
        return None if self.cra is None else self.cra.adjusted()

    @torch.no_grad()
    def diagnose(self, batch: Studies) -> dict[str, float]:
        """Figures on TIR ("tir/...") and CRA ("cra/...") over a batch, without dropout.

        tir/sigma_mean, sigma_std: of sigmoid(M). tir/total_variation: between attention with and
        without the mask, mean over real rows, heads, layers. tir/entropy: of the attention, nats.
        tir/inert: 1 when the total variation is below 0.01.
        cra/image_share, cra/report_share: mean norm of F~ over that of E. cra/gram: `CRA.gram`.
        """
        training = self.training
        self.eval()
        basis = self._basis()
        visual = self.look(batch.images, basis)[1]
        figures = self._attention_figures(visual, basis, batch)
        if self.cra is not None and basis is not None:
            E = self.visual(batch.images)
            if self.cra_at == "encoded":
                E = self.encoder(self.place_image(E))
            figures["cra/image_share"] = share(self.cra.represent(E, basis), E)
            words = self.words(batch.tokens[batch.tokens != 0]).unsqueeze(0)
            figures["cra/report_share"] = share(self.cra.represent(words, basis), words)
            figures["cra/gram"] = self.cra.gram()
        self.train(training)
        return figures

    def _attention_figures(
        self, visual: Tensor, basis: Tensor | None, batch: Studies
    ) -> dict[str, float]:
        cache, seen = self.decoder.start(visual), self._seen(visual)
        real = predicted(batch.tokens, batch.lengths)
        variation: list[Tensor] = []
        entropy: list[Tensor] = []
        masks: list[Tensor] = []
        bias = self._refined(seen, masks)

        def watch(layer: int, positions: slice, rows: Tensor) -> Tensor | None:
            extra = None if bias is None else bias(layer, positions, rows)
            cross: Any = self.decoder.layers[layer].cross
            free, used = attention_pair(cross, rows, cache.visual[layer], extra)
            variation.append((free - used).abs().sum(-1).mean(1)[real].mean() / 2)
            entropy.append(torch.special.entr(used).sum(-1).mean(1)[real].mean())
            if self.tir is not None and seen is not None and bias is None:
                masks.append(self.tir.mask(layer, positions, rows, seen))
            return extra

        text = self.place_text(self.read(batch.tokens[:, :-1], basis))
        self.decoder(text, cache, watch)
        figures = {"tir/entropy": float(torch.stack(entropy).mean())}
        if self.tir is not None:
            sigma = torch.stack(masks)
            moved = float(torch.stack(variation).mean())
            figures["tir/sigma_mean"] = float(sigma.mean())
            figures["tir/sigma_std"] = float(sigma.std())
            figures["tir/total_variation"] = moved
            figures["tir/inert"] = float(moved < INERT)
        return figures


def attention_pair(
    cross: Attention, rows: Tensor, visual: Tensor, extra: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Attention weights without and with the additive `extra`."""
    free = cross.weights(rows, visual)
    return free, free if extra is None else cross.weights(rows, visual, extra)


def share(part: Tensor, whole: Tensor) -> float:
    """Mean over tokens of the norm of `part` over that of `whole`.

    A token of norm 0 (of a visual module that a ReLU ends) has no such ratio and does not count;
    0 where no token has one.
    """
    norms = whole.norm(dim=-1)
    counted = norms > SILENT
    ratios = part.norm(dim=-1)[counted] / norms[counted]
    return float(ratios.mean()) if len(ratios) else 0.0


def visual_token_count(visual: nn.Module, image: Mapping[str, Any]) -> int:
    """Visual tokens of a study, found by showing an empty one."""
    if isinstance(visual, Features):
        return int(image["views"]) * visual.tokens
    empty = torch.zeros(1, image["views"], image["channels"], image["size"], image["size"])
    training = visual.training
    with torch.no_grad():
        count = visual.eval()(empty).shape[1]
    visual.train(training)
    return int(count)
