"""Every command that README, docs and guides show is one that the program takes.

Those that take seconds on the embedded data are run as they stand, with files and names in place of
the words in capitals; of the rest it is said here why not, and they are parsed.
"""

from __future__ import annotations

import argparse
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from bench.__main__ import VERBS, main

ROOT = Path(__file__).parents[1]
FILES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md")),
         ROOT / "leaderboards" / "PROTOCOL.md", ROOT / "examples" / "README.md")  # fmt: skip
PLACEHOLDER = re.compile(r"\b[A-Z][A-Z0-9_]+\b|\.\.|\b[AB]\b")  # FILE, NAME, A1,A2,..

# What is shown: what is run ("" = as it stands). Trainings are planned and not trained.
RUN = {
    "bench doctor": "",
    "bench list": "",
    "bench plot --list": "",
    "bench weights list": "",
    "bench table table2 --board leaderboards/v0": "",
    "bench table TABLE": "bench table table2 --board leaderboards/v0",
    "bench score FILE --references FILE": "bench score {reports} --references {references}",
    "bench score FILE.csv --metrics NAME": "bench score {both} --metrics BLEU",
    "bench label FILE --why": "bench label {reports} --why",
    "bench label FILE": "bench label {reports} --why",
    "bench reproduce RUN": "bench reproduce {run} --out leaderboards/v0/runs",
    "bench data check NAME": "bench data check synthetic",
    "bench status ablations --out /shared/runs": "bench status ablations --out {place}",
    "bench run ablations": "bench run ablations --dry-run",
    "bench run ablations --dry-run": "",
}  # fmt: skip
DATA = "needs IU X-ray or MIMIC-CXR, which CI has not"
CHECK = ".ci/run runs it, and tests/test_check.py"
LONG = "more than seconds: "
PLANNED = "another suite is run here; tests/test_suite.py and test_plan.py plan all of them"
LEFT = {
    "bench check": CHECK,
    "bench check --accept": CHECK,
    "bench check --same-numbers": CHECK,
    "bench report ablations --format html": LONG + "tests/test_page.py and test_report.py write it",
    "bench table claims": LONG + "tests/test_claims.py",
    "bench table claims --board leaderboards/v0": LONG + "tests/test_claims.py",
    "bench plot NAME": LONG + "tests/test_figures.py",
    "bench run table1 --dry-run": PLANNED,
    "bench run mgca": PLANNED,
    "bench run NAME --dry-run": PLANNED,
    "bench run SUITE --dry-run": PLANNED,
    "bench run NAME --smoke": PLANNED,
    "bench run single model=NAME": PLANNED,
    "bench run single model=NAME --smoke": "tests/test_adding.py",
    "bench run single model=base dataset=NAME dataset.sample=64 --smoke": "tests/test_adding.py",
    "bench plot": LONG + ".ci/wheel draws all",
    "bench plot NAME [SUITE] [dataset=NAME]": "a form, not a command",
    "bench score ... --explain": "tests/test_scoring.py",
    "bench power claims --difference .05": LONG + "tests/test_power_command.py",
    "bench compare A B": "tests/test_compare_command.py",
    "bench verify --rescore --rerun 20": LONG + "tests/test_verify.py",
    "bench verify RUN --rerun 20 --rescore": LONG + "tests/test_verify.py",
    "bench verify --rescore": LONG + "tests/test_verify.py",
    "bench verify --rerun 20": LONG + "tests/test_verify.py",
    "bench verify --images": "tests/test_mimic_partial.py",
    "bench pretrain mgca": LONG + "tests/test_mgca_image.py trains it",
    "bench run encoders": "needs weights that CI has not",
    "bench pretrain mgca dataset=iu_xray budget=iu size=iu": DATA,
    "bench data check iu_xray": DATA,
    "bench run claims dataset=iu_xray_folds dataset.fold=all $IU": DATA,
    "bench board publish claims dataset=iu_xray_folds dataset.fold=all $IU": DATA,
    "bench report claims dataset=iu_xray_folds": DATA,
    "bench table claims --board leaderboards/v0 dataset=iu_xray_folds": DATA,
    "bench run claims --only BASE,UAR,a,b,c,d,uniform,normal,no_gate,addition "
    "dataset=iu_xray_folds dataset.fold=all $IU $LONG": DATA,
    "bench report claims dataset=iu_xray_folds --board leaderboards/v0-long": DATA,
    "bench report decoding dataset=iu_xray --board leaderboards/v0-decoding": DATA,
    "bench board publish claims dataset=iu_xray_folds dataset.fold=all $IU $LONG "
    "--board leaderboards/v0-long": DATA,
    "bench run claims --only BASE,UAR,a,d,e,R2Gen,R2GenCMN --seeds 5 dataset=iu_xray $IU "
    "$LONG": DATA,
    "bench board publish claims --seeds 5 dataset=iu_xray $IU $LONG": DATA,
    "bench report claims dataset=iu_xray": DATA,
    "bench table claims --board leaderboards/v0 dataset=iu_xray": DATA,
    "bench power claims --board leaderboards/v0 dataset=iu_xray": DATA,
    "bench run decoding dataset=iu_xray $IU $LONG": DATA,
    "bench board publish decoding dataset=iu_xray $IU $LONG "
    "--board leaderboards/v0-decoding": DATA,
    "bench perf models": LONG + "tests/test_perf.py",
    "bench run ablations dataset=iu_xray budget=tiny": DATA,
    "bench score FILE dataset=iu_xray": DATA,
    "bench data check mimic_cxr": DATA,
    "bench data check mimic_cxr --images": DATA,
    "bench data prepare mimic_cxr": DATA,
    "bench run table1 dataset=mimic_cxr budget=paper_mimic": DATA,
    "bench weights add NAME FILE": "tests/test_weights.py",
    "bench weights add bertscore-distilroberta-base FOLDER/model.safetensors":
        "needs weights that CI has not",
    "bench run ablations --jobs 8 --launcher submitit --launcher-option slurm_partition=gpu "
    "--launcher-option gpus_per_node=1 --out /shared/runs --cache /shared/cache":
        "needs Slurm; tests/test_launch.py",
    "bench run ablations --jobs 8 --launcher ray --launcher-option num_gpus=1":
        "needs Ray; tests/test_launch.py",
    "bench doctor --device cuda": "needs a GPU; tests/test_selftest.py",
    "bench board retract RUN --reason ...": "changes a board; tests/test_publish.py",
    "bench board diff REV": "tests/test_publish.py",
    "bench board validate": CHECK,
    "bench list models": "tests/test_examples.py",
    "bench run single model=tiny_captioner": "tests/test_examples.py",
    "bench report single model=tiny_captioner --out runs": "tests/test_examples.py",
}  # fmt: skip


