"""The import rule of the design, read from the source; and what stays light when it is imported."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from bench.__main__ import VERBS
from bench.identity import runtime_nodes

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("baselines", "uar", "mgca")

# The direction rule: a package (or a file of bench/) imports from its own level and from those
# before it, never from one behind it.
DIRECTION = """
errors terminal canonical < files settings < spec config weights targets < store model provenance <
figures data < formats < metrics < stats engine identity < runs < pretraining scripts < suites <
boards perf < reporting < commands < __main__
"""
LEVELS = {name: level for level, names in enumerate(DIRECTION.split("<")) for name in names.split()}
LONGEST = 350  # lines of a file
TENSORS = (
    "bench.data.batches", "bench.data.codes", "bench.engine.checkpoint", "bench.engine.optimiser",
    "bench.engine.decode", "bench.engine.train", "bench.engine.flops",
    "bench.engine.stages", "bench.engine.validation", "bench.engine.parallel",
    "bench.engine.objective",
    "bench.metrics.clinical.chexbert_model", "bench.metrics.clinical.tensors",
    "bench.perf.models", "bench.perf.oracle", "bench.perf.mgca", "bench.perf.elsewhere",
    "bench.perf.selftest", "bench.perf.cost", "bench.perf.pipeline", "bench.perf.trial",
    "bench.perf.shapes",
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


@cache
def imports(path: Path) -> frozenset[str]:
    """Modules (and names in them) that a file imports when it runs, at any depth."""
    names: set[str] = set()
    for node in runtime_nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import (write the whole name)"
            names |= {node.module or ""} | {f"{node.module}.{a.name}" for a in node.names}
    return frozenset(names)


def own_modules(path: Path) -> set[str]:
    """Modules of bench that a file imports; `from bench.data import check` is bench.data.check."""
    named = {name for name in imports(path) if name in BENCH}
    return {n for n in named if not any(m.startswith(f"{n}.") for m in named)}


def room(module: str) -> str:
    """The package of bench, or the file directly in it, that a module belongs to."""
    return module.split(".")[1] if "." in module else "errors"  # bench itself: the version


@pytest.mark.parametrize("package", MODELS)
def test_model_packages_know_nothing_of_the_harness(package: str) -> None:
    for name, path in modules(package).items():
        foreign = {n for n in imports(path) if n.partition(".")[0] == "bench"}
        assert not foreign, f"{name} imports {foreign}"


def test_the_harness_imports_no_model_package() -> None:
    for name, path in BENCH.items():
        foreign = {n for n in imports(path) if n.partition(".")[0] in MODELS}
        assert not foreign, f"{name} imports {foreign}"


def test_every_room_has_its_level() -> None:
    assert {room(name) for name in BENCH} == set(LEVELS)


def test_no_arrow_back() -> None:
    back = [
        f"{name} imports {other}"
        for name, path in BENCH.items()
        for other in sorted(own_modules(path))
        if LEVELS[room(other)] > LEVELS[room(name)]
    ]
    assert not back, back


def test_no_circle_of_rooms() -> None:
    arrows: dict[str, set[str]] = {}
    for name, path in BENCH.items():
        others = {room(other) for other in own_modules(path)} - {room(name)}
        arrows.setdefault(room(name), set()).update(others)
    while free := {name for name, targets in arrows.items() if not targets & set(arrows)}:
        arrows = {name: targets for name, targets in arrows.items() if name not in free}
    assert not arrows, f"these import one another: {arrows}"


def test_no_verb_imports_another() -> None:
    verbs = {module for module, _ in VERBS.values()}
    for verb in verbs:
        assert not (own_modules(BENCH[verb]) & verbs) - {verb}, verb


def test_no_long_file() -> None:
    sources = [p for package in ("bench", *MODELS, "tests") for p in (ROOT / package).rglob("*.py")]
    lengths = {p: len(p.read_text(encoding="utf-8").splitlines()) for p in sources}
    long = {str(p.relative_to(ROOT)): n for p, n in lengths.items() if n > LONGEST}
    assert not long, long


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
