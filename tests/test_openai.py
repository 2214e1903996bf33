"""OpenAI's tokenizer on a small encoder of random weights, in both of torch's file formats."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from uar.openai import OpenAI, convert
from uar.pickled import read_pickle

dall_e = pytest.importorskip("dall_e")


@pytest.fixture(scope="module")
def encoder() -> nn.Module:
    torch.manual_seed(0)
    return dall_e.Encoder(n_hid=64, n_blk_per_group=1, vocab_size=512).requires_grad_(False).eval()


@pytest.fixture(scope="module", params=["zip", "legacy"])
def pickled(request: Any, encoder: nn.Module, tmp_path_factory: Any) -> Path:
    path = tmp_path_factory.mktemp(request.param) / "encoder.pkl"
    torch.save(encoder, path, _use_new_zipfile_serialization=request.param == "zip")
    return path


def test_conversion_is_bit_equal(encoder: nn.Module, pickled: Path, tmp_path: Path) -> None:
    shape = convert(pickled, tmp_path / "encoder.safetensors")
    assert shape == {"n_hid": 64, "n_blk_per_group": 1, "input_channels": 3, "vocab_size": 512}
    expected = encoder.state_dict()
    found = OpenAI({"dvae": tmp_path / "encoder.safetensors"}).encoder.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[k], expected[k]) for k in expected)


def test_codes_are_the_argmax_of_mapped_pixels(encoder: nn.Module, pickled: Path) -> None:
    tokenizer = OpenAI({"dvae": pickled})
    assert (tokenizer.codebook_size, tokenizer.factor) == (512, 8)
    assert not any(p.requires_grad for p in tokenizer.parameters())
    images = torch.rand(9, 3, 16, 24)  # more than a chunk
    codes = tokenizer.codes(images)
    assert codes.shape == (9, 6)
    assert codes.dtype == torch.int64
    grid = encoder(images * 0.8 + 0.1).argmax(1)
    assert torch.equal(codes, grid.flatten(1))
    assert codes[0, 4] == grid[0, 1, 1]


def test_truncated_files_are_refused(pickled: Path, tmp_path: Path) -> None:
    whole = pickled.read_bytes()
    for share in (0.0, 0.001, 0.3, 0.99):
        path = tmp_path / "encoder.pkl"
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(ValueError, match=r"encoder\.pkl"):
            OpenAI({"dvae": path})


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("echo executed > executed",)


@pytest.mark.parametrize("kind", ["pickle", "zip", "legacy"])
def test_a_foreign_pickle_is_refused_and_not_executed(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "encoder.pkl"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Evil()))
    else:
        torch.save({"a": Evil()}, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(ValueError, match=r"encoder\.pkl is not a whole"):
        read_pickle(path)
    assert not (tmp_path / "executed").exists()


def test_other_content_is_named(encoder: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "other.pkl"
    torch.save(nn.Sequential(nn.Linear(2, 2)), path)
    with pytest.raises(ValueError, match=r"it names torch\.nn\.modules\.linear\.Linear"):
        OpenAI({"dvae": path})
    torch.save({"weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="it holds a dict"):
        OpenAI({"dvae": path})
    torch.save(nn.Sequential(nn.ReLU()), path)
    with pytest.raises(ValueError, match="is not a dall_e Encoder: it has no tensor"):
        OpenAI({"dvae": path})


def test_without_weights_it_says_what_it_needs() -> None:
    with pytest.raises(ValueError, match=r"needs its weights: give encoder\.pkl"):
        OpenAI({"dvae": None})
