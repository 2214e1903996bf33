"""Import of official-format checkpoints: made ones come back exactly, others are refused."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from baselines.checkpoints import convert, import_checkpoint
from baselines.r2gen import R2Gen
from baselines.r2gencmn import R2GenCMN
from baselines.visual import ResNet101

D, D_FF, LAYERS, WORDS, ROWS, SLOTS = 16, 8, 2, 7, 40, 2


def linear(name: str, inner: int, outer: int) -> Iterator[tuple[str, Tensor]]:
    yield f"{name}.weight", torch.randn(outer, inner)
    yield f"{name}.bias", torch.randn(outer)


def attention(name: str) -> Iterator[tuple[str, Tensor]]:
    for i in range(4):
        yield from linear(f"{name}.linears.{i}", D, D)


def norm(name: str, kind: str) -> Iterator[tuple[str, Tensor]]:
    for part in ("gamma", "beta") if kind == "r2gen" else ("a_2", "b_2"):
        yield f"{name}.{part}", torch.randn(D)


def layer(name: str, kind: str, decoder: bool) -> Iterator[tuple[str, Tensor]]:
    yield from attention(f"{name}.self_attn")
    if decoder:
        yield from attention(f"{name}.src_attn")
    yield from linear(f"{name}.feed_forward.w_1", D, D_FF)
    yield from linear(f"{name}.feed_forward.w_2", D_FF, D)
    for j in range(3 if decoder else 2):
        yield from norm(f"{name}.sublayer.{j}.norm", kind)
        if decoder and kind == "r2gen":
            for mlp in ("mlp_gamma", "mlp_beta"):
                yield from linear(f"{name}.sublayer.{j}.norm.{mlp}.0", SLOTS * D, D)
                yield from linear(f"{name}.sublayer.{j}.norm.{mlp}.2", D, D)


def body(kind: str) -> Iterator[tuple[str, Tensor]]:
    """Everything but the CNN, under the published code's names."""
    yield from linear("att_embed.0", 2048, D)
    yield from linear("logit", D, WORDS)
    yield "model.tgt_embed.0.lut.weight", torch.randn(WORDS, D)
    yield "model.tgt_embed.1.pe", torch.randn(1, 50, D)
    for stack in ("encoder", "decoder"):
        for i in range(LAYERS):
            yield from layer(f"model.{stack}.layers.{i}", kind, stack == "decoder")
        yield from norm(f"model.{stack}.norm", kind)
    if kind == "r2gen":
        yield from attention("model.rm.attn")
        yield from linear("model.rm.mlp.0", D, D)
        yield from linear("model.rm.mlp.2", D, D)
        yield from linear("model.rm.W", D, 2 * D)
        yield from linear("model.rm.U", D, 2 * D)
        return
    yield "model.src_embed.0.pe", torch.randn(1, 50, D)
    yield "memory_matrix", torch.randn(ROWS, D)
    for name, value in attention("cmn"):
        yield name, value
        yield f"model.{name}", value


def official(kind: str) -> dict[str, Tensor]:
    torch.manual_seed(0)
    state = {f"encoder_decoder.{name}": value for name, value in body(kind)}
    with torch.device("meta"):
        cnn = ResNet101().state_dict()
    for name, value in cnn.items():  # expanded, so that a file of it stays small
        state[f"visual_extractor.model.{name}"] = torch.zeros((), dtype=value.dtype).expand(
            value.shape
        )
    return state


def checkpoint(path: Path, state: dict[str, Any]) -> Path:
    optimizer: dict[str, Any] = {"state": {}, "param_groups": []}
    torch.save(
        {"epoch": 14, "state_dict": state, "optimizer": optimizer, "monitor_best": 0.165}, path
    )
    return path


def build(kind: str) -> R2Gen | R2GenCMN:
    options: dict[str, Any] = {"d": D, "d_ff": D_FF, "layers": LAYERS}
    with torch.device("meta"):
        if kind == "r2gen":
            return R2Gen(WORDS, 9, slots=SLOTS, **options)
        return R2GenCMN(WORDS, 9, rows=ROWS, **options)


@pytest.mark.parametrize("kind", ["r2gen", "r2gencmn"])
def test_file_comes_back_as_a_loadable_model(kind: str, tmp_path: Path) -> None:
    source = official(kind)
    found = import_checkpoint(
        kind, checkpoint(tmp_path / "best.pth", source), tmp_path / "x.safetensors"
    )
    assert (found.vocab_size, found.epoch) == (WORDS, 14)
    assert len(found.sha256) == len(found.source_sha256) == 64
    state = load_file(found.path)
    build(kind).load_state_dict(state, assign=True)
    name = "encoder_decoder.model.decoder.layers.1.src_attn.linears.3.weight"
    assert torch.equal(state["decoder.layers.1.cross.out.weight"], source[name])
    again = import_checkpoint(kind, tmp_path / "best.pth", tmp_path / "x.safetensors")
    assert again == found


