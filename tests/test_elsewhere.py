"""On a GPU, without one: no refused operation, no forgotten CPU tensor, no wait but the known."""

from __future__ import annotations

import re
from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from bench.commands.perf import writes
from bench.config import names
from bench.model import Batch
from bench.perf.elsewhere import REFUSED, Trace, decoded, trained
from bench.perf.mgca import built as pretraining
from bench.perf.models import Built
from bench.spec import DecodeSpec

SMALL = (
    "budget=tiny", "size=tiny", "size.image.size=32", "size.image.resize=36", "size.d=16",
    "size.heads=2", "size.d_ff=16", "size.layers=1", "size.backbone_params.width=4",
    "size.dropout=0.1", "size.visual_dropout=0.5", "budget.batch=4",
)  # fmt: skip
GENERATORS = tuple(name for name in names("model") if writes(name))
VARIANTS = {
    "uar, pixels": ("model=uar", "model.params.lsu=false"),
}
DECODERS = (
    DecodeSpec(max_length=5, no_repeat_ngram=2, length_penalty=1.0),
    DecodeSpec(method="sample", max_length=5, top_k=3),
)
# What a training step asks a GPU for: distinct codes and words (CRA sees each once), distinct
# reports (the triplet loss); whether any word piece is padding (BERT of transformers).
WAITS = {
    "uar": {"aten._unique2.default": 2, "aten.unique_dim.default": 1},
    "uar, pixels": {"aten._unique2.default": 1, "aten.unique_dim.default": 1},
    "mgca": {"aten._local_scalar_dense.default": 1},
    "mgca_vit": {"aten._local_scalar_dense.default": 1},
}
# Two percentiles made of a list; a sampler's noise, which is the CPU's so that a seed means the
# same everywhere; the reports that come back.
STRAYS = {"aten.lift_fresh.default", "aten.clamp_min.default", "aten.resolve_conj.default",
          "aten.resolve_neg.default"}  # fmt: skip


def build(name: str) -> Built:
    if name.startswith("mgca"):
        return pretraining([f"model={name}", "size=tiny", "budget=tiny", "budget.pretrain.batch=4"])
    return Built.of([*VARIANTS.get(name, (f"model={name}",)), *SMALL], 4)


@pytest.mark.parametrize("name", [*GENERATORS, "dvae", "mgca", "mgca_vit", "uar, pixels"])
def test_a_training_step_runs_as_it_is_on_a_gpu(name: str) -> None:
    built = build(name)
    trace = trained(built.model, built.batch)
    assert len(trace.operations) > 30
    assert trace.refused == {}
    assert Counter(trace.waits) == WAITS.get(name, {})
    assert set(trace.strays) <= STRAYS


@pytest.mark.parametrize("name", ["base", "topdown", "r2gen", "r2gencmn", "uar"])
def test_every_way_of_decoding_runs_on_a_gpu(name: str) -> None:
    built = build(name)
    trace = decoded(built.model, built.batch, DECODERS)
    assert len(trace.operations) > 50
    assert trace.refused == {}
    assert set(trace.strays) <= STRAYS


def test_the_list_is_the_one_that_torch_publishes() -> None:
    """Each entry of the documentation's list of operations that throw, and no other."""
    text = torch.use_deterministic_algorithms.__doc__ or ""
    text = text.partition("will throw a")[2].partition("will throw a")[2]
    text = text.partition("In addition")[0]
    published = set(re.findall(r"\* :(?:class|func):`([\w.]+)`", text))
    assert published == set(REFUSED)
    known = {name.partition(".")[0] for name in torch._C._dispatch_get_all_op_names()}
    for operations in REFUSED.values():
        assert {f"aten::{name}" for name in operations} <= known


class Careless(nn.Module):
    """Does all that a GPU does not like."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        self.table = torch.ones(2)  # no buffer: `to` leaves it behind

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x = nn.functional.interpolate(self.conv(batch.images[:, 0]), size=7, mode="bilinear")
        if float(x.detach().mean()) > 1e9:
            x = x * 2
        if x.device.type == "cpu":
            return {"ce": x.mean()}
        offset = self.table.exp().to(x.device)
        return {"ce": (x + offset.view(1, -1, 1, 1)).mean()}


def test_what_a_gpu_would_stop_at_is_found() -> None:
    tokens = torch.zeros(2, 3, dtype=torch.long)
    batch = Batch(torch.randn(2, 1, 3, 4, 4), tokens, tokens[:, 0])
    model = Careless()
    before = model.conv.weight.clone()
    trace = trained(model, batch)
    assert isinstance(trace, Trace)
    assert trace.refused == {"torch.nn.functional.interpolate": ["upsample_bilinear2d_backward"]}
    assert trace.waits == ["aten._local_scalar_dense.default"]
    assert trace.strays == ["aten.exp.default"]
    assert torch.equal(model.conv.weight, before)


@pytest.mark.parametrize("name", ["base", "r2gen", "r2gencmn", "uar, pixels", "mgca"])
def test_autocast_leaves_losses_and_gradients_in_single_precision(name: str) -> None:
    built = build(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = built.model.loss(built.batch)
    assert {term.dtype for term in terms.values()} == {torch.float32}
    torch.stack(list(terms.values())).sum().backward()
    found = [p for p in built.model.parameters() if p.grad is not None]
    assert {p.dtype for p in found} | {p.grad.dtype for p in found} == {torch.float32}  # type: ignore[union-attr]
    assert all(bool(p.grad.isfinite().all()) for p in found)  # type: ignore[union-attr]
