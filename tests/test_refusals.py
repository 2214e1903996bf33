"""What the system refuses, and what a terminal lacks: a line and an exit code, nothing lost."""

from __future__ import annotations

import errno
import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from audit import failing, forbidden
from made import METRICS, make
from toy_training import DATASET
from toy_training import SPEC as TOY

from bench.__main__ import VERBS, main
from bench.boards.publish import publish
from bench.canonical import from_dict, to_dict
from bench.data.registry import chosen_dataset
from bench.errors import BenchError
from bench.files import write_atomic
from bench.runs.workspace import Workspace
from bench.spec import RunSpec
from bench.store import RunFolder, write_json

ROOT = Path(__file__).resolve().parent.parent


def spec() -> RunSpec:
    plain = to_dict(replace(TOY, data=replace(TOY.data, manifest=DATASET.manifest)))
    plain["budget"]["amount"] = 4
    return from_dict(RunSpec, plain)


def execute(place: Path, *more: str) -> int:
    write_json(place / "given.json", to_dict(spec()))
    places = [f"--out={place / 'runs'}", f"--cache={place / 'cache'}"]
    return main(["execute", str(place / "given.json"), "--until=train", *places, *more])


def results(place: Path) -> dict[str, bytes]:
    folder = RunFolder(place / "runs", spec().run_id)
    records = ("env.json", "timing.json")
    return {n: (folder / n).read_bytes() for n in folder.files() if n not in records}


# --- the system ------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_refuses_is_named_and_the_work_goes_on_later(
    tmp_path: Path, error: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "a").mkdir()
    assert execute(tmp_path / "whole") == 0
    capsys.readouterr()
    for after in (0, 3, 6, 9, 12):
        with failing(tmp_path / "a" / "runs", error, after):
            assert execute(tmp_path / "a") in (1, 2)
        said = capsys.readouterr().err
        assert os.strerror(error) in said
        assert "fix:" in said
    assert execute(tmp_path / "a") == 0
    assert results(tmp_path / "a") == results(tmp_path / "whole")
    with failing(tmp_path / "a", error):  # nothing is left to be written
        assert not list((tmp_path / "a").rglob("*.part"))


@pytest.mark.parametrize("folder", ["runs", "cache", "weights", "board"])
def test_folders_that_cannot_be_written(
    tmp_path: Path,
    folder: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = tmp_path / folder
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "x.pth").write_bytes(b"1")
    work = make(tmp_path / "made", {"BASE": (0.3,)}) if folder == "board" else None
    with failing(place, errno.EROFS):
        if folder == "weights":
            code = main(["weights", "add", "mine", str(tmp_path / "x.pth")])
        elif work is not None:
            with pytest.raises(BenchError, match="cannot write"):
                publish(*work, place)
            code = 1
        else:
            code = execute(tmp_path)
    assert code == 1
    said = capsys.readouterr().err
    assert work is not None or (str(place) in said and "Read-only" in said)
    assert not place.exists()


def test_the_hint_names_the_options(tmp_path: Path) -> None:
    with failing(tmp_path, errno.ENOSPC), pytest.raises(BenchError) as caught:
        write_atomic(tmp_path / "x", "")
    assert all(o in caught.value.hint for o in ("--out", "--cache", "--reports", "--board"))


def test_a_clock_that_goes_back_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("now", "past"):
        (tmp_path / name).mkdir()
    assert execute(tmp_path / "now") == 0
    ticks = iter(range(10**9, 0, -3600))
    monkeypatch.setattr("time.time", lambda: float(next(ticks)))
    assert execute(tmp_path / "past") == 0
    assert results(tmp_path / "past") == results(tmp_path / "now")


def test_a_full_output(tmp_path: Path) -> None:
    done = bench("list", stdout=Path("/dev/full").open("wb"))  # noqa: SIM115
    assert done.returncode == 1
    assert done.stderr.decode() == (
        "error: the output: No space left on device\n"
        "  fix: see that it is there, of the right kind, and open to you\n"
    )


def bench(*arguments: str, **more: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, check=False, **more)  # type: ignore[call-overload,no-any-return]


def test_letters_that_the_terminal_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    monkeypatch.setattr("bench.commands.list.run", lambda given: print("tick ✓ \udc80"))
    assert main(["list", "metrics"]) == 0
    assert raw.getvalue() == b"tick ? ?\n"


def test_a_pipe_that_nobody_writes_does_not_block(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "p.csv")
    small = ["dataset.train=4", "dataset.val=2", "dataset.test=2"]
    assert main(["score", str(tmp_path / "p.csv"), *small]) == 2
    assert "is a pipe, not a file" in capsys.readouterr().err