def test_stacked_parts_keep_their_order() -> None:
    source = official("r2gen")
    state = convert("r2gen", source)
    layer = "encoder_decoder.model.decoder.layers.1.sublayer.2.norm."
    place = 2 * (1 * 3 + 2)
    assert torch.equal(state["norms.hidden"][place], source[layer + "mlp_gamma.0.weight"])
    assert torch.equal(state["norms.out_bias"][place + 1], source[layer + "mlp_beta.2.bias"])
    assert torch.equal(state["norms.base"][5, 0], source[layer + "gamma"])
    assert torch.equal(state["norms.base"][5, 1], source[layer + "beta"])
    keys = source["encoder_decoder.model.rm.attn.linears.1.weight"]
    assert torch.equal(state["memory.project.weight"][D : 2 * D], keys)


def test_data_parallel_prefix_is_taken_off(tmp_path: Path) -> None:
    state = {f"module.{name}": value for name, value in official("r2gencmn").items()}
    path = checkpoint(tmp_path / "a.pth", state)
    assert import_checkpoint("r2gencmn", path, tmp_path / "a.safetensors").vocab_size == WORDS


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("r2gencmn", {}, "not a r2gencmn checkpoint"),
        ("r2gen", {"encoder_decoder.model.rm.U.bias": None}, "memory.memory_gates.bias"),
        ("r2gen", {"encoder_decoder.model.rm.attn.linears.1.bias": None}, "memory.k.bias"),
        ("r2gen", {"extra.weight": torch.zeros(1)}, "unknown: extra.weight"),
        ("r2gen", {"encoder_decoder.logit.bias": torch.zeros(3)}, r"head.bias \(3,\), not \(7,\)"),
        ("nonsense", {}, "unknown kind"),
    ],
)
def test_other_names_and_shapes_are_refused(
    kind: str, change: dict[str, Any], message: str
) -> None:
    state = {k: v for k, v in (official("r2gen") | change).items() if v is not None}
    with pytest.raises(ValueError, match=message):
        convert(kind, state)


def test_two_different_copies_of_the_shared_memory_are_refused() -> None:
    state = official("r2gencmn")
    state["encoder_decoder.cmn.linears.0.bias"] = torch.zeros(D)
    with pytest.raises(ValueError, match="two different tensors"):
        convert("r2gencmn", state)


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_file_is_not_run(tmp_path: Path, legacy: bool) -> None:
    sprung, path = tmp_path / "sprung", tmp_path / "evil.pth"
    if legacy:
        path.write_bytes(pickle.dumps({"state_dict": Trap(sprung)}, protocol=2))
    else:
        torch.save({"state_dict": official("r2gen"), "optimizer": Trap(sprung)}, path)
    with pytest.raises(ValueError, match=r"evil\.pth"):
        import_checkpoint("r2gen", path, tmp_path / "out.safetensors")
    assert not sprung.exists()
    assert not (tmp_path / "out.safetensors").exists()


def test_truncated_foreign_and_absent_files_are_refused(tmp_path: Path) -> None:
    whole = checkpoint(tmp_path / "whole.pth", official("r2gencmn")).read_bytes()
    for name, content in {
        "half.pth": whole[: len(whole) // 2],
        "empty.pth": b"",
        "picture.pth": b"\xff\xd8\xff\xe0" + bytes(200),
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name):
            import_checkpoint("r2gencmn", tmp_path / name, tmp_path / "o.safetensors")
    with pytest.raises(ValueError, match="does not exist"):
        import_checkpoint("r2gencmn", tmp_path / "no.pth", tmp_path / "o.safetensors")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"weights": torch.zeros(1)}, "no `state_dict` in it; it has weights"),
        ({"state_dict": {}}, "is empty"),
        ({"state_dict": [torch.zeros(1)]}, "is a list"),
        ({"state_dict": {"a": 1}}, "not tensors: a"),
        ([torch.zeros(1)], "holds a list"),
    ],
)
def test_file_without_a_state_dict_is_refused(content: Any, reason: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=rf"other\.pth.*{reason}"):
        import_checkpoint("r2gen", tmp_path / "other.pth", tmp_path / "o.safetensors")
