"""A discrete VAE of DALL-E's family, trained by the harness on the train split's images.

The encoder maps an image to logits over a codebook at 1/8 of its sides; training samples codes by
the Gumbel-softmax relaxation and a decoder paints the image back; afterwards the argmax is the
image's code. The blocks are DALL-E's: a bottleneck of three 3x3 convolutions and a 1x1 beside a
skip, without normalisation. Unlike DALL-E's, the net sees patches of 4x4 first and works at 1/4 and
1/8 of the sides, because it has to train on a CPU in half a minute; its pixels are grey; and it
starts as the k-means quantiser of 8x8 patches, from which the nets learn what to change: begun at
random it was still 6 dB behind k-means when the small preset's budget was spent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.generator import UAR_IMAGE
from baselines.visual import load_state

PATCH = 4  # pixels that the first convolution takes at once; one pooling makes it a factor of 8


class Films(Protocol):
    """What is read of the harness' batch: images (B, V, C, H, W), and the share of the budget."""

    images: Tensor
    progress: float


class Block(nn.Module):
    """skip(x) + gain * path(x): DALL-E's bottleneck, hidden width a quarter of the output's."""

    def __init__(self, inner: int, outer: int, gain: float) -> None:
        super().__init__()
        hidden = outer // 4
        self.gain = gain
        self.skip = nn.Conv2d(inner, outer, 1) if inner != outer else nn.Identity()
        self.path = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(inner, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, outer, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.gain * self.path(x)


def group(inner: int, outer: int, blocks: int, gain: float) -> list[nn.Module]:
    return [Block(outer if i else inner, outer, gain) for i in range(blocks)]


class Sum(nn.Module):
    """patch(x) + net(x): a linear map of whole patches, and what the net adds to it."""

    def __init__(self, patch: nn.Module, net: nn.Sequential) -> None:
        super().__init__()
        self.patch, self.net = patch, net

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.patch(x) + self.net(x)
        return out


class DVAE(nn.Module):
    """Trained as a model of its own (`loss`), then used as a tokenizer (`codes`).

    108 k parameters at width 16 and 256 codes. `vocab_size` and `max_length`, which the harness
    gives to every model, mean nothing here. weights["dvae"]: the file of a finished training.

    width: channels are 2 and 4 times this at 1/4 and 1/8 of the sides, `blocks` blocks at each.
    temperature: of the relaxation, from the first to the second by a half cosine over training.
    kl_weight: DALL-E's term, KL(q(z | x) || uniform), mean over positions; it rises from 0 over the
        first `kl_ramp` of training. It is the sum of what a code tells about its patch and of
        KL(q(z) || uniform), how unevenly codes are used; its first part pushes towards codes that
        tell nothing. usage_weight: of the second part alone, from the start. With the whole term
        only, 300 steps ended with 8 of 256 codes in use; with this one, with nearly all.
    image: fields that differ from grey pixels in [0, 1] with the crops of `UAR_IMAGE`.
    """

    GROUPS = ("rest",)
    factor = 2 * PATCH

    def __init__(
        self,
        vocab_size: int = 0,
        max_length: int = 0,
        weights: Mapping[str, Path | None] | None = None,
        *,
        codebook_size: int = 512,
        width: int = 32,
        blocks: int = 1,
        temperature: Sequence[float] = (1.0, 1 / 16),
        kl_weight: float = 0.0,
        kl_ramp: float = 0.5,
        usage_weight: float = 0.1,
        sharpness: float = 8.0,
        image: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.codebook_size = codebook_size
        self.temperature, self.sharpness = tuple(temperature), sharpness
        self.kl_weight, self.kl_ramp, self.usage_weight = kl_weight, kl_ramp, usage_weight
        self.image = {**UAR_IMAGE, "channels": 1, "mean": (0.0,), "std": (1.0,), **(image or {})}
        fine, coarse = 2 * width, 4 * width
        gain = 1 / math.sqrt(2 * blocks)  # DALL-E's 1 / 64 would need its three million steps
        self.encoder = Sum(
            nn.Conv2d(1, codebook_size, self.factor, stride=self.factor),
            nn.Sequential(
                nn.Conv2d(1, fine, 2 * PATCH, stride=PATCH, padding=PATCH // 2),
                *group(fine, fine, blocks, gain),
                nn.MaxPool2d(2),
                *group(fine, coarse, blocks, gain),
                nn.ReLU(),
                nn.Conv2d(coarse, codebook_size, 1),
            ),
        )
        self.decoder = Sum(
            nn.Sequential(
                nn.Conv2d(codebook_size, self.factor**2, 1, bias=False),
                nn.PixelShuffle(self.factor),
            ),
            nn.Sequential(
                nn.Conv2d(codebook_size, coarse, 1, bias=False),
                *group(coarse, coarse, blocks, gain),
                nn.Upsample(scale_factor=2),
                *group(coarse, fine, blocks, gain),
                nn.ReLU(),
                nn.Conv2d(fine, PATCH**2, 1),
                nn.PixelShuffle(PATCH),
            ),
        )
        self.apply(_initialise)
        # One row of unit scale for each code.
        nn.init.normal_(cast(Any, self.decoder.net)[0].weight)
        path = (weights or {}).get("dvae")
        if path is not None:
            load_state(self, path)

    # --- training -------------------------------------------------------------------------------

    @torch.no_grad()
    def see(self, images: Tensor) -> None:
        """Start from the k-means centres of the patches of train images (N, C, H, W) in [0, 1].

        Then logits are -sharpness * (squared distance to each centre), up to what all share, a
        code paints its centre, and the nets add nothing yet.
        """
        patches = F.unfold(_signed(images), self.factor, stride=self.factor)
        centres = k_means(patches.transpose(1, 2).flatten(0, 1), self.codebook_size)
        side, k = self.factor, self.codebook_size
        encode, paint = cast(nn.Conv2d, self.encoder.patch), cast(Any, self.decoder.patch)[0]
        encode.weight.copy_(2 * self.sharpness * centres.view(k, 1, side, side))
        cast(Tensor, encode.bias).copy_(-self.sharpness * centres.square().sum(1))
        paint.weight.copy_(centres.T.view(side**2, k, 1, 1))
        for last in (cast(Any, self.encoder.net)[-1], cast(Any, self.decoder.net)[-2]):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        return {"rest": list(self.parameters())}

    def loss(self, batch: Films) -> dict[str, Tensor]:
        """Mean squared error of pixels in [-1, 1] ("reconstruction"), and "kl": see the class.

        In evaluation the codes are the argmax, as a tokenizer's are.
        """
        images = _signed(batch.images.flatten(0, 1))
        logits = self.encoder(images).float()
        picked = self._sample(logits, batch.progress) if self.training else self._hard(logits)
        painted = self.decoder(picked).float()
        return {
            "reconstruction": F.mse_loss(painted, images),
            "kl": self._divergence(logits, batch.progress),
        }

    def _sample(self, logits: Tensor, progress: float) -> Tensor:
        """Gumbel-softmax: soft one-hot codes (N, K, h, w)."""
        first, last = self.temperature
        temperature = last + (first - last) * (1 + math.cos(math.pi * progress)) / 2
        # From uniform noise: on a CPU six times as fast as drawing exponentials.
        noise = -torch.log(-torch.log(torch.rand_like(logits)))
        return ((logits + noise) / temperature).softmax(1)

    def _hard(self, logits: Tensor) -> Tensor:
        return F.one_hot(logits.argmax(1), self.codebook_size).movedim(-1, 1).to(logits.dtype)

    def _divergence(self, logits: Tensor, progress: float) -> Tensor:
        log_q = logits.log_softmax(1)
        q = log_q.exp()
        most = math.log(self.codebook_size)
        each = most + (q * log_q).sum(1).mean()
        used = most - torch.special.entr(q.mean((0, 2, 3)).clamp_min(1e-12)).sum()
        ramp = min(1.0, progress / self.kl_ramp) if self.kl_ramp else 1.0
        return self.kl_weight * ramp * each + self.usage_weight * used

    # --- use ------------------------------------------------------------------------------------

    @torch.no_grad()
    def codes(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1], grey in any number of channels -> (N, H W / 64), row-major."""
        return self.encoder(_signed(images)).argmax(1).flatten(1)

    @torch.no_grad()
    def reconstruct(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] -> what their codes keep of them, (N, 1, H, W) in [0, 1]."""
        painted = self.decoder(self._hard(self.encoder(_signed(images))))
        return ((painted + 1) / 2).clamp(0, 1)

    @torch.no_grad()
    def usage(self, images: Tensor) -> dict[str, float]:
        """Codes that occur ("used") and the perplexity of their frequencies, 1 to codebook_size."""
        count = torch.bincount(self.codes(images).flatten(), minlength=self.codebook_size).double()
        perplexity = torch.special.entr(count / count.sum()).sum().exp()
        return {"used": float((count > 0).sum()), "perplexity": float(perplexity)}

    @torch.no_grad()
    def diagnose(self, batch: Films) -> dict[str, float]:
        """Usage of the codebook, and the peak signal-to-noise ratio of reconstructions in dB."""
        images = batch.images.flatten(0, 1)
        error = F.mse_loss(self.reconstruct(images), images.mean(1, keepdim=True))
        figures = {f"dvae/{name}": value for name, value in self.usage(images).items()}
        return {**figures, "dvae/psnr": -10 * math.log10(max(float(error), 1e-12))}


def k_means(points: Tensor, count: int, rounds: int = 12, sample: int = 20_000) -> Tensor:
    """`count` centres (count, D) of points (N, D), by Lloyd's rounds over random samples.

    Drawn by torch's generator, so the run's seed decides. A centre without points moves to one.
    """
    if len(points) < count:
        raise ValueError(f"{len(points)} patches are too few for {count} codes")
    centres = points[torch.randperm(len(points))[:count]].clone()
    for _ in range(rounds):
        some = points[torch.randperm(len(points))[:sample]]
        nearest = (2 * some @ centres.T - centres.square().sum(1)).argmax(1)
        sizes = torch.bincount(nearest, minlength=count).unsqueeze(1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, some)
        spare = some[torch.arange(count) % len(some)]
        centres = torch.where(sizes > 0, sums / sizes.clamp_min(1), spare)
    return centres


def _signed(images: Tensor) -> Tensor:
    """[0, 1] in any number of equal channels to [-1, 1] in one."""
    return images.mean(1, keepdim=True) * 2 - 1


def _initialise(module: nn.Module) -> None:
    """DALL-E's: normal weights of variance 1 / fan-in, zero biases."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=1 / math.sqrt(module.weight[0].numel()))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