def commands(path: Path) -> list[str]:
    """`bench ...` in code, inline or in blocks, without comments."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.S)
             for line in block.splitlines()]  # fmt: skip
    lines += re.findall(r"`(bench [^`]+)`", text)
    parts = [part.partition(" #")[0] for line in lines for part in line.split("&&")]
    found = [" ".join(part.split()).removeprefix("python -m ") for part in parts]
    return [x for x in found if x.startswith("bench ")]


def called(path: Path) -> list[str]:
    """The commands that are more than a verb's name, or that stand in RUN or LEFT."""
    found = [c for c in commands(path) if not PLACEHOLDER.fullmatch(c.split()[1])]
    return [c for c in found if len(c.split()) > 2 or c in RUN or c in LEFT]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_shown_commands_are_taken(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in commands(path):
        _, verb, *rest = shlex.split(re.sub(r"[|>].*", "", command))
        if PLACEHOLDER.fullmatch(verb):
            continue
        assert verb in VERBS, command
        parser = argparse.ArgumentParser(exit_on_error=False)
        import_module(VERBS[verb][0]).add_arguments(parser)
        if not rest or PLACEHOLDER.search(command) or "--help" in rest:  # named, not called
            continue
        try:
            parser.parse_intermixed_args(rest)
        except (SystemExit, argparse.ArgumentError) as error:
            pytest.fail(f"{command}: {error} {capsys.readouterr().err}")


def test_each_shown_command_is_run_or_it_is_said_why_not() -> None:
    shown = {command for path in FILES for command in called(path)}
    assert shown - set(RUN) - set(LEFT) == set()
    assert set(RUN) | set(LEFT) <= shown, "no longer shown"
    for reason in LEFT.values():
        for name in re.findall(r"test_\w+\.py", reason):
            assert (ROOT / "tests" / name).exists(), reason


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files and names for the words in capitals."""
    place = tmp_path_factory.mktemp("shown")
    said, asked = "the heart is enlarged . no effusion .", "The heart is enlarged."
    (place / "reports.csv").write_text(f"study_id,report\na,{said}\nb,{said}\n")
    (place / "references.csv").write_text(f"study_id,report\na,{asked}\nb,No effusion.\n")
    (place / "both.csv").write_text(f"study_id,prediction,reference\na,{said},{asked}\n")
    run = next(p.name for p in sorted((ROOT / "leaderboards/v0/runs").iterdir()))
    names = {name: str(place / f"{name}.csv") for name in ("reports", "references", "both")}
    return {**names, "place": str(place), "run": run}


@pytest.mark.parametrize("command", sorted({text or shown for shown, text in RUN.items()}))
def test_shown_commands_run(
    command: str,
    given: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(ROOT)
    for name in ("BENCH_OUT", "BENCH_CACHE"):
        monkeypatch.setenv(name, str(Path(given["place"]) / name))
    monkeypatch.delenv("BENCH_DATA", raising=False)
    _, *arguments = shlex.split(command.format(**given))
    assert main(arguments) == 0, capsys.readouterr().err
    assert capsys.readouterr().out.strip()


def test_the_readme_shows_commands() -> None:
    assert len(commands(ROOT / "README.md")) > 10


def test_no_page_waits_for_a_number() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    assert [p.name for p in pages if re.search(r"@[A-Z][A-Z0-9_]*@", p.read_text())] == []
