"""The decoder against the slow one that computes every prefix from scratch."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from toy import Toy

from baselines.base import Base
from bench.commands.perf import writes
from bench.config import names
from bench.engine.decode import generate, lay_out
from bench.errors import BenchError
from bench.perf.models import Built
from bench.perf.oracle import decode_slowly
from bench.spec import DecodeSpec

VOCABULARY = 12
LENGTH = 10


def toy(seed: int, **options: Any) -> Toy:
    torch.manual_seed(seed)
    return Toy(VOCABULARY, **options).eval()


def films(seed: int, count: int = 5) -> Tensor:
    return torch.randn(count, 2, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def spec(**fields: Any) -> DecodeSpec:
    return DecodeSpec(**{"max_length": LENGTH, **fields})


def ngrams(words: list[int], n: int) -> list[tuple[int, ...]]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


@pytest.mark.parametrize("beam_size", [1, 2, 3, 12])
@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"length_penalty": 0.8},
        {"length_penalty": -0.5},
        {"no_repeat_ngram": 1},
        {"no_repeat_ngram": 2},
        {"no_repeat_ngram": 3, "length_penalty": 1.0},
        {"max_length": 1},
    ],
)
def test_equals_the_slow_decoder(beam_size: int, rules: dict[str, Any]) -> None:
    how = spec(beam_size=beam_size, **rules)
    lengths = set()
    for seed in range(4):
        model, images = toy(seed), films(seed)
        found = generate(model, images, how)
        assert found == decode_slowly(model, images, how)
        lengths |= set(map(len, found))
    assert max(lengths) <= how.max_length
    if how.max_length > 1 and beam_size == 3:
        assert len(lengths) > 2, "the toy's reports must end at different places"


@pytest.mark.parametrize("beam_size", [1, 3])
def test_base_equals_the_slow_decoder(beam_size: int) -> None:
    torch.manual_seed(0)
    model = Base(
        20, 12, d=16, heads=2, d_ff=16, layers=2, backbone="convnet",
        backbone_params={"width": 8}, image={"size": 32, "resize": 36},
    ).eval()  # fmt: skip
    with torch.no_grad():
        model.head.weight.mul_(3)
        model.head.bias[0] = 1.0
    images = torch.randn(3, 2, 3, 32, 32)
    how = spec(beam_size=beam_size)
    assert generate(model, images, how) == decode_slowly(model, images, how)


SMALL = (
    "budget=tiny", "size.image.size=32", "size.image.resize=36", "size.d=16", "size.heads=2",
    "size.d_ff=16", "size.layers=2", "size.backbone_params.width=4", "decode.max_length=10",
)  # fmt: skip


@pytest.mark.parametrize("name", [n for n in names("model") if writes(n)])
def test_every_model_equals_the_slow_decoder(name: str) -> None:
    built = Built.of([f"model={name}", *SMALL], 3)
    model, images = built.model.eval(), built.batch.images
    found = generate(model, images, built.decode)
    assert built.decode.beam_size == 3
    assert found == decode_slowly(model, images, built.decode)


@pytest.mark.parametrize("penalty", [0.0, 0.7, 2.0, -1.0])
@pytest.mark.parametrize("beam_size", [1, 3, 5])
def test_early_stop_changes_nothing(penalty: float, beam_size: int) -> None:
    for seed in range(6):
        model, images = toy(seed, ending=2.0), films(seed)
        early, late = (
            generate(
                model, images, spec(beam_size=beam_size, length_penalty=penalty, early_stop=stop)
            )
            for stop in (True, False)
        )
        assert early == late


class Counting(Toy):
    """Counts the hypotheses that it was asked about."""

    asked = 0

    def step(self, tokens: Tensor, state: Any) -> Any:
        self.asked += len(tokens)
        return super().step(tokens, state)


def test_early_stop_saves_work_and_no_prefix_is_computed_twice() -> None:
    asked = {}
    for stop in (True, False):
        torch.manual_seed(0)
        model = Counting(VOCABULARY, ending=2.0).eval()
        generate(model, films(0), spec(beam_size=3, early_stop=stop))
        asked[stop] = model.asked
    assert asked[False] == 5 + 5 * 3 * (LENGTH - 1)
    assert asked[True] < asked[False]


def test_laying_out_changes_no_word_and_no_value() -> None:
    torch.manual_seed(0)
    model, images = toy(0), films(0)
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    before = generate(model, images, spec(method="beam", beam_size=3))
    lay_out(model)
    assert generate(model, images, spec(method="beam", beam_size=3)) == before
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())


def test_a_length_penalty_makes_longer_reports() -> None:
    def total(penalty: float) -> int:
        how = spec(beam_size=4, length_penalty=penalty)
        return sum(len(r) for seed in range(6) for r in generate(toy(seed), films(seed), how))

    assert total(2.0) > total(0.0) > total(-2.0)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("method", ["beam", "sample"])
def test_no_ngram_is_repeated(n: int, method: str) -> None:
    repeated = 0
    for seed in range(5):
        model, images = toy(seed, ending=-3.0), films(seed)
        free = generate(model, images, spec(method=method, max_length=20))
        repeated += sum(len(ngrams(r, n)) - len(set(ngrams(r, n))) for r in free)
        blocked = generate(
            model, images, spec(method=method, max_length=20, no_repeat_ngram=n), seed
        )
        for report in blocked:
            assert len(set(ngrams(report, n))) == len(ngrams(report, n))
    assert repeated, "without the rule the toy must repeat itself"


@pytest.mark.parametrize(
    "how",
    [spec(beam_size=1), spec(beam_size=3), spec(beam_size=3, no_repeat_ngram=2)],
    ids=["greedy", "beam", "blocked"],
)
def test_a_report_does_not_depend_on_the_batch(how: DecodeSpec) -> None:
    for seed in range(4):
        model, images = toy(seed), films(seed, 6)
        together = generate(model, images, how)
        assert together == [generate(model, one[None], how)[0] for one in images]
        assert together[::-1] == generate(model, images.flip(0), how)


# --- sampling ----------------------------------------------------------------------------------


def test_sampling_from_the_best_word_is_greedy() -> None:
    for seed in range(4):
        model, images = toy(seed), films(seed)
        sampled = generate(model, images, spec(method="sample", top_k=1), seed)
        assert sampled == generate(model, images, spec(beam_size=1))


def test_a_cold_sample_is_greedy() -> None:
    model, images = toy(1), films(1)
    cold = generate(model, images, spec(method="sample", temperature=1e-4), 3)
    assert cold == generate(model, images, spec(beam_size=1))


def test_a_seed_decides_a_sample() -> None:
    model, images = toy(0), films(0, 20)
    how = spec(method="sample")
    assert generate(model, images, how, 1) == generate(model, images, how, 1)
    assert generate(model, images, how, 1) != generate(model, images, how, 2)
    late = generate(model, images, spec(method="sample", early_stop=False), 1)
    assert late == generate(model, images, how, 1)


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, 0), (2.0, 0), (1.0, 3)])
def test_first_words_are_drawn_as_the_model_says(temperature: float, top_k: int) -> None:
    model, count = toy(0, sharpness=1.5), 20_000
    images = films(0, 1).expand(count, -1, -1, -1, -1)
    how = spec(method="sample", max_length=1, temperature=temperature, top_k=top_k)
    drawn = [r[0] if r else 0 for r in generate(model, images, how, 7)]
    found = torch.bincount(torch.tensor(drawn), minlength=VOCABULARY) / count
    with torch.inference_mode():
        logits, _ = model.step(torch.zeros(1, dtype=torch.long), model.encode(images[:1]))
    expected = torch.softmax(logits[0] / temperature, -1)
    if top_k:
        kept = expected.topk(top_k).indices
        expected = torch.zeros_like(expected).index_copy(0, kept, expected[kept])
        expected /= expected.sum()
    # Five standard errors of a share, at most.
    assert (found - expected).abs().max() < 5 * (0.25 / count) ** 0.5
    assert not found[expected == 0].any()


# --- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [spec(), spec(beam_size=1), spec(method="sample")])
def test_nan_is_an_error(how: DecodeSpec) -> None:
    model = toy(0)
    with torch.no_grad():
        model.out.bias[3] = torch.nan
    with pytest.raises(BenchError, match="NaN"):
        generate(model, films(0), how)


def test_impossible_words_are_no_error() -> None:
    model = toy(0)
    with torch.no_grad():
        model.out.bias[3:] = -torch.inf
    for how in (spec(beam_size=5), spec(method="sample"), spec(beam_size=5, no_repeat_ngram=1)):
        assert {word for r in generate(model, films(0), how) for word in r} <= {1, 2}


def test_a_beam_wider_than_the_vocabulary_is_refused() -> None:
    with pytest.raises(BenchError, match="beam_size 13"):
        generate(toy(0), films(0), spec(beam_size=13))


def test_wider_beams_find_likelier_reports() -> None:
    """Not a theorem for one study, but over many a beam that loses does not search."""

    def likelihood(model: Toy, image: Tensor, words: list[int]) -> float:
        state, total = model.encode(image[None]), 0.0
        whole = [0, *words, 0][: LENGTH + 1]
        for token, following in pairwise(whole):
            logits, state = model.step(torch.tensor([token]), state)
            total += float(torch.log_softmax(logits, -1)[0, following])
        return total

    def mean(choose: Callable[[int], DecodeSpec], k: int) -> float:
        return sum(
            likelihood(model, image, words)
            for seed in range(3)
            for model, images in [(toy(seed), films(seed))]
            for image, words in zip(images, generate(model, images, choose(k)), strict=True)
        )

    with torch.inference_mode():
        greedy, wide = (mean(lambda k: spec(beam_size=k), k) for k in (1, 8))
    assert wide > greedy
