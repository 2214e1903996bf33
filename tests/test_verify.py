"""Sealed runs verified: a flipped byte in any file is found, scores and first steps come again."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import toy
from test_execute import SPEC

from bench.__main__ import main
from bench.commands import verify as verb
from bench.errors import DataError
from bench.metrics import ptb
from bench.metrics.scoring import Scored
from bench.provenance import draws_other_noise, environment, made_elsewhere
from bench.runs.execute import execute
from bench.runs.score import assess, is_scored
from bench.runs.workspace import Workspace
from bench.spec import PartSpec, RunSpec
from bench.store import MANIFEST, RunFolder, read_json

METRICS = ["BLEU", "CIDEr"]
FLOOR = RunSpec("floor", SPEC.data, PartSpec("baselines.floors.MostFrequent"), "")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A trained run and a floor, sealed and scored."""
    place = tmp_path_factory.mktemp("sealed")
    work = Workspace(place / "runs", place / "cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_DEVICE", "cpu")
        patch.setattr(ptb, "tokenize", lambda texts: [t.replace(" .", "") for t in texts])
        for spec in (SPEC, FLOOR):
            folder = RunFolder(work.out, spec.run_id)
            execute(spec, work, folder)
            assess(spec, work, folder, METRICS)
        yield place


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "runs", tmp_path / "runs")
    return tmp_path


def verify(place: Path, *options: str) -> int:
    folders = ["--out", str(place / "runs"), "--cache", str(place / "cache")]
    return main(["verify", *options, *folders])


def trained(place: Path) -> RunFolder:
    return RunFolder(place / "runs", SPEC.run_id)


def test_intact_runs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(place) == 0
    assert "2 runs verified, 0 problems" in capsys.readouterr().out


