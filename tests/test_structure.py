"""The import rule of the design, read from the source; and what stays light when it is imported."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from bench.__main__ import VERBS

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("baselines", "uar", "mgca")

# Lowest first. A module may import its own layer and those above it in this list, never below.
# An entry stands for a module and all that is inside it; the longest entry that fits decides.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("bench", "bench.errors"),
    ("bench.spec", "bench.model", "bench.terminal", "bench.provenance"),
    ("bench.store", "bench.suite", "bench.weights"),
    ("bench.seal",),
    (
        "bench.data",
        "bench.budget",
        "bench.build",
        "bench.flops",
        "bench.checkpoint",
        "bench.optimise",
    ),
    ("bench.metrics", "bench.decode", "bench.datasets"),
    ("bench.stats", "bench.strata", "bench.controls", "bench.workspace", "bench.labeler"),
    ("bench.metrics.rules_mesh", "bench.labels"),  # the first: a program on intervals
    ("bench.train", "bench.compare"),
    ("bench.execute",),
    ("bench.assess", "bench.plan"),
    ("bench.board", "bench.verify"),
    ("bench.leaderboard", "bench.reporting"),
    ("bench.reporting.contrast", "bench.reporting.tables"),
    ("bench.reporting.summary",),
    ("bench.reporting.plots", "bench.reporting.sections", "bench.reporting.costs"),
    ("bench.reporting.clinical_tables", "bench.reporting.rescored"),
    ("bench.reporting.plots_clinical", "bench.reporting.claims"),
    ("bench.reporting.folder", "bench.reporting.curves", "bench.reporting.reconstructions"),
    ("bench.transfer", "bench.reporting.page"),
    ("bench.job",),
    ("bench.run",),
    ("bench.weights_fetch", "bench.perf", "bench.perf.models", "bench.perf.oracle"),
    ("bench.perf.mgca",),
    ("a verb",),
    ("bench.__main__",),
)
TENSORS = (
    "bench.data.batches", "bench.data.codes", "bench.checkpoint", "bench.optimise",
    "bench.decode", "bench.train", "bench.metrics.chexbert_model",
    "bench.metrics.tensors",
    "bench.flops", "bench.perf.models", "bench.perf.oracle", "bench.perf.mgca",
)  # fmt: skip
HEAVY = ("torch", "torchvision", "transformers", "pandas", "matplotlib", "pycocoevalcap")


def modules(*packages: str) -> dict[str, Path]:
    found = {}
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(p for p in parts if p != "__init__")] = path
    return found


BENCH = modules("bench")


def runtime_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Every node but those under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        test = child.test if isinstance(child, ast.If) else None
        if isinstance(test, ast.Name) and test.id == "TYPE_CHECKING":
            continue
        yield child
        yield from runtime_nodes(child)


@cache
def imports(path: Path) -> frozenset[str]:
    """Modules (and names in them) that a file imports when it runs, at any depth."""
    names: set[str] = set()
    for node in runtime_nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import (the code digest does not follow it)"
            names |= {node.module or ""} | {f"{node.module}.{a.name}" for a in node.names}
    return frozenset(names)


def own_modules(path: Path) -> set[str]:
    """Modules of bench that a file imports; `from bench.data import check` is bench.data.check."""
    named = {name for name in imports(path) if name in BENCH}
    return {n for n in named if not any(m.startswith(f"{n}.") for m in named)}


def layer(module: str) -> int:
    """The place of the module, or of the nearest package around it; of a verb, before the last."""
    places = {entry: i for i, names in enumerate(LAYERS) for entry in names}
    if module not in places and module in {target for target, _ in VERBS.values()}:
        return places["a verb"]
    entry = module
    while entry not in places:
        entry = entry.rpartition(".")[0]
    assert module == entry or entry != "bench", f"{module} has no place in LAYERS: give it one"
    return places[entry]


@pytest.mark.parametrize("package", MODELS)
def test_model_packages_know_nothing_of_the_harness(package: str) -> None:
    for name, path in modules(package).items():
        foreign = {n for n in imports(path) if n.partition(".")[0] == "bench"}
        assert not foreign, f"{name} imports {foreign}"


def test_the_harness_imports_no_model_package() -> None:
    for name, path in BENCH.items():
        foreign = {n for n in imports(path) if n.partition(".")[0] in MODELS}
        assert not foreign, f"{name} imports {foreign}"


@pytest.mark.parametrize("name", BENCH)
def test_no_arrow_back(name: str) -> None:
    mine = layer(name)
    back = {n for n in own_modules(BENCH[name]) if layer(n) > mine}
    assert not back, f"{name} imports {sorted(back)}, which stand above it"


def test_no_cycle() -> None:
    graph = {name: own_modules(path) - {name} for name, path in BENCH.items()}
    while free := {name for name, targets in graph.items() if not targets & set(graph)}:
        graph = {name: targets for name, targets in graph.items() if name not in free}
    assert not graph, f"these import one another: {graph}"


def in_fresh_python(code: str) -> str:
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_starts_without_heavy_packages() -> None:
    loaded = in_fresh_python(
        "import sys, bench\n"
        "print('BENCH', *sys.modules)\n"
        "import bench.__main__ as m\n"
        "m.main(['--help']); m.main(['list', 'suites'])\n"
        "print('MAIN', *sys.modules)"
    ).splitlines()
    package, program = (
        set(next(line for line in loaded if line.startswith(word)).split())
        for word in ("BENCH", "MAIN")
    )
    assert not package & {*HEAVY, "numpy", "yaml"}
    assert not program & {*HEAVY, "hydra", "omegaconf"}


def test_scoring_statistics_and_tables_need_no_torch() -> None:
    light = [name for name in BENCH if name not in TENSORS and name != "bench.__main__"]
    code = "import sys\nfrom importlib import import_module\n" + "\n".join(
        f"import_module({name!r})\n"
        f"bad = [h for h in {HEAVY!r} if h in sys.modules]\n"
        f"assert not bad, ({name!r}, bad)"
        for name in light
    )
    in_fresh_python(code)


def test_every_verb_has_its_two_functions() -> None:
    for verb, (module, text) in VERBS.items():
        source = ast.parse(BENCH[module].read_text(encoding="utf-8"))
        functions = {n.name for n in source.body if isinstance(n, ast.FunctionDef)}
        assert {"add_arguments", "run"} <= functions, verb
        assert text
