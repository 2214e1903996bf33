"""Import of the checkpoints that the authors of R2Gen and R2GenCMN released.

Their training writes a torch file of {epoch, state_dict, optimizer, monitor_best}. It is read
without running anything in it, renamed to this project's modules, checked against a model of its
sizes, and written as safetensors. The file names no words: row i of its embedding is word i of
the vocabulary that it was trained with, so the same vocabulary in the same order is a condition
that only the number of words can check.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from baselines.r2gen import R2Gen
from baselines.r2gencmn import R2GenCMN

State = dict[str, Tensor]

# Official names to ours, applied in order; what only one of the two has is in `_R2GEN`, `_CMN`.
_SHARED = (
    (r"^visual_extractor\.model\.", "visual.backbone."),
    (r"^encoder_decoder\.", ""),
    (r"^att_embed\.0\.", "visual.project."),
    (r"^logit\.", "head."),
    (r"^model\.tgt_embed\.0\.lut\.", "words."),
    (r"^model\.((?:en|de)coder)\.", r"\1."),
    (r"\.src_attn\.", ".cross."),
    (r"\.self_attn\.", ".attend."),
    (r"\.sublayer\.(\d)\.norm\.", r".norms.\1."),
    (r"\.feed_forward\.w_1\.", ".feed.0."),
    (r"\.feed_forward\.w_2\.", ".feed.3."),
    (r"\.(?:gamma|a_2)$", ".gain"),
    (r"\.(?:beta|b_2)$", ".offset"),
)
_R2GEN = (
    (r"^model\.rm\.attn\.", "memory."),
    (r"^model\.rm\.mlp\.0\.", "memory.first."),
    (r"^model\.rm\.mlp\.2\.", "memory.second."),
    (r"^model\.rm\.W\.", "memory.word_gates."),
    (r"^model\.rm\.U\.", "memory.memory_gates."),
    (r"^memory\.linears\.3\.", "memory.out."),
)
_CMN = (
    (r"^model\.cmn\.", "cmn."),  # the module is registered twice, under two names
    (r"^cmn\.", "memory."),
    (r"^memory_matrix$", "memory.memory"),
)
# Computed, not learned.
_POSITIONS = re.compile(r"^model\.(?:tgt_embed\.1|src_embed\.0)\.pe$")
_LINEARS = ("q", "k", "v", "out")


@dataclass(frozen=True)
class Imported:
    """What an import has written: the file, its sha256, and what the checkpoint says of itself."""

    path: Path
    sha256: str
    source_sha256: str
    vocab_size: int  # words + 1
    parameters: int
    epoch: int | None


def import_checkpoint(kind: str, source: Path | str, target: Path | str) -> Imported:
    """Write an official .pth of `kind` ("r2gen", "r2gencmn") as safetensors.

    ValueError for a file that is not one: truncated, of another program, with code in it, or with
    other names or shapes. The result is what a model loads that is given it as weights["model"].
    """
    from safetensors.torch import save_file

    source, target = Path(source), Path(target)
    checkpoint = read_checkpoint(source)
    try:
        state = convert(kind, official_state(checkpoint))
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    digest = _sha256(source)
    words = len(state["words.weight"])
    # One entry: safetensors writes several in random order, and then the digest changes.
    about = {"kind": kind, "vocab_size": words, "source_sha256": digest}
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    save_file(
        {k: v.contiguous() for k, v in state.items()},
        partial,
        metadata={"about": json.dumps(about)},
    )
    partial.replace(target)
    epoch = checkpoint.get("epoch")
    count = sum(v.numel() for v in state.values())
    return Imported(
        target, _sha256(target), digest, words, count, epoch if isinstance(epoch, int) else None
    )


def read_checkpoint(path: Path) -> Mapping[str, object]:
    """The dict in a torch file. Nothing in it is run: tensors and plain values only."""
    try:
        with path.open("rb") as stream:
            found = torch.load(stream, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist") from None
    except pickle.UnpicklingError as error:
        first = str(error).splitlines()[0]
        raise ValueError(
            f"{path} is not a plain torch checkpoint; it was not run, and will not be ({first})"
        ) from None
    except Exception as error:  # foreign bytes make an unpickler fail in almost any way
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} cannot be read, it may be truncated ({first})") from None
    if not isinstance(found, Mapping):
        raise ValueError(f"{path} holds a {type(found).__name__}, not a checkpoint's dict")
    return found


def official_state(checkpoint: Mapping[str, object]) -> State:
    """The tensors by name, with DataParallel's prefix taken off."""
    state = checkpoint.get("state_dict")
    if state is None:
        raise ValueError(f"no `state_dict` in it; it has {', '.join(map(str, checkpoint)) or '-'}")
    if not isinstance(state, Mapping):
        raise ValueError(f"its `state_dict` is a {type(state).__name__}, not a dict of tensors")
    if not state:
        raise ValueError("its `state_dict` is empty")
    odd = [str(name) for name, value in state.items() if not isinstance(value, Tensor)]
    if odd:
        raise ValueError(f"`state_dict` holds things that are not tensors: {_some(odd)}")
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def convert(kind: str, official: Mapping[str, Tensor]) -> State:
    """Official names and tensors to the state dict of our model of that kind, checked whole."""
    try:
        rules, fuse, build = _KINDS[kind]
    except KeyError:
        raise ValueError(f"unknown kind {kind!r}; known: {', '.join(_KINDS)}") from None
    state: State = {}
    for name, value in official.items():
        new = _rename(name, (*_SHARED, *rules))
        if _POSITIONS.match(new):
            continue
        if new in state and not torch.equal(state[new], value):
            raise ValueError(f"two different tensors for {new}, the second one {name}")
        state[new] = value
    try:
        state = fuse(state)
        with torch.device("meta"):
            model = build(state)
    except KeyError as error:
        raise ValueError(f"not a {kind} checkpoint: {error.args[0]} is missing") from None
    _check(kind, state, model.state_dict())
    return state


