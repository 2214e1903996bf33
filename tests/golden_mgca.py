"""Golden values of MGCA from its released code: inputs, and the recipe that regenerates them.

    git clone https://github.com/HKU-MedAI/MGCA CHECKOUT
    pip install einops timm==0.4.12          # into an environment beside this one
    python tests/golden_mgca.py CHECKOUT     # writes tests/golden/mgca.json

The released functions are taken out of the checkout's files and run as they stand, on stand-ins
for the encoders that return given features; nothing of them is kept but numbers.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden" / "mgca.json"
SEEDS = (0, 1, 2)
BRANCHES = ("resnet", "vit")
B, T, P, D, K, HEADS = 6, 14, 9, 16, 40, 2

VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "heart",
    "lung",
    "cardio",
    "##mega",
    "##ly",
    "##s",
]
# Ids of reports: padded, words of several pieces, one word, none, and one that fills every place.
REPORTS = [
    [2, 4, 5, 9, 6, 7, 8, 3, 0, 0],
    [2, 6, 7, 8, 5, 9, 9, 4, 4, 3],
    [2, 6, 7, 8, 3, 0, 0, 0, 0, 0],
    [2, 4, 3, 0, 0, 0, 0, 0, 0, 0],
    [2, 4, 5, 4, 5, 4, 5, 6, 7, 3],
    [2, 4, 5, 9, 4, 5, 4, 5, 3, 0],
]


def tensor(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.tensor(rng.standard_normal(shape), dtype=torch.float32)


def loss_inputs(seed: int, branch: str) -> dict[str, Tensor]:
    """Features before normalisation, attention of words (0 where padded) and of patches."""
    rng = np.random.default_rng([seed, BRANCHES.index(branch)])
    lengths = torch.tensor([T, T - 1, 9, 5, 3, 2])
    padded = torch.arange(T) >= lengths[:, None]
    attention = torch.tensor(rng.random((B, T)), dtype=torch.float32).masked_fill(padded, 0)
    attention[0, 3] = 0  # a word that the class token does not see
    image = tensor(rng, B, D)
    return {
        "image": image,
        "report": image + tensor(rng, B, D),
        "patches": tensor(rng, B, P, D),
        "words": tensor(rng, B, T, D),
        "prototypes": tensor(rng, K, D),
        "word_attention": attention,
        "padded": padded,
        "attention_map": tensor(rng, B, HEADS, 1 + P, 1 + P).softmax(-1),
    }


LEAVES = ("image", "report", "patches", "words", "prototypes")


def sinkhorn_inputs(seed: int) -> Tensor:
    """Cosine scores (B, K)."""
    rng = np.random.default_rng([seed, 7])
    return F.normalize(tensor(rng, B, D), dim=1) @ F.normalize(tensor(rng, K, D), dim=1).T


def aggregate_inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states (6, 10, D), the class token's attention (6, 10), ids (6, 10)."""
    rng = np.random.default_rng(11)
    ids = torch.tensor(REPORTS)
    scores = tensor(rng, *ids.shape).masked_fill(ids == 0, float("-inf"))
    return tensor(rng, *ids.shape, D), scores.softmax(-1), ids


def fill(module: torch.nn.Module, seed: int) -> None:
    """Values for every parameter and buffer from its name's place in the sorted state dict."""
    rng = np.random.default_rng([seed, 13])
    state = module.state_dict()
    for name in sorted(state):
        if state[name].is_floating_point():
            values = 0.1 * tensor(rng, *state[name].shape)
            state[name].copy_(values.abs() + 0.5 if name.endswith("running_var") else values)


def images(side: int) -> Tensor:
    return tensor(np.random.default_rng(17), 2, 3, side, side)


def sketch(values: Tensor) -> dict[str, Any]:
    """A tensor in a few numbers: its norm, and 16 entries spread over it."""
    flat = values.detach().double().flatten()
    places = torch.linspace(0, len(flat) - 1, 16).long()
    return {"norm": float(flat.norm()), "entries": flat[places].tolist()}


# --- the recipe -----------------------------------------------------------------------------------


def lifted(path: Path, owner: str, names: list[str], scope: dict[str, Any]) -> dict[str, Any]:
    """Methods of a class in a file, run as plain functions in `scope`."""
    tree = ast.parse(path.read_text())
    body = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == owner).body
    chosen = [n for n in body if isinstance(n, ast.FunctionDef) and n.name in names]
    exec(compile(ast.Module(chosen, []), str(path), "exec"), scope)
    return {name: scope[name] for name in names}


def official_losses(checkout: Path, seed: int, branch: str) -> dict[str, Any]:
    from einops import rearrange

    path = checkout / "mgca/models/mgca/mgca_module.py"
    scope: dict[str, Any] = {"torch": torch, "F": F, "np": np, "rearrange": rearrange}
    released = lifted(path, "MGCA", ["forward", "sinkhorn", "precision_at_k"], scope)
    given = loss_inputs(seed, branch)
    for name in LEAVES:
        given[name].requires_grad_()
    model = stand_in(released, given, branch)
    values = released["forward"](model, dict.fromkeys(BATCH, given["image"]), 0)[:3]
    result: dict[str, Any] = {"seed": seed, "branch": branch}
    leaves = {**given, "prototypes": model.prototype_layer.weight}
    for term, value in zip(("ita", "cta", "cpa"), values, strict=True):
        gradients = torch.autograd.grad(
            value, [leaves[n] for n in LEAVES], retain_graph=True, allow_unused=True
        )
        result[term] = {
            "value": float(value.detach()),
            "gradients": {
                n: sketch(g) for n, g in zip(LEAVES, gradients, strict=True) if g is not None
            },
        }
    return result


