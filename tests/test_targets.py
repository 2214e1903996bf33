"""Import paths out of a stranger's files: nothing is imported that the user did not name."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made import make
from toy_training import DATASET
from toy_training import SPEC as TOY

from bench import config, targets
from bench.__main__ import main
from bench.canonical import to_dict
from bench.data import load
from bench.errors import BenchError
from bench.spec import PartSpec
from bench.store import RunFolder, write_json

SPEC = replace(TOY, data=replace(TOY.data, manifest=DATASET.manifest))
# A module that leaves a mark when it is imported.
EVIL = """
from pathlib import Path
Path(__file__).with_name("imported").touch()
def load(*given, **more):
    raise ValueError("it ran")
"""


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "evil_code.py").write_text(EVIL)
    monkeypatch.syspath_prepend(str(tmp_path / "evil"))
    monkeypatch.setattr(config, "GIVEN", set())
    yield tmp_path / "evil"
    sys.modules.pop("evil_code", None)


def execute(spec: Any, folder: Path) -> int:
    write_json(folder / "spec.json", to_dict(spec))
    places = [f"--out={folder / 'runs'}", f"--cache={folder / 'cache'}"]
    return main(["execute", str(folder / "spec.json"), *places])


BAD = "evil_code.load"
IN_PLACES = {
    "data": {"data": replace(SPEC.data, target=BAD)},
    "model": {"model": PartSpec(BAD)},
    "tokenizer": {"tokenizer": PartSpec(BAD)},
    "parameter": {"model": PartSpec("toy.Toy", {"look": {"deep": [1, BAD]}})},
}


@pytest.mark.parametrize("place", IN_PLACES)
def test_a_spec_runs_no_code_of_its_own(
    evil: Path,
    tmp_path: Path,
    place: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = replace(SPEC, **IN_PLACES[place])
    assert execute(spec, tmp_path) == 2
    said = capsys.readouterr().err
    assert f"{BAD!r} is neither of the project nor of a package that you named" in said
    assert "BENCH_PACKAGES=evil_code" in said
    assert not (evil / "imported").exists()
    monkeypatch.setenv(targets.PACKAGES, "toy, evil_code")
    assert targets.follow(BAD, "target", ()) is sys.modules["evil_code"].load
    assert (evil / "imported").exists()


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("os.system", "neither of the project"),
        ("bench.store.write_json", "unknown dataset reader"),
        ("bench.data.prepare.prepare_iu_xray", "unknown dataset reader"),
        ("uar.openai.import_checkpoint", "unknown dataset reader"),
        ("bench.data.iu_xray.lod", "did you mean 'bench.data.iu_xray.load'"),
        ("nowhere_at_all.load", "no such dataset reader"),
    ],
)
def test_only_registered_readers_are_called(target: str, said: str) -> None:
    with pytest.raises(BenchError) as caught:
        load(target)
    assert said in str(caught.value)


def test_a_sealed_run_of_a_stranger_is_not_rescored(
    evil: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, work = make(tmp_path, {"BASE": (0.3,)})
    spec = plan.runs[0].spec
    strange = replace(spec, data=replace(spec.data, target=BAD))
    folder = RunFolder(work.out, strange.run_id)
    shutil.copytree(work.out / spec.run_id, folder.path)
    write_json(folder / "spec.json", to_dict(strange))
    folder.seal(status="scored", scoring="whatever")
    places = [f"--out={work.out}", f"--cache={work.cache}"]
    assert main(["verify", strange.run_id, "--rescore", "--rerun=1", *places]) == 3
    assert "neither of the project nor of a package" in capsys.readouterr().out
    assert not (evil / "imported").exists()


def test_what_the_command_line_or_a_yaml_names_is_followed(
    evil: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert targets.follow("uar.model.UAR", "target", targets.PARTS).__name__ == "UAR"
    targets.refuse_strange({"backbone": "mgca.backbone.Backbone", "file": "a.pth"}, "a model")
    with pytest.raises(BenchError):
        targets.follow(BAD, "target", targets.PARTS)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "bad.yaml").write_text(f"name: bad\n_target_: {BAD}\n")
    with monkeypatch.context() as patch:
        patch.setenv("BENCH_CONF", str(tmp_path / "conf"))
        assert targets.follow(BAD, "target", targets.PARTS)
    config.compose(["model=base", f"model._target_={BAD}"])
    assert targets.follow(BAD, "target", targets.PARTS)


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "", "a/"])
def test_a_run_lies_in_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(BenchError, match="cannot be the id of a run"):
        RunFolder(tmp_path, name)
