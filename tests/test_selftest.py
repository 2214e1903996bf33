"""`bench doctor --device`: the self-test of a device, on the one that is always there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from bench.__main__ import main
from bench.perf import selftest
from bench.perf.models import Built

TINY = ("size.image.size=32", "size.image.resize=36", "size.d=16", "size.heads=2", "size.d_ff=16",
        "size.layers=1", "size.backbone_params.width=4")  # fmt: skip


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(selftest, "MODELS", {"r2gen": ("model=r2gen",)})
    monkeypatch.setattr(selftest, "SMALL", (*selftest.SMALL, *TINY))
    monkeypatch.setattr(selftest, "SPEED", ("model=base", *selftest.SMALL))
    monkeypatch.setattr(selftest, "STUDIES", 4)
    monkeypatch.setattr(selftest, "STEPS", 2)
    yield
    torch.use_deterministic_algorithms(False)


def test_the_cpu_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--device", "cpu"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("self-test of CPU, ")
    assert [line.split()[0] for line in out[1:]] == ["ok"] * 4
    assert "losses within 0.0e+00 of the CPU's, gradients 0.0e+00, " in out[1]
    assert "4 of 4 greedy reports equal" in out[1]
    assert "tensors equal bit for bit" in out[2]
    assert "of the matmul rate" in out[4]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--device", "cuda"]) == 2
    said = capsys.readouterr().err
    assert "no CUDA device to test: torch" in said
    assert "nvidia-smi" in said


def test_a_device_that_computes_otherwise_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights that move on their way to the device; a training that is not repeatable."""
    copied = selftest.on

    def careless(built: Built, device: str) -> Built:
        moved = copied(built, device)
        with torch.no_grad():
            for parameter in moved.model.parameters():
                parameter.add_(torch.rand_like(parameter), alpha=1e-2)
        return moved

    monkeypatch.setattr(selftest, "on", careless)
    assert main(["doctor", "--device", "cpu"]) == 1
    shown = capsys.readouterr()
    assert [line.split()[0] for line in shown.out.splitlines()[1:3]] == ["FAIL", "FAIL"]
    assert "checks failed on this device: r2gen parity, r2gen determinism" in shown.err


def test_an_operation_that_is_refused_fails_its_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(built: Built, device: str) -> tuple[bool, str]:
        raise RuntimeError("histc_cuda does not have a deterministic implementation\nand more")

    monkeypatch.setattr(selftest, "twice", refused)
    assert main(["doctor", "--device", "cpu"]) == 1
    assert "r2gen determinism    histc_cuda does not have" in capsys.readouterr().out


@pytest.mark.parametrize(("low", "failed"), [(False, "parity"), (True, "bf16")])
def test_gradients_that_are_wrong_fail_where_losses_are_right(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], low: bool, failed: str
) -> None:
    found, calls = selftest._gradients, iter(range(100))

    def wrong(built: Built, half: bool = False) -> list[torch.Tensor]:
        disturbed = half if low else not half and next(calls) == 1  # the device's, of parity
        return [g * (1 + 0.5 * disturbed * torch.randn_like(g)) for g in found(built, half)]

    monkeypatch.setattr(selftest, "_gradients", wrong)
    assert main(["doctor", "--device", "cpu"]) == 1
    shown = capsys.readouterr()
    assert f"checks failed on this device: r2gen {failed}" in shown.err
    assert "losses within 0.0e+00" in shown.out
