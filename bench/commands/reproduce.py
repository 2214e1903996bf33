"""Print the commands that make a run again, what they need, and how the two are compared."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.data.registry import EMBEDDED
from bench.errors import DataError
from bench.identity import code_of
from bench.runs.workspace import RANDOM, default_out, pretraining_of
from bench.spec import RunSpec
from bench.store import PUT_BACK, RUN, RunFolder, find_runs, load_spec, made_in, read_json
from bench.targets import OWN, PACKAGES
from bench.terminal import table

FACTS = ("commit", "python", "cpu", "system", "threads", "device")
PLACE = Path("reproduced")  # a folder of its own: what is sealed is not made again
CODE = PLACE / "code"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="run id, or its beginning")
    parser.add_argument(
        "--out", type=Path, default=default_out(), help="folder of runs, a board's runs too"
    )


def run(arguments: argparse.Namespace) -> int:
    for folder in find_runs(arguments.out, arguments.run):
        spec, made = load_spec(folder), _made(folder)
        print(_needs(spec, made, made_in(folder)))
        print("\n".join(commands(spec, made, folder.path)))
    return 0


def _made(folder: RunFolder) -> Mapping[str, Any]:
    """What env.json says of where a run was made; without one of its facts it is damaged."""
    path = folder / "env.json"
    made = read_json(path)
    if not isinstance(made, dict) or not isinstance(made.get("packages"), dict):
        raise DataError(f"{path} says nothing of packages: it is damaged", PUT_BACK)
    if absent := [name for name in FACTS if name not in made]:
        raise DataError(f"{path} has no {absent[0]}: it is damaged", PUT_BACK)
    return made


def _needs(spec: RunSpec, made: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    versions = " ".join(f"{k}=={v}" for k, v in made.get("packages", {}).items() if v)
    same = "as the code here" if code_of(spec) == spec.code else "not the code here"
    rows = [
        ["code", f"commit {made['commit'] or 'unknown'}, digest {spec.code[:12]}: {same}"],
        ["data", f"{spec.data.name}, manifest {spec.data.manifest[:12]}"],
        ["packages", versions],
        [
            "machine",
            f"{made['cpu'] or made['system']}, {made['threads']} threads, {made['device']}",
        ],
    ]
    if RUN in training:
        where = f"{training['cpu'] or training['system']}, {training['device']}"
        rows.append(
            ["training", f"that of run {training[RUN]}, commit {training['commit']}, {where}"]
        )
    for part, name in spec.model.weights.items():
        rows.append([f"weights {part}", name])
    plain = [[what, plainly(which)] for what, which in rows]
    return table(f"run {spec.run_id}", ["what", "which"], plain)


def plainly(text: str) -> str:
    """In one line, without what a terminal or a shell would take for more than a letter."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _commit(made: Mapping[str, Any]) -> str:
    """The commit that env.json names, "" for none; what is not one is a DataError."""
    commit = str(made.get("commit") or "")
    if commit and not re.fullmatch(r"[0-9a-f]{4,64}(\+dirty)?", commit):
        raise DataError(
            f"env.json names the commit {plainly(commit)[:80]!r}, which is not one",
            "do not trust this run: its files were not written by bench",
        )
    return commit


def commands(spec: RunSpec, made: Mapping[str, Any], folder: Path) -> list[str]:
    """Shell commands, in order; names out of the run's files are quoted."""
    commit = _commit(made)
    # Beside the present checkout, where a board's files may be that the commit does not have.
    lines = [f"git worktree add {CODE} {commit.removesuffix('+dirty')}"] if commit else []
    if commit.endswith("+dirty"):
        lines.append("# the run was made from files that differ from this commit")
    lines.append(f"pip install -e {CODE if commit else '.'}")
    lines += [f"# {line}" for line in _foreign(spec)]
    if spec.data.name != EMBEDDED:
        lines.append(f"bench data check {_quoted(spec.data.name)}  # under $BENCH_DATA")
    used = {**spec.model.weights, **(spec.tokenizer.weights if spec.tokenizer else {})}
    for name in used.values():
        if (pretraining := pretraining_of(name)) is not None:
            lines.append(_execute(folder.parent / pretraining))
        elif name != RANDOM:
            lines.append(f"bench weights verify {_quoted(name.partition('@')[0])}")
    lines.append(_execute(folder))
    lines.append(
        f"bench verify {spec.run_id} --out {PLACE} --against {_quoted(folder.parent)}  "
        "# on a machine of the same kind every result is the same"
    )
    return lines


def _foreign(spec: RunSpec) -> list[str]:
    """What of the run's code and data does not come with the project."""
    targets = [p.target for p in (spec.model, spec.tokenizer) if p] + [spec.data.target]
    packages = dict.fromkeys(plainly(t.partition(".")[0]) for t in targets)
    strange = [name for name in packages if name not in OWN]
    lines = [
        f"{name} is not part of the project: put the folder that holds it on PYTHONPATH"
        for name in strange
    ]
    if spec.data.target.partition(".")[0] not in OWN:
        lines.append(f"put the folder with dataset/{plainly(spec.data.name)}.yaml in BENCH_CONF")
    if strange:
        lines.append(f"their code runs only if you trust it: {PACKAGES}={','.join(strange)}")
    return lines


def _quoted(name: str | Path) -> str:
    return shlex.quote(plainly(str(name)))


def _execute(folder: Path) -> str:
    return f"bench execute {_quoted(folder / 'spec.json')} --out {PLACE}"
