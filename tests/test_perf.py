"""`bench perf`: what it prints; never how long it took."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.commands.perf import score_seconds
from bench.errors import MissingError
from bench.metrics import registry
from bench.perf.models import Built, matmul_rate, measured, medians

SMALL = (
    "budget=tiny", "size.image.size=32", "size.image.resize=36", "size.d=16", "size.heads=2",
    "size.d_ff=16", "size.layers=1", "size.backbone_params.width=4", "decode.max_length=6",
    "budget.batch=4",
)  # fmt: skip


def test_decoders_are_timed_and_compared(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["perf", "decode", *SMALL, "--repeats", "2", "--studies", "3"])
    out = capsys.readouterr().out
    assert code == 0
    assert "base, CPU" in out or "base, NVIDIA" in out
    assert "3 studies, beam 3" in out
    incremental, recomputing = (
        [float(x) for x in re.search(rf"{name} +([\d.]+) +([\d.]+)", out).groups()]  # type: ignore[union-attr]
        for name in ("incremental", "recomputing")
    )
    assert incremental[1] > 0 < recomputing[1]
    assert re.search(r"ratio \d+\.\d; equal token for token: 3 of 3 reports", out)


def test_decoders_that_disagree_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.perf.oracle.decode_slowly", lambda m, images, how: [[1]] * 3)
    assert main(["perf", "decode", *SMALL, "--repeats", "1", "--studies", "3"]) == 1
    assert "the decoders disagree" in capsys.readouterr().err


@pytest.mark.parametrize("model", ["base", "uar"])
def test_a_models_row(model: str) -> None:
    found = measured([f"model={model}", *SMALL], 2, 1)
    parameters, flops, rate, share, reports, memory = found["cells"]
    assert float(parameters.removesuffix(" M")) > 0
    assert float(flops.removesuffix(" G")) > 0
    assert 0 <= float(share.removesuffix("%")) <= 100
    assert min(map(float, (rate, reports, memory))) > 0
    assert "fp32" in found["machine"]
    assert "bf16" in found["machine"]
    assert "batches of 4, 2 decoded at once, 3 beams" in found["machine"]


def test_flops_do_not_depend_on_the_batch() -> None:
    """Per example: batch norms and such are not counted."""
    small, large = (measured([f"budget.batch={n}", *SMALL[:-1]], 1, 1)["cells"][1] for n in (2, 8))
    assert small == large


def test_inputs_are_what_a_model_declares() -> None:
    pixels, codes = (Built.of([f"model={m}", *SMALL], 0) for m in ("base", "uar"))
    assert pixels.batch.images.shape == (4, 2, 3, 32, 32)
    assert codes.batch.images.shape == (4, 2, 16)
    assert 0 <= int(codes.batch.images.min()) <= int(codes.batch.images.max()) < 256


def test_matmul_rate() -> None:
    assert matmul_rate("cpu", "fp32", 1) > 1e8


def test_medians_take_turns() -> None:
    calls: list[str] = []
    works = {name: lambda name=name: calls.append(name) for name in "ab"}
    found = medians(works, 3, lambda: None)
    assert "".join(calls) == "abababab"
    assert list(found) == ["a", "b"]


def test_scoring_is_timed() -> None:
    seconds = score_seconds("chexpert-rules", 5)
    assert len(seconds) == 3
    assert all(float(x) >= 0 for x in seconds)


def test_the_table_of_metrics(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """All that read text, in this process; those without weights show dashes."""
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("bench.commands.perf.alone", lambda work, *given: work(*given))
    monkeypatch.setattr("bench.metrics.meteor.METEOR.require", missing)  # would start Java
    monkeypatch.setattr("bench.metrics.ptb.tokenize", lambda texts: texts)
    assert main(["perf", "score", "--pairs", "4,5"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    lines = {row[0]: row[1:] for row in rows}
    assert set(registry.names()) - set(lines) == {
        "alignment", "alignment-control", "attention-box", "image-attribution",
        "image-information", "image-information-within",
    }  # fmt: skip
    assert lines["chexbert"] == lines["radgraph-xl"] == lines["METEOR"] == ["-"] * 6
    assert all(float(x) >= 0 for x in lines["CIDEr"] + lines["chexpert-rules"])
    assert main(["perf", "score", "--only", "alignment"]) == 2


def missing(metric: object) -> None:
    raise MissingError("not here")


def test_an_unknown_model_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["perf", "models", *SMALL, "--only", "bsae"]) == 2
    assert "did you mean 'base'" in capsys.readouterr().err


def test_a_pretraining_step_and_its_parts(capsys: pytest.CaptureFixture[str]) -> None:
    small = ("budget=tiny", "budget.pretrain.batch=4", "size.mgca.resnet.width=4",
             "size.mgca.image={size:32,resize:36}")  # fmt: skip
    assert main(["perf", "mgca", *small, "--repeats", "1"]) == 0
    out = capsys.readouterr().out
    assert "mgca, " in out
    assert "4 pairs a step" in out
    assert len(re.findall(r"[\d.]+%", out)) == 4
    assert re.search(r"[\d.]+ pairs/s; loop / tensors [\d.]+", out)


def test_aggregations_that_disagree_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bench.perf.oracle import aggregate_slowly

    monkeypatch.setattr(
        "bench.perf.mgca.aggregate_slowly",
        lambda *given: [(v + 1, a) for v, a in aggregate_slowly(*given)],
    )
    small = ("budget=tiny", "budget.pretrain.batch=2", "size.mgca.resnet.width=4")
    assert main(["perf", "mgca", *small, "--repeats", "1"]) == 1
    assert "the aggregations disagree" in capsys.readouterr().err


def test_how_long_a_model_waits_for_its_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BENCH_OUT", str(tmp_path / "runs"))
    sizes = ("dataset=synthetic", "dataset.train=8", "dataset.val=4", "dataset.test=4")
    assert main(["perf", "pipeline", *SMALL, *sizes, "--steps", "2"]) == 0
    out = capsys.readouterr().out
    shares = re.findall(r"(?:asks|thread) +([\d.]+) +([\d.]+) +([\d.]+)%", out)
    assert len(shares) == 2
    for step, waiting, share in (map(float, row) for row in shares):
        assert 0 <= waiting <= step
        assert share == pytest.approx(100 * waiting / step, abs=5)
    assert not (tmp_path / "runs").exists()