def _rename(name: str, rules: Iterable[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return re.sub(r"\.linears\.([0-3])\.", lambda match: f".{_LINEARS[int(match[1])]}.", name)


def _fuse_r2gen(state: State) -> State:
    """Stack what our R2Gen computes in one product; the rest as it is."""
    fused = dict(state)
    for kind in ("weight", "bias"):
        parts = [fused.pop(f"memory.{x}.{kind}") for x in "qkv"]
        fused[f"memory.project.{kind}"] = torch.cat(parts)
    norms = [f"decoder.layers.{i}.norms.{j}" for i in range(_layers(state)) for j in range(3)]

    def stack(*names: str) -> Tensor:
        return torch.stack([fused.pop(f"{norm}.{name}") for norm in norms for name in names])

    fused["norms.base"] = stack("gain", "offset").unflatten(0, (-1, 2))
    for ours, place in (("hidden", 0), ("out", 2)):
        for suffix, kind in (("", "weight"), ("_bias", "bias")):
            names = (f"mlp_gamma.{place}.{kind}", f"mlp_beta.{place}.{kind}")
            fused[f"norms.{ours}{suffix}"] = stack(*names)
    return fused


def _build_r2gen(state: State) -> nn.Module:
    words, d = state["words.weight"].shape
    slots = state["norms.hidden"].shape[2] // d
    return R2Gen(words, 1, d=d, d_ff=_d_ff(state), layers=_layers(state), slots=slots)


def _build_cmn(state: State) -> nn.Module:
    words, d = state["words.weight"].shape
    rows = len(state["memory.memory"])
    return R2GenCMN(words, 1, d=d, d_ff=_d_ff(state), layers=_layers(state), rows=rows)


def _layers(state: State) -> int:
    return len({name.split(".")[2] for name in state if name.startswith("decoder.layers.")})


def _d_ff(state: State) -> int:
    return len(state["encoder.layers.0.feed.0.weight"])


def _check(kind: str, state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    missing = sorted(expected.keys() - state.keys())
    extra = sorted(state.keys() - expected.keys())
    shapes = [
        f"{name} {tuple(state[name].shape)}, not {tuple(expected[name].shape)}"
        for name in sorted(expected.keys() & state.keys())
        if state[name].shape != expected[name].shape
    ]
    for what, names in (("missing", missing), ("unknown", extra), ("of other shapes", shapes)):
        if names:
            raise ValueError(f"not a {kind} checkpoint: {what}: {_some(names)}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


_Kind = tuple[tuple[tuple[str, str], ...], Callable[[State], State], Callable[[State], nn.Module]]
_KINDS: dict[str, _Kind] = {
    "r2gen": (_R2GEN, _fuse_r2gen, _build_r2gen),
    "r2gencmn": (_CMN, dict, _build_cmn),
}
