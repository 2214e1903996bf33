"""The slow, obvious ways: what fast code must equal, and is timed against.

Decoding (`bench.engine.decode`): the images are encoded once; then every step computes the whole
prefix of every hypothesis again, word by word from the first, and nothing stops early. Bookkeeping
is one Python list per study. Aggregation of word pieces (`mgca.aggregate`): piece by piece.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bench.engine.decode import END
from bench.spec import DecodeSpec

if TYPE_CHECKING:
    from bench.model import Model

Hypothesis = tuple[np.float32, tuple[int, ...]]  # summed log-probability, word ids


@torch.inference_mode()
def decode_slowly(model: Model, images: Tensor, spec: DecodeSpec) -> list[list[int]]:
    """Beam search (greedy: a beam of 1) by R2Gen's rules; arguments as of `bench.engine.decode`."""
    start = model.encode(images)
    live: list[list[Hypothesis]] = [[(np.float32(0), ())] for _ in images]
    ended: list[list[Hypothesis]] = [[] for _ in images]
    for length in range(1, spec.max_length + 1):
        following = from_scratch(model, start, live, spec.beam_size, images.device)
        for study, hypotheses in enumerate(live):
            longer = _best(hypotheses, following[study], spec)
            for score, words in longer:
                if words[-1] == END or length == spec.max_length:
                    final = score / np.float32(length**spec.length_penalty)
                    ended[study].append((final, words))
            live[study] = [h for h in longer if h[1][-1] != END]
    # max() takes the first of equals: the one that ended first.
    chosen = [max(hypotheses, key=lambda h: h[0])[1] for hypotheses in ended]
    return [[word for word in words if word != END] for words in chosen]


def from_scratch(
    model: Model, start: Any, live: list[list[Hypothesis]], k: int, device: torch.device
) -> list[np.ndarray]:
    """Per study the log-probabilities (hypotheses, V + 1) of the next word.

    `start` is the state before the first word. Places of studies with fewer than k hypotheses
    are fed padding, as the contract wants k each.
    """
    count = len(live)
    length = max((len(words) for each in live for _, words in each), default=0)
    prefixes = torch.zeros(count, k, 1 + length, dtype=torch.long, device=device)
    for row, hypotheses in zip(prefixes, live, strict=True):
        for place, (_, words) in enumerate(hypotheses):
            row[place, 1:] = torch.tensor(words, dtype=torch.long)
    state = model.reorder(start, torch.arange(count, device=device).repeat_interleave(k))
    for tokens in prefixes.flatten(0, 1).unbind(1):
        logits, state = model.step(tokens, state)
    logp = torch.log_softmax(logits.float(), dim=-1).view(count, k, -1).cpu().numpy()
    return [rows[: len(hypotheses)] for rows, hypotheses in zip(logp, live, strict=True)]


def _best(
    hypotheses: list[Hypothesis], following: np.ndarray, spec: DecodeSpec
) -> list[Hypothesis]:
    """The k best continuations of one study's hypotheses, best first."""
    if not hypotheses:
        return []
    allowed = np.stack(
        [
            _without_repeats(row, words, spec.no_repeat_ngram)
            for row, (_, words) in zip(following, hypotheses, strict=True)
        ]
    )
    total = np.array([score for score, _ in hypotheses])[:, None] + allowed
    order = np.argsort(-total, axis=None, kind="stable")[: spec.beam_size]
    places = [divmod(int(i), total.shape[1]) for i in order if np.isfinite(total.flat[i])]
    return [(total[place, word], (*hypotheses[place][1], word)) for place, word in places]


def aggregate_slowly(
    hidden: Tensor, attention: Tensor, continues: Tensor, used: Tensor
) -> list[tuple[Tensor, Tensor]]:
    """Words behind the class token of each report, piece by piece: vectors (W, D), attention (W,).

    What `mgca.aggregate` must equal where each piece has its own attention (not `shifted`).
    """
    found = []
    for sample in range(len(hidden)):
        vectors: list[Tensor] = []
        shares: list[Tensor] = []
        for place in range(1, int(used[sample].sum())):
            if continues[sample, place]:
                vectors[-1] = vectors[-1] + hidden[sample, place]
                shares[-1] = shares[-1] + attention[sample, place]
            else:
                vectors.append(hidden[sample, place])
                shares.append(attention[sample, place])
        found.append((torch.stack(vectors), torch.stack(shares)))
    return found


def _without_repeats(logp: np.ndarray, words: tuple[int, ...], n: int) -> np.ndarray:
    """-inf for every word that would make an n-gram a second time; an end is always allowed."""
    allowed = logp.copy()
    if n:
        known = {words[i : i + n] for i in range(len(words) - n + 1)}
        for word in range(1, len(logp)):
            if (*words[len(words) - n + 1 :], word) in known:
                allowed[word] = -np.inf
    return allowed