def test_sigterm_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.commands import run as verb

    def plan(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(5)

    before = signal.getsignal(signal.SIGTERM)
    error = io.StringIO()
    monkeypatch.setattr("sys.stderr", error)
    monkeypatch.setattr(verb, "make_plan", plan)
    try:
        assert main(["run", "ablations", f"--out={tmp_path}", f"--cache={tmp_path}"]) == 143
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "terminated: finished work is kept" in error.getvalue()


# --- what is said ----------------------------------------------------------------------------


def test_named_weights_that_are_missing_and_metrics_that_cannot_run_have_a_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    assert main(["weights", "verify"]) == 0
    assert main(["weights", "verify", "chexbert"]) == 3
    data = chosen_dataset({"dataset.train": "4", "dataset.val": "2", "dataset.test": "2"})
    rows = "".join(f"{study.id},clear\n" for study in data.split("test"))
    (tmp_path / "p.csv").write_text("study_id,report\n" + rows)
    small = ["dataset.train=4", "dataset.val=2", "dataset.test=2", f"--cache={tmp_path}"]
    score = ["score", str(tmp_path / "p.csv"), *small, "--metrics"]
    assert main([*score, "chexpert-rules"]) == 0
    assert main([*score, "chexpert-rules,chexbert"]) == 3


def test_a_file_of_another_dataset_is_told_the_setting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.csv").write_text("study_id,report\nCXR1_IM-0001,clear\n")
    small = ["dataset.train=4", "dataset.val=2", "dataset.test=2"]
    assert main(["score", str(tmp_path / "p.csv"), *small, "--metrics=BLEU"]) == 2
    assert "dataset=iu_xray" in capsys.readouterr().err


def test_the_root_of_a_dataset_is_a_setting(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=re.escape(f"no IU X-ray in {tmp_path}")):
        chosen_dataset({"dataset": "iu_xray", "dataset.root": str(tmp_path)})


# --- nothing is fetched, nothing is unpickled --------------------------------------------------


def test_the_hooks_see_what_they_forbid() -> None:
    import pickle

    for attempt in (lambda: socket.socket(), lambda: pickle.loads(pickle.dumps(Path("x")))):
        with forbidden() as seen, pytest.raises(PermissionError, match="forbidden here"):
            attempt()
        assert len(seen) == 1


def test_no_verb_opens_a_socket_or_unpickles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path / "weights"))
    _, work = make(tmp_path / "made", {"constant": (0.2,), "BASE": (0.3,), "good": (0.9,)})
    runs = sorted(p.name for p in work.out.glob("*-s0"))
    places = [f"--out={work.out}", f"--cache={work.cache}"]
    (tmp_path / "x.pth").write_bytes(b"1")
    commands: list[list[str]] = [
        ["list"],
        ["weights", "list"],
        ["weights", "add", "mine", str(tmp_path / "x.pth")],
        ["weights", "verify"],
        ["weights", "import", "mgca", str(tmp_path / "x.pth")],
        ["verify", *places],
        ["reproduce", runs[0], *places[:1]],
        ["compare", runs[0], runs[1], "--metric=BLEU-4", *places],
        ["board", "validate", f"--board={tmp_path}"],
        ["run", "single", "model=base", "budget=tiny", "--dry-run", *places],
    ]
    with forbidden() as seen:
        codes = [main(command) for command in commands]
        codes.append(execute(tmp_path))
    assert seen == []
    assert codes == [0, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0]
    assert METRICS
    assert Workspace(work.out).out


def test_names_in_errors_do_nothing_to_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = "\x1b[31m\u202ered\x07"
    (tmp_path / "p.csv").write_text(f"study_id,report\n{odd},clear\n", encoding="utf-8")
    small = ["dataset.train=4", "dataset.val=2", "dataset.test=2"]
    assert main(["score", str(tmp_path / "p.csv"), *small, "--metrics=BLEU"]) == 2
    assert main(["score", str(tmp_path / odd), *small, "--metrics=BLEU"]) == 2
    said = capsys.readouterr().err
    assert said.count(r"\x1b[31m\u202ered\x07") == 2
    assert not set(said) & {"\x1b", "\u202e", "\x07"}


def test_a_setting_given_twice_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.csv").write_text("study_id,report\n1,clear\n")
    twice = ["dataset.test=2", "dataset.test=3"]
    assert main(["score", str(tmp_path / "p.csv"), *twice, "--metrics=BLEU"]) == 2
    assert main(["pretrain", "dvae", *twice, f"--out={tmp_path / 'runs'}"]) == 2
    said = capsys.readouterr().err
    assert said.count("dataset.test is given twice: dataset.test=2, dataset.test=3") == 2


# --- the table in docs -------------------------------------------------------------------------


def documented() -> dict[str, tuple[str, str]]:
    text = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    return {verb: (json, three) for verb, json, three in rows}


def test_every_verb_is_in_the_table() -> None:
    assert list(documented()) == [v for v in VERBS if v in documented()]
    assert set(documented()) == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_the_table_says_what_the_verb_does(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    json, three = documented()[verb]
    module = import_module(VERBS[verb][0])
    parser = ArgumentParser()
    module.add_arguments(parser)
    options = {o for action in parser._actions for o in action.option_strings}
    assert ("--json" in options) == (json != "no")
    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    assert bool(re.search(r"return 3\b", source)) == (three != "never")
    with pytest.raises(SystemExit) as end:  # an option that it does not have
        main([verb, "--no-such-option"])
    assert end.value.code == 2
    capsys.readouterr()


EXAMPLES: dict[int, Callable[[Path], list[str]]] = {
    0: lambda place: ["list", "metrics"],
    2: lambda place: ["list", "nothing"],
    3: lambda place: ["weights", "verify", "chexbert"],
}


@pytest.mark.parametrize("code", EXAMPLES)
def test_codes(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    assert main(EXAMPLES[code](tmp_path)) == code