def test_first_steps_and_scores_come_again(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(place, "--rerun", "20", "--rescore") == 0
    out = capsys.readouterr().out
    assert "losses of 12 steps compared bit for bit" in out  # as many as there are
    assert "6 reports written again" in out
    assert out.count("ok  ") == 2


def test_every_file_is_watched(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A flipped bit anywhere in each file of a run: found, and the file named."""
    folder = trained(place)
    names = [*folder.files(), MANIFEST]
    assert {"weights.safetensors", "losses.csv", "curve.csv", "train.json", "predictions.csv",
            "spec.json", "scores.json", "scores.npz", "env.json", "timing.json"} <= set(names)  # fmt: skip # noqa: E501
    for name in names:
        data = (folder / name).read_bytes()
        for at in (0, len(data) // 2, len(data) - 1):
            (folder / name).write_bytes(data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :])
            assert verify(place, SPEC.run_id) == 3, (name, at)
            assert f"{SPEC.run_id}/{name}: altered" in capsys.readouterr().out, (name, at)
        (folder / name).write_bytes(data)
    assert verify(place) == 0


def test_every_byte_of_the_manifest_is_watched(place: Path) -> None:
    folder = trained(place)
    data = (folder / MANIFEST).read_bytes()
    for at in range(len(data)):
        (folder / MANIFEST).write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert folder.verify(), f"byte {at}: {data[max(at - 20, 0) : at + 20]!r}"
    (folder / MANIFEST).write_bytes(data)
    assert folder.verify() == []


def test_a_lost_and_a_strange_file(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = trained(place)
    (folder / "curve.csv").unlink()
    (folder / "notes.txt").write_text("x")
    assert verify(place) == 3
    out = capsys.readouterr().out
    assert f"{SPEC.run_id}/curve.csv: missing" in out
    assert f"{SPEC.run_id}/notes.txt: not in the manifest" in out
    assert f"ok   {FLOOR.run_id}" in out  # the others are still looked at


def test_a_manifest_without_a_seal_is_no_manifest(place: Path) -> None:
    folder = trained(place)
    content = json.loads((folder / MANIFEST).read_text())
    assert is_scored(SPEC, folder, METRICS)
    del content["seal"]
    (folder / MANIFEST).write_text(json.dumps(content))
    assert folder.verify() == [f"{SPEC.run_id}/{MANIFEST}: has no seal"]
    with pytest.raises(DataError, match="has no seal"):  # nor scores and seals it `bench run`
        is_scored(SPEC, folder, METRICS)


def test_an_altered_image_of_the_cache_is_named(
    made: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(made / "cache", place / "cache")
    pixels = max((place / "cache").rglob("pixels.u8"), key=lambda path: path.stat().st_size)
    whole = pixels.read_bytes()
    assert verify(place) == 0
    pixels.write_bytes(bytes(len(whole)))
    capsys.readouterr()
    assert verify(place) == 3
    assert f"FAIL the image cache {pixels.parent} was altered" in capsys.readouterr().out
    pixels.write_bytes(whole)


def test_images_that_are_not_those_of_the_cache_are_named(
    made: Path, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(made / "cache", place / "cache")
    assert verify(place, "--images") == 0
    assert "0 of other pixels than their cache" in capsys.readouterr().out
    drawn = toy._draw
    monkeypatch.setattr(toy, "_draw", lambda image: 255 - drawn(image))
    assert verify(place) == 0  # every cached pixel is what it was
    assert verify(place, "--images") == 3
    assert "fix: get these files from the release again" in capsys.readouterr().out


def test_the_manifest_of_another_run(place: Path) -> None:
    shutil.copy(RunFolder(place / "runs", FLOOR.run_id) / MANIFEST, trained(place) / MANIFEST)
    assert trained(place).verify() == [
        f"{SPEC.run_id}/{MANIFEST}: is the manifest of {FLOOR.run_id}"
    ]


# --- forged: altered and sealed again ----------------------------------------------------------


def test_a_forged_loss_is_found_by_the_rerun(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained(place)
    path = folder / "losses.csv"
    head, first, *rest = path.read_text().splitlines()
    cells = first.split(",")
    cells[-1] = repr(math.nextafter(float(cells[-1]), math.inf))  # the smallest possible change
    path.write_text("\n".join([head, ",".join(cells), *rest]) + "\n")
    folder.seal(status="predicted")
    assert verify(place, SPEC.run_id) == 0
    assert verify(place, SPEC.run_id, "--rerun", "5") == 3
    out = capsys.readouterr().out
    assert f"{SPEC.run_id}/losses.csv, step 1: loss sealed " in out
    assert "1 of 5 steps differ" in out
    assert "the code has changed since" in out  # the spec of a toy names no code


def test_a_forged_score_is_found_by_scoring_again(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained(place)
    rows = json.loads((folder / "scores.json").read_text())
    i = next(i for i, r in enumerate(rows) if r["metric"] == "BLEU-4")
    rows[i]["value"] += 0.01
    del rows[-1]
    (folder / "scores.json").write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")
    folder.seal(status="scored")
    assert verify(place, SPEC.run_id, "--rescore") == 3
    out = capsys.readouterr().out
    assert f"scores.json: BLEU-4 {rows[i]['treatment']} all: sealed " in out
    assert "sealed no such score, now" in out


def test_a_forged_floor_is_found_by_writing_again(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(place / "runs", FLOOR.run_id)
    path = folder / "predictions.csv"
    path.write_text(path.read_text().replace("test3,", "test3,clear "))
    folder.seal(status="scored")
    assert verify(place, FLOOR.run_id, "--rerun", "1") == 3
    assert "predictions.csv: study test3 has another report" in capsys.readouterr().out


def test_what_cannot_be_repeated_is_a_problem_not_the_end(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Data that changed since: the run is named, and the next one is still verified."""
    spec = replace(SPEC, data=replace(SPEC.data, manifest="0" * 64))
    folder = RunFolder(place / "runs", spec.run_id)
    shutil.copytree(trained(place).path, folder.path)
    from bench.canonical import to_dict

    (folder / "spec.json").write_text(json.dumps(to_dict(spec), indent=1, sort_keys=True) + "\n")
    folder.seal(status="scored")
    assert verify(place, "--rerun", "2") == 3
    out = capsys.readouterr().out
    assert f"{spec.run_id}: dataset made is not the one of this run" in out
    assert "3 runs verified, 1 problems" in out


def test_against_another_execution(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(place / "runs", place / "again" / "runs")
    other = ["--against", str(place / "again" / "runs")]
    count = len((trained(place).manifest or {})["results"])
    assert verify(place, *other) == 0
    assert f"{count} of {count} results as in" in capsys.readouterr().out
    again = RunFolder(place / "again" / "runs", SPEC.run_id)
    (again / "curve.csv").write_text("other")
    again.seal(status="scored")
    assert verify(place, *other) == 3
    assert f"{SPEC.run_id}/curve.csv: not as in" in capsys.readouterr().out
    (again / MANIFEST).write_bytes(b"\xff")
    assert verify(place, *other) == 3
    out = capsys.readouterr().out
    assert f"{SPEC.run_id}/{MANIFEST}: altered" in out
    assert "runs verified" in out  # the other runs are looked at, too
    shutil.rmtree(again.path)
    assert verify(place, SPEC.run_id, *other) == 3
    assert "no sealed run of this id" in capsys.readouterr().out


def test_unknown_runs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(place, "0000") == 2
    assert f"{SPEC.run_id}" in capsys.readouterr().err
    assert main(["verify", "--out", str(place / "none")]) == 2
    assert "no sealed run in" in capsys.readouterr().err


def test_statistics_that_are_not_those_of_the_reports_are_named(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sealed by whoever made them up: the scores are right, and what is compared is not."""
    folder = trained(place)
    scored = Scored.load(folder / "scores.npz")
    wrong = {key: table + 1 for key, table in scored.statistics.items()}
    replace(scored, statistics=wrong).save(folder / "scores.npz")
    folder.seal(**{k: (folder.manifest or {})[k] for k in ("status", "scoring")})
    assert verify(place) == 0
    assert verify(place, "--rescore") == 3
    assert "scores.npz: r2gen@1 BLEU: other statistics than now" in capsys.readouterr().out


# --- runs of other machines ----------------------------------------------------------------------


def test_weights_may_be_left_behind(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was made of them is verified, scored and sealed again; their digest stays sealed."""
    folder = trained(place)
    before = read_json(folder / MANIFEST)["results"]["weights.safetensors"]
    (folder / "weights.safetensors").unlink()
    assert verify(place, "--rescore", "--rerun", "3") == 0
    assert "its weights are not here" in capsys.readouterr().out
    assess(SPEC, Workspace(place / "runs", place / "cache"), folder, METRICS)
    assert read_json(folder / MANIFEST)["results"]["weights.safetensors"] == before
    (folder / "weights.safetensors").write_bytes(b"others")
    assert verify(place, SPEC.run_id) == 3
    assert "weights.safetensors: altered" in capsys.readouterr().out


@pytest.mark.parametrize(("changed", "code"), [(1e-6, 0), (1e-3, 3)])
def test_another_kind_of_machine_repeats_losses_to_rounding(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    changed: float, code: int,
) -> None:  # fmt: skip
    folder = trained(place)
    path = folder / "losses.csv"
    head, first, *rest = path.read_text().splitlines()
    cells = first.split(",")
    cells[1:] = [repr(float(c) * (1 + changed)) if c else c for c in cells[1:]]
    path.write_text("\n".join([head, ",".join(cells), *rest]) + "\n")
    folder.seal(status="predicted")
    assert verify(place, SPEC.run_id, "--rerun", "5") == 3
    here = environment("cpu")
    monkeypatch.setattr(verb, "environment", lambda device: {**here, "cpu": "a Z80"})
    capsys.readouterr()
    assert verify(place, SPEC.run_id, "--rerun", "5") == code
    out = capsys.readouterr().out
    said = "compared to rounding, since processor was " if not code else "step 1: "
    assert said in out


def test_dropout_of_another_kind_of_device_is_not_compared(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = environment("cpu")
    monkeypatch.setattr(verb, "environment", lambda device: {**here, "processes": 2})
    monkeypatch.setattr(verb, "_drops", lambda model: True)
    assert verify(place, SPEC.run_id, "--rerun", "5") == 0
    assert "losses not compared: the dropout of a GPU" in capsys.readouterr().out


def test_what_another_machine_is() -> None:
    here = environment("cpu", 1)
    assert made_elsewhere(here, here) == ""
    assert not draws_other_noise(here, here)
    for name, value in (("threads", 99), ("processes", 2), ("cpu", "Z80"), ("device", "GPU")):
        assert name.replace("cpu", "processor") in made_elsewhere({**here, name: value}, here)
    assert draws_other_noise({**here, "processes": 2}, here)
    assert draws_other_noise({**here, "device": "a GPU"}, here)
    assert not draws_other_noise({**here, "threads": 99}, here)


def test_a_plan_needs_the_digest_of_weights_alone(place: Path) -> None:
    work, folder = Workspace(place / "runs", place / "cache"), trained(place)
    before = work.reference(f"run:{SPEC.run_id}")
    assert work.path(before) == folder / "weights.safetensors"
    (folder / "weights.safetensors").unlink()
    assert work.reference(f"run:{SPEC.run_id}") == before
    with pytest.raises(DataError, match="was left behind when this run's folder moved"):
        work.path(before)
