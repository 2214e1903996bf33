"""Print the commands that make a run again, and what they need."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.spec import RunSpec
from bench.store import read_json
from bench.terminal import table
from bench.verify import find_runs, load_spec
from bench.workspace import RANDOM, RUN, default_out


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="run id, or its beginning")
    parser.add_argument("--out", type=Path, default=default_out(), help="folder of the runs")


def run(arguments: argparse.Namespace) -> int:
    for folder in find_runs(arguments.out, arguments.run):
        spec, made = load_spec(folder), read_json(folder / "env.json")
        print(_needs(spec, made))
        print("\n".join(commands(spec, made, folder.path)))
    return 0


def _needs(spec: RunSpec, made: dict[str, object]) -> str:
    packages = made["packages"]
    assert isinstance(packages, dict)
    versions = " ".join(f"{k}=={v}" for k, v in packages.items() if v)
    rows = [
        ["code", f"commit {made['commit'] or 'unknown'}, digest {spec.code[:12]}"],
        ["data", f"{spec.data.name}, manifest {spec.data.manifest[:12]}"],
        ["packages", versions],
        [
            "machine",
            f"{made['cpu'] or made['system']}, {made['threads']} threads, {made['device']}",
        ],
    ]
    for part, name in spec.model.weights.items():
        rows.append([f"weights {part}", name])
    return table(f"run {spec.run_id}", ["what", "which"], rows)


def commands(spec: RunSpec, made: dict[str, object], folder: Path) -> list[str]:
    """Shell commands, in order."""
    commit = str(made["commit"])
    lines = [f"git checkout {commit.removesuffix('+dirty')}"] if commit else []
    if commit.endswith("+dirty"):
        lines.append("# the run was made from files that differ from this commit")
    lines.append("pip install -e .")
    used = {**spec.model.weights, **(spec.tokenizer.weights if spec.tokenizer else {})}
    for name in used.values():
        if name.startswith(RUN):
            pretraining = name.partition("@")[0].removeprefix(RUN)
            lines.append(f"python -m bench execute {folder.parent / pretraining}/spec.json")
        elif name != RANDOM:
            lines.append(f"python -m bench weights verify {name.partition('@')[0]}")
    lines.append(f"python -m bench execute {folder}/spec.json")
    lines.append(f"python -m bench verify {spec.run_id} --rescore")
    return lines