BATCH = ("imgs", "caption_ids", "attention_mask", "token_type_ids")


def stand_in(released: dict[str, Any], given: dict[str, Tensor], branch: str) -> Any:
    """An object with what `forward` asks of its model; encoders return the given features."""

    class Encoder:
        def __init__(self, *outputs: Any) -> None:
            self.outputs = outputs
            self.model = types.SimpleNamespace(
                blocks=[
                    types.SimpleNamespace(
                        attn=types.SimpleNamespace(attention_map=given["attention_map"])
                    )
                ]
            )

        def __call__(self, *_: Any) -> tuple[Any, ...]:
            return self.outputs

        def global_embed(self, x: Tensor) -> Tensor:
            return x

        local_embed = global_embed

    words = [["[CLS]", *("[PAD]" if p else "w" for p in row)] for row in given["padded"].tolist()]
    layer = torch.nn.Linear(D, K, bias=False)
    layer.weight.data.copy_(given["prototypes"].detach())
    hparams = types.SimpleNamespace(
        softmax_temperature=0.07, local_temperature=0.1, proto_temperature=0.2, epsilon=0.05,
        sinkhorn_iterations=3, use_local_atten=False, bidirectional=True, gpus=0,
        img_encoder="vit_base" if branch == "vit" else "resnet_50",
    )  # fmt: skip
    model = types.SimpleNamespace(
        img_encoder_q=Encoder(given["image"], given["patches"]),
        text_encoder_q=Encoder(
            given["report"], given["words"], given["word_attention"].clone(), words
        ),
        prototype_layer=layer,
        hparams=hparams,
        precision_at_k=released["precision_at_k"],
    )
    model.get_assignments = lambda q, n: released["sinkhorn"](model, q, n)
    return model


def official_sinkhorn(checkout: Path, seed: int) -> dict[str, Any]:
    path = checkout / "mgca/models/mgca/mgca_module.py"
    released = lifted(path, "MGCA", ["sinkhorn"], {"torch": torch})["sinkhorn"]
    model = types.SimpleNamespace(hparams=types.SimpleNamespace(gpus=0))
    return sketch(released(model, torch.exp(sinkhorn_inputs(seed) / 0.05).t(), 3))


def official_aggregate(checkout: Path) -> dict[str, Any]:
    path = checkout / "mgca/models/backbones/encoder.py"
    released = lifted(path, "BertEncoder", ["aggregate_tokens"], {"torch": torch})
    model = types.SimpleNamespace(idxtoword=dict(enumerate(VOCABULARY)))
    hidden, attention, ids = aggregate_inputs()
    vectors, words, weights = released["aggregate_tokens"](
        model, hidden.unsqueeze(1), ids, attention[:, 1:]
    )
    return {
        "report": sketch(vectors[:, 0, 0]),
        "vectors": vectors[:, 0, 1:].double().sum(-1).tolist(),
        "attention": weights[:, 1:].double().tolist(),
        "padded": [[w == "[PAD]" for w in row[1:]] for row in words],
    }


def official_vit(checkout: Path) -> dict[str, Any]:
    fairscale = "fairscale.nn.checkpoint.checkpoint_activations"
    sys.modules[fairscale] = types.ModuleType(fairscale)
    sys.modules[fairscale].checkpoint_wrapper = None  # type: ignore[attr-defined]
    scope: dict[str, Any] = {"__name__": "vits"}
    path = checkout / "mgca/models/backbones/vits.py"
    exec(compile(path.read_text(), str(path), "exec"), scope)
    network = scope["VisionTransformer"](
        img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=3
    )
    fill(network, 0)
    with torch.no_grad():
        tokens = network.eval()(images(32), register_blk=1)
    attention = network.blocks[-1].attn.attention_map[:, :, 0, 1:].mean(dim=1)
    return {"tokens": sketch(tokens), "attention": sketch(attention)}


def official_resnet(checkout: Path) -> dict[str, Any]:
    from einops import rearrange
    from torchvision.models import resnet50

    scope: dict[str, Any] = {"torch": torch, "nn": torch.nn, "rearrange": rearrange}
    path = checkout / "mgca/models/backbones/encoder.py"
    forward = lifted(path, "ImageEncoder", ["resnet_forward"], scope)["resnet_forward"]
    network = resnet50(weights=None)
    network.fc = torch.nn.Identity()
    fill(network, 0)
    model = types.SimpleNamespace(model=network.eval(), pool=torch.nn.AdaptiveAvgPool2d((1, 1)))
    with torch.no_grad():
        pooled, tokens = forward(model, images(64))
    return {"pooled": sketch(pooled), "tokens": sketch(tokens), "shape": list(tokens.shape)}


def main(checkout: Path) -> None:
    commit = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "HEAD"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    golden = {
        "source": {"repository": "HKU-MedAI/MGCA", "commit": commit},
        "recipe": "python tests/golden_mgca.py CHECKOUT",
        "losses": [official_losses(checkout, s, b) for s in SEEDS for b in BRANCHES],
        "sinkhorn": [official_sinkhorn(checkout, s) for s in SEEDS],
        "aggregate": official_aggregate(checkout),
        "vit": official_vit(checkout),
        "resnet": official_resnet(checkout),
    }
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
