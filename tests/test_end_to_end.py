"""`bench run`, as a user calls it: twice, killed, and two at a time."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.store import RunFolder

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = (
    "dataset.train=40", "dataset.val=8", "dataset.test=12", "dataset.size=48", "budget=tiny",
    "budget.unit=steps", "budget.amount=4", "budget.batch=8", "size.image.size=32",
    "size.image.resize=36", "size.d=16", "size.heads=2", "size.d_ff=16", "size.layers=1",
    "size.backbone_params.width=4", "decode.max_length=8",
)  # fmt: skip
LIMIT = 600  # seconds for a command on a very busy machine


PUBLISHED = "reports/table2/README.md"  # as in the repository: five seeds


class Place:
    """A checkout with a published report, and the command that works in it, folders by default."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out, self.cache = folder, folder / "runs", folder / "cache"
        (folder / PUBLISHED).parent.mkdir(parents=True)
        (folder / PUBLISHED).write_text("five seeds")
        shutil.copy(ROOT / ".gitignore", folder)
        self.git("init", "-q")
        self.git("add", ".")
        self.git("-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "published")

    def git(self, *words: str) -> str:
        command = ["git", *words]
        return subprocess.run(
            command, cwd=self.folder, check=True, capture_output=True, text=True
        ).stdout

    @property
    def report(self) -> Path:
        """The folder of the only report."""
        [folder] = (self.out / "reports").iterdir()
        return folder

    def start(self, *options: str) -> subprocess.Popen[str]:
        command = [
            sys.executable, "-m", "bench", "run", "table2", *SETTINGS, "--only", "BASE",
            "--metrics", "BLEU,CIDEr", *options,
        ]  # fmt: skip
        others = {k: v for k, v in os.environ.items() if not k.startswith("BENCH_")}
        environment = {**others, "PYTHONPATH": str(ROOT), "BENCH_DEVICE": "cpu"}
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *options: str) -> str:
        process = self.start(*options)
        text, _ = process.communicate(timeout=LIMIT)
        assert process.returncode == 0, text
        return text

    def sealed(self) -> dict[str, dict[str, str]]:
        """run id -> the digests of its results; every run intact."""
        found = {}
        for path in sorted(p for p in self.out.iterdir() if p.name != "reports"):
            folder = RunFolder(self.out, path.name)
            assert folder.verify() == []
            assert not list(path.rglob("*.part"))
            manifest = json.loads((path / "manifest.json").read_text())
            assert manifest["status"] == "scored"
            found[path.name] = manifest["results"]
        return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A run that nothing disturbed, tables and all."""
    place = Place(tmp_path_factory.mktemp("whole"))
    text = place.run()
    assert "[7/7] BASE: BLEU-4" in text
    assert "README.md" in text
    return place


def test_what_a_run_leaves(whole: Place) -> None:
    sealed = whole.sealed()
    assert len(sealed) == 7
    [trained] = [files for files in sealed.values() if "weights.safetensors" in files]
    assert {"spec.json", "curve.csv", "losses.csv", "train.json", "predictions.csv",
            "scores.json", "scores.npz", "scores_shuffled.npz"} <= set(trained)  # fmt: skip
    assert not any("checkpoints" in name for name in trained)
    for files in sealed.values():
        assert {"predictions.csv", "scores.json"} <= set(files)
    for name in ("README.md", "scores.csv", "table2.md", "table2.tex", "table2.csv"):
        assert (whole.report / name).stat().st_size
    assert any(whole.report.glob("*.png"))


def test_a_run_touches_nothing_of_the_repository(whole: Place) -> None:
    """Its report stands beside the runs and says what it is of; the published one stays."""
    assert whole.git("status", "--porcelain") == ""
    assert (whole.folder / PUBLISHED).read_text() == "five seeds"
    said = (whole.report / "README.md").read_text().splitlines()[2]
    assert "not of a board" in said
    assert all(setting in said for setting in (*SETTINGS, "--only=BASE"))


def test_the_second_time_nothing_is_trained_or_scored(whole: Place) -> None:
    def written(folder: Path) -> dict[Path, int]:
        files = (p for p in folder.rglob("*") if p.is_file() and p.name != ".lock")
        return {p: p.stat().st_mtime_ns for p in files}

    def runs() -> dict[Path, int]:
        return {p: t for p, t in written(whole.out).items() if whole.report not in p.parents}

    before, reports = runs(), {p: p.read_bytes() for p in written(whole.report)}
    text = whole.run()
    assert "scored" in text
    assert runs() == before
    assert {p: p.read_bytes() for p in written(whole.report)} == reports


# --- killed ------------------------------------------------------------------------------------


def caching(place: Place) -> bool:
    return any(place.cache.glob("images/*/*/rows.i64"))


def training(place: Place) -> bool:
    return any(place.out.glob("*/checkpoints/last.safetensors"))


def unsealed(place: Place) -> bool:
    """Trained, and perhaps predicted."""
    return any(not p.with_name("manifest.json").exists() for p in place.out.glob("*/train.json"))


def scoring(place: Place) -> bool:
    return any(place.out.glob("*/weights.safetensors")) and any(place.out.glob("*/scores.npz"))


def kill_when(place: Place, moment: Callable[[Place], bool], delay: float) -> bool:
    """Whether the process was killed (SIGKILL) before it had ended by itself."""
    process, end = place.start("--until", "score"), time.monotonic() + LIMIT
    while process.poll() is None and time.monotonic() < end:
        if moment(place):
            time.sleep(delay)
            process.kill()
            break
        time.sleep(0.003)
    text, _ = process.communicate(timeout=LIMIT)
    assert process.returncode in (0, -9), text
    return process.returncode == -9


@pytest.mark.slow
def test_killed_and_run_again_it_ends_with_the_same_bytes(whole: Place, tmp_path: Path) -> None:
    place, delays = Place(tmp_path), random.Random(1)
    moments = (caching, training, unsealed, scoring)
    killed = [kill_when(place, m, delays.uniform(0, 0.05)) for m in moments]
    assert sum(killed) >= 2, "the machine was too fast to be killed in the act"
    place.run("--until", "score")
    assert place.sealed() == whole.sealed()


# --- two at a time -----------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Place, list[subprocess.Popen[str]]]]:
    place = Place(tmp_path)
    processes = [place.start("--until", "score") for _ in range(2)]
    yield place, processes
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_two_processes_on_one_folder(
    whole: Place, two: tuple[Place, list[subprocess.Popen[str]]]
) -> None:
    place, processes = two
    texts = [process.communicate(timeout=LIMIT)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], texts
    assert place.sealed() == whole.sealed()


@pytest.mark.slow
def test_a_helper_changes_no_result(whole: Place, tmp_path: Path) -> None:
    place = Place(tmp_path)
    text = place.run("--only", "BASE,d", "--jobs", "2")
    assert "[7/7] d: BLEU-4" in text or "[7/7] BASE: BLEU-4" in text
    sealed = place.sealed()
    assert {run: sealed[run] for run in whole.sealed()} == whole.sealed()
    assert (place.report / "README.md").stat().st_size
