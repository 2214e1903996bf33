"""UAR: each equation against a slow loop, the variants of Tables 2-4, and decoding."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from baselines.base import Base
from bench.model import Batch, ImageSpec
from uar.cra import BASES, CRA, make_basis
from uar.losses import Triplet, same_report, similarities
from uar.model import UAR, State
from uar.tir import TIR, Shape

D, HEADS, SIZE, WORDS, CODEBOOK = 32, 4, 24, 20, 30

SMALL: dict[str, Any] = {
    "d": D,
    "heads": HEADS,
    "d_ff": 48,
    "layers": 2,
    "backbone": "convnet",
    "backbone_params": {"width": 8},
    "image": {"size": 32, "resize": 36},
}
OFF: dict[str, Any] = {"lsu": False, "integration": False, "align": False, "tir": "off"}
TABLE2: dict[str, dict[str, Any]] = {
    "base": OFF,
    "a": {**OFF, "lsu": True},
    "b": {**OFF, "integration": True},
    "c": {**OFF, "align": True},
    "d": {**OFF, "integration": True, "align": True},
    "e": {"tir": "off"},
    "uar": {},
}
OTHERS: dict[str, dict[str, Any]] = {
    "uniform": {"cra": {"basis": "uniform"}},
    "normal": {"cra": {"basis": "normal", "scale": "unscaled"}},
    "no gate": {"cra": {"fusion": "none"}},
    "addition": {"cra": {"fusion": "addition"}},
    "feature": {"cra": {"gain_bias": "feature", "gated_sum": True, "gate_bias": True}},
    "trained basis": {"cra": {"train_basis": True, "basis": "orthogonal_blocks"}},
    "encoded": {"cra_at": "encoded"},
    "literal": {"tir": "paper_literal", "refiner": {"form": "per_layer"}},
    "focus": {"tir": "focus", "refiner": {"form": "content", "init": "normal", "k": 5.0}},
    "last": {"refiner": {"layers": "last", "init": "normal", "divide": "model"}},
    "cnn": {"lsu": False, "image_positions": "learned"},
    "loss": {"triplet": {"pooling": "max", "negatives": "mean"}, "ce": "sum"},
}
VARIANTS = TABLE2 | OTHERS


def build(options: Mapping[str, Any], seed: int = 0) -> UAR:
    torch.manual_seed(seed)
    merged = {**SMALL, **options}
    if merged.get("integration", True):
        merged["cra"] = {"size": SIZE, **merged.get("cra", {})}
    codes = CODEBOOK if merged.get("lsu", True) else None
    model = UAR(WORDS, 12, codebook_size=codes, **merged)
    for parameter in model.groups().get("mask", []):  # so that the mask matters
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def make_batch(options: Mapping[str, Any], count: int = 4) -> Batch:
    torch.manual_seed(1)
    tokens = torch.zeros(count, 9, dtype=torch.long)
    lengths = torch.tensor([9, 5, 7, 5])[:count]
    for row, length in zip(tokens, lengths.tolist(), strict=True):
        row[1 : length - 1] = torch.randint(1, WORDS, (length - 2,))
    images = torch.randn(count, 2, 3, 32, 32)
    if options.get("lsu", True):
        images = torch.randint(0, CODEBOOK, (count, 2, 16))
    return Batch(images, tokens, lengths)


def whole_report(model: UAR, images: Tensor, tokens: Tensor) -> Tensor:
    """Logits by teacher forcing of a report whose every prefix is recomputed from nothing."""
    visual = model.look(images)[1]
    bias = model._refined(model._seen(visual))
    rows = []
    for t in range(1, tokens.shape[1] + 1):
        text = model.place_text(model.read(tokens[:, :t]))
        states, _ = model.decoder(text, model.decoder.start(visual), bias)
        rows.append(model.head(states[:, -1]))
    return torch.stack(rows, dim=1)


# --- Eq. 6-9: CRA ------------------------------------------------------------------------------


def slow_cra(cra: CRA, E: Tensor) -> Tensor:
    """Eq. 6-9 for one token (d,), head by head, basis vector by basis vector."""
    adjusted = cra.gamma * cra.B + cra.beta
    attend = cra.attend
    query, keys, values = attend.q(E), attend.k(adjusted), attend.v(adjusted)
    width = len(E) // attend.heads
    found = []
    for h in range(attend.heads):
        part = slice(h * width, (h + 1) * width)
        logits = [float(query[part] @ key[part]) / math.sqrt(width) for key in keys]
        top = max(logits)
        weights = [math.exp(x - top) for x in logits]
        mixed = sum(w * value[part] for w, value in zip(weights, values, strict=True))
        found.append(mixed / sum(weights))
    F = attend.out(torch.cat(found))
    if cra.fusion == "none":
        return F
    if cra.fusion == "addition":
        return E + F
    gates = [
        1 / (1 + torch.exp(-(gate.x(E) + gate.y(F)))) for gate in (cra.input_gate, cra.forget_gate)
    ]
    kept = gates[1] * (E + F) if cra.gated_sum else gates[1] * E + F
    return gates[0] * torch.tanh(E + F) + kept


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gain_bias": "feature"},
        {"gated_sum": True, "gate_bias": True},
        {"fusion": "none", "basis": "normal"},
        {"fusion": "addition", "basis": "uniform", "scale": "unscaled"},
        {"train_basis": True, "basis": "orthogonal_blocks"},
    ],
)
def test_cra_equals_a_loop_over_heads_and_basis(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    cra = CRA(8, size=24, heads=2, **options).eval()
    with torch.no_grad():
        cra.gamma.normal_(1, 0.5)
        cra.beta.normal_(0, 0.5)
        E = torch.randn(2, 3, 8)
        expected = torch.stack([torch.stack([slow_cra(cra, e) for e in row]) for row in E])
        torch.testing.assert_close(cra(E), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "d"), [(64, 16), (16, 64), (16, 16)])
def test_orthogonal_basis_is_orthonormal_along_its_short_side(size: int, d: int) -> None:
    basis = make_basis("orthogonal", size, d)
    gram = basis.T @ basis if size >= d else basis @ basis.T
    torch.testing.assert_close(gram, torch.eye(min(size, d)), atol=1e-5, rtol=0)


def test_blocks_have_unit_rows_that_are_orthogonal_within_a_block() -> None:
    basis = make_basis("orthogonal_blocks", 40, 16, "unscaled")
    for first in (0, 16):
        block = basis[first : first + 16]
        torch.testing.assert_close(block @ block.T, torch.eye(16), atol=1e-5, rtol=0)
    torch.testing.assert_close(basis.norm(dim=1), torch.ones(40))


def test_matched_bases_have_the_orthogonal_ones_size() -> None:
    expected = math.sqrt(16)  # of 16 orthonormal columns
    for name in BASES:
        assert make_basis(name, 64, 16).norm().item() == pytest.approx(expected, rel=1e-5)
    assert make_basis("normal", 64, 16, "unscaled").norm().item() > 5 * expected


def test_basis_is_fixed_and_saved() -> None:
    cra = CRA(16, size=32)
    assert "B" in dict(cra.named_buffers())
    assert "B" in cra.state_dict()
    assert "B" in dict(CRA(16, size=32, train_basis=True).named_parameters())


def test_gram_sees_that_gamma_breaks_orthogonality() -> None:
    torch.manual_seed(0)
    cra = CRA(16, size=64)
    assert cra.gram() < 1e-5
    torch.nn.init.normal_(cra.gamma, 1, 0.5)
    assert cra.gram() > 0.05


# --- Eq. 10 ------------------------------------------------------------------------------------


def slow_triplet(triplet: Triplet, images: Tensor, reports: Tensor, tokens: Tensor) -> float:
    total, count = 0.0, len(images)
    cosine = torch.nn.functional.cosine_similarity
    s = [[float(cosine(i, r, dim=0)) for r in reports] for i in images]
    for a in range(count):
        others = [
            b
            for b in range(count)
            if b != a
            and not (triplet.exclude_identical and tokens[a].tolist() == tokens[b].tolist())
        ]
        for negatives in ([s[a][b] for b in others], [s[b][a] for b in others]):
            hinges = [max(0.0, triplet.margin - s[a][a] + x) for x in negatives]
            if hinges:
                mean = sum(hinges) / len(hinges)
                total += max(hinges) if triplet.negatives == "hardest" else mean
    return total / count


@pytest.mark.parametrize("negatives", ["hardest", "mean"])
@pytest.mark.parametrize("exclude", [True, False])
def test_triplet_equals_brute_force(negatives: str, exclude: bool) -> None:
    torch.manual_seed(0)
    triplet = Triplet(0.3, negatives, exclude)
    for _ in range(20):
        images, reports = torch.randn(6, 5), torch.randn(6, 5)
        tokens = torch.randint(0, 2, (6, 2))  # many identical reports
        fast = triplet(images, reports, tokens).item()
        assert fast == pytest.approx(slow_triplet(triplet, images, reports, tokens), abs=1e-5)


def test_triplet_of_one_report_is_zero_with_zero_gradient() -> None:
    images = torch.randn(3, 4, requires_grad=True)
    loss = Triplet()(images, torch.randn(3, 4), torch.ones(3, 5))
    loss.backward()
    assert loss.item() == 0
    assert images.grad is not None
    assert not images.grad.any()


def test_identical_reports_are_found() -> None:
    tokens = torch.tensor([[0, 1, 2], [0, 2, 1], [0, 1, 2]])
    expected = [[True, False, True], [False, True, False], [True, False, True]]
    assert same_report(tokens).tolist() == expected


def test_similarities_leave_autocast() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(4, 64), torch.randn(4, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(similarities(x, y), similarities(x.clone(), y))
        assert similarities(x, y).dtype == torch.float32


# --- Eq. 11-12: TIR ----------------------------------------------------------------------------

SHAPE = Shape(positions=6, tokens=5, layers=2, d=8, heads=2)


def randomise(tir: TIR) -> TIR:
    for parameter in tir.parameters():
        torch.nn.init.normal_(parameter)
    return tir


@pytest.mark.parametrize("divide", ["head", "model"])
def test_refined_attention_is_eq_11(divide: str) -> None:
    """Logits (q k + 1000 sigma(M)) / sqrt(d), entry by entry, up to what softmax ignores."""
    torch.manual_seed(0)
    tir = randomise(TIR(SHAPE, divide=divide, k=10.0))
    root = math.sqrt(8 if divide == "model" else 4)
    score = torch.randn(3, 6, 5)
    mask = tir.mask(0, slice(0, 6), torch.zeros(3, 6, 8), torch.zeros(3, 5, 0))
    fast = (score + tir.logits(mask)).softmax(-1)
    for b in range(3):
        for t in range(6):
            logits = [
                float(score[b, t, j]) + 10 / (1 + math.exp(-tir.M[0, t, j].item())) / root
                for j in range(5)
            ]
            weights = torch.tensor([math.exp(x) for x in logits])
            torch.testing.assert_close(fast[b, t], weights / weights.sum())


@pytest.mark.parametrize("variant", ["paper", "paper_literal", "focus"])
@pytest.mark.parametrize("form", ["static", "per_layer", "content"])
def test_mask_loss_equals_a_loop(variant: str, form: str) -> None:
    torch.manual_seed(0)
    tir = randomise(TIR(SHAPE, variant, form))
    lengths = [6, 3, 1]
    real = torch.arange(6) < torch.tensor(lengths)[:, None]
    seen = tir.project(torch.randn(3, 5, 8))
    masks = [tir.mask(i, slice(0, 6), torch.randn(3, 6, 8), seen).detach() for i in range(2)]
    layers = []
    for mask in masks:
        sigma = mask if mask.dim() == 3 else mask.expand(3, -1, -1)
        prices = [
            float(sigma[b, i, j]) if variant == "focus" else 1 - float(sigma[b, i, j])
            for b in range(3)
            for i in range(lengths[b])
            for j in range(5)
        ]
        layers.append(sum(prices) / (3 if variant == "paper_literal" else len(prices)))
    expected = sum(layers) / 2 * (0.5 if variant == "focus" else 1)
    assert tir.loss(masks, real).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("value", [-3.0, 0.0, 2.0])
def test_a_constant_mask_changes_nothing(value: float) -> None:
    tir = TIR(SHAPE)
    torch.nn.init.constant_(tir.M, value)
    mask = tir.mask(1, slice(2, 3), torch.zeros(2, 3, 8), torch.zeros(2, 5, 0))
    assert not tir.logits(mask).any()


@pytest.mark.parametrize("form", ["static", "per_layer", "content"])
def test_switching_tir_on_leaves_the_function_unchanged(form: str) -> None:
    torch.manual_seed(0)
    model = UAR(WORDS, 12, codebook_size=CODEBOOK, **SMALL, refiner={"form": form}).eval()
    batch = make_batch({})
    model.switch(refine=False)
    off = model.loss(batch)
    model.switch(refine=True)
    on = model.loss(batch)
    assert set(off) == {"ce", "align"}
    assert set(on) == {"ce", "align", "mask"}
    assert torch.equal(off["ce"], on["ce"])
    assert on["mask"].item() == pytest.approx(0.5)
    on["ce"].backward()
    grads = [p.grad for p in model.groups()["mask"]]
    assert any(g is not None and g.any() for g in grads)


def test_static_mask_follows_the_position_and_stops_at_its_last_row() -> None:
    tir = randomise(TIR(SHAPE))
    rows, seen = torch.zeros(2, 3, 8), torch.zeros(2, 5, 0)
    for t, row in ((0, 0), (3, 3), (5, 5), (9, 5)):
        expected = torch.sigmoid(tir.M[0, row : row + 1])
        assert torch.equal(tir.mask(0, slice(t, t + 1), rows, seen), expected)


def test_more_visual_tokens_than_the_table_are_refused() -> None:
    with pytest.raises(ValueError, match="6 visual tokens, but M has 5"):
        TIR(SHAPE).mask(0, slice(0, 1), torch.zeros(1, 1, 8), torch.zeros(1, 6, 0))


def test_literal_penalty_is_the_printed_sum() -> None:
    """At M = 0 it is T L / 2: far above a cross-entropy of order 1."""
    tir = TIR(SHAPE, "paper_literal")
    mask = tir.mask(0, slice(0, 6), torch.zeros(2, 6, 8), torch.zeros(2, 5, 0))
    assert tir.loss([mask], torch.ones(2, 6, dtype=torch.bool)).item() == pytest.approx(6 * 5 / 2)


# --- the model ---------------------------------------------------------------------------------


def test_with_everything_off_it_is_base() -> None:
    model = build(OFF)
    base = Base(WORDS, 12, **SMALL).eval()
    base.load_state_dict(model.state_dict())
    batch = make_batch(OFF)
    assert torch.equal(model.loss(batch)["ce"], base.loss(batch)["ce"])
    one, two = model.encode(batch.images), base.encode(batch.images)
    begin = batch.tokens[:, 0]
    assert torch.equal(model.step(begin, one)[0], base.step(begin, two)[0])
    for a, b in zip(model.features(batch), base.features(batch), strict=True):
        assert torch.equal(a, b)
    assert model.image == base.image


@pytest.mark.parametrize("name", VARIANTS)
def test_steps_equal_teacher_forcing(name: str) -> None:
    model, batch = build(VARIANTS[name]), make_batch(VARIANTS[name])
    expected = whole_report(model, batch.images, batch.tokens)
    state = model.encode(batch.images)
    for t in range(batch.tokens.shape[1]):
        logits, state = model.step(batch.tokens[:, t], state)
        torch.testing.assert_close(logits, expected[:, t], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", VARIANTS)
def test_reordered_hypotheses_equal_their_own_prefixes(name: str) -> None:
    """Three studies with two hypotheses each; study 1 is dropped on the way."""
    model, batch = build(VARIANTS[name]), make_batch(VARIANTS[name], 3)
    torch.manual_seed(2)
    words = torch.randint(1, WORDS, (6, 5))
    state = model.reorder(model.encode(batch.images), torch.arange(3).repeat_interleave(2))
    for t in range(3):
        _, state = model.step(words[:, t], state)
    index, kept = torch.tensor([1, 1, 5, 4]), torch.tensor([0, 2])
    state = model.reorder(state, index, kept)
    for t in range(3, 5):
        logits, state = model.step(words[:4, t], state)
    prefix = torch.cat((words[index, :3], words[:4, 3:]), dim=1)
    images = batch.images[kept].repeat_interleave(2, dim=0)
    expected = whole_report(model, images, prefix)[:, -1]
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_reorder_leaves_what_belongs_to_a_study() -> None:
    model, batch = build({"refiner": {"form": "content"}}), make_batch({})
    state: State = model.encode(batch.images)
    moved = model.reorder(state, torch.tensor([1, 0, 3, 2]))
    assert moved.seen is state.seen
    assert moved.basis is state.basis
    assert moved.cache.visual[0] is state.cache.visual[0]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_parameter_is_in_one_group_and_gets_a_gradient(name: str) -> None:
    model, batch = build(VARIANTS[name]), make_batch(VARIANTS[name])
    groups = model.groups()
    listed = [id(p) for group in groups.values() for p in group]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())
    sum(model.train().loss(batch).values()).backward()
    names = {id(p): n for n, p in model.named_parameters()}
    # A key bias adds a constant to a row of logits, which softmax ignores.
    silent = [
        names[i]
        for i, p in ((id(p), p) for group in groups.values() for p in group)
        if p.grad is None or not p.grad.any()
    ]
    assert [n for n in silent if not n.endswith(".k.bias")] == []
    assert all(p.grad is not None for group in groups.values() for p in group)


def test_loss_terms_are_those_of_the_parts_that_are_on() -> None:
    for name, terms in {
        "base": {"ce"},
        "a": {"ce"},
        "b": {"ce"},
        "c": {"ce", "align"},
        "d": {"ce", "align"},
        "e": {"ce", "align"},
        "uar": {"ce", "align", "mask"},
    }.items():
        model = build(TABLE2[name])
        assert set(model.loss(make_batch(TABLE2[name]))) == terms, name


def test_gradients_of_the_alignment_reach_both_modalities() -> None:
    model, batch = build({}), make_batch({})
    model.loss(batch)["align"].backward()
    for part in (model.visual.weight, model.words.weight, model.cra.gamma, model.cra.beta):
        assert part.grad is not None
        assert part.grad.any()
    assert model.head.weight.grad is None


def test_pooling_leaves_out_what_is_no_word() -> None:
    options = {**OFF, "lsu": True, "align": True}
    batch = make_batch(options)
    own = batch.tokens[1][batch.tokens[1] != 0]
    for pooling in ("words", "tokens", "max"):
        model = build({**options, "triplet": {"pooling": pooling}})
        words, begin = model.words(own), model.words(torch.tensor([0]))
        expected = {
            "words": words.mean(0),
            "tokens": torch.cat((words, begin, begin)).mean(0),
            "max": words.amax(0),
        }
        torch.testing.assert_close(model.features(batch)[1][1], expected[pooling])


def test_image_declarations() -> None:
    codes, pixels = ImageSpec(**build({}).image), ImageSpec(**build(OFF).image)
    assert (codes.kind, codes.mean, codes.std, codes.flip) == ("codes", (0,) * 3, (1,) * 3, 0)
    assert (pixels.kind, pixels.mean[0]) == ("pixels", 0.485)
    assert codes.size == pixels.size == 32


def test_summed_cross_entropy_is_eq_5() -> None:
    batch = make_batch({})
    mean = build({}).loss(batch)["ce"]
    total = build({"ce": "sum"}).loss(batch)["ce"]
    tokens = float((batch.lengths - 1).sum())
    torch.testing.assert_close(total, mean * tokens / len(batch.lengths))


def test_loss_in_bfloat16_is_float32_and_near() -> None:
    for name in ("uar", "focus", "cnn"):
        model, batch = build(VARIANTS[name]), make_batch(VARIANTS[name])
        exact = model.loss(batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            low = model.loss(batch)
            sum(low.values()).backward()
        for term, value in low.items():
            assert value.dtype == torch.float32
            torch.testing.assert_close(value, exact[term], rtol=0.05, atol=0.05)


def test_diagnosis_of_an_inert_and_of_a_working_mask() -> None:
    batch = make_batch({})
    torch.manual_seed(0)
    model = UAR(WORDS, 12, codebook_size=CODEBOOK, **SMALL, cra={"size": SIZE}).train()
    inert = model.diagnose(batch)
    assert model.training
    assert inert["tir/inert"] == 1
    assert inert["tir/total_variation"] == 0
    assert inert["tir/sigma_mean"] == 0.5
    assert inert["cra/gram"] < 1e-5
    assert 0 < inert["cra/report_share"] < 0.5
    assert 0 < inert["tir/entropy"] <= math.log(32)
    torch.nn.init.normal_(model.tir.M)
    working = model.diagnose(batch)
    assert working["tir/inert"] == 0
    assert working["tir/entropy"] < inert["tir/entropy"]
    assert working["tir/sigma_std"] > 0.1
    model.switch(refine=False)
    assert model.diagnose(batch)["tir/total_variation"] == 0
    assert set(model.diagnose(batch)) == set(inert)


@pytest.mark.parametrize("name", ["base", "b", "e", "encoded", "focus"])
def test_diagnosis_of_any_variant(name: str) -> None:
    model, batch = build(VARIANTS[name]), make_batch(VARIANTS[name])
    figures = model.diagnose(batch)
    assert all(math.isfinite(x) for x in figures.values())
    assert ("cra/gram" in figures) == (model.cra is not None)
    assert ("tir/inert" in figures) == (model.tir is not None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tir": "sharp"}, "variant 'sharp': not one of paper"),
        ({"cra": {"basis": "random"}}, "basis 'random': not one of orthogonal"),
        ({"cra": {"fusion": "sum"}}, "fusion 'sum'"),
        ({"triplet": {"negatives": "all"}}, "negatives 'all'"),
        ({"refiner": {"form": "table"}}, "form 'table'"),
        ({"cra_at": "output"}, "cra_at 'output'"),
        ({"image_positions": "cosine"}, "image_positions 'cosine'"),
    ],
)
def test_unknown_choices_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UAR(WORDS, 12, codebook_size=CODEBOOK, **{**SMALL, **options})


def test_lsu_without_a_tokenizer_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a tokenizer"):
        UAR(WORDS, 12, **SMALL)


def test_switching_on_what_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="tir: off"):
        build(TABLE2["e"]).switch(refine=True)
