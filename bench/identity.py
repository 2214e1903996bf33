"""Which code made a number: the digest of exactly that source which can change it.

A run's numbers follow from what its spec holds and from code. The code is what the stages of a run
(`TRAINING`, `FLOORS`) and the model's own module import, directly or not, wherever they lie. Left
out is what cannot reach a number (`SETTLED`, with reasons) and what is only imported for types.

A change of that code that changes no number would make every published row look like another
program's. `conf/same_numbers.csv` records such changes, each shown by repeated trainings and equal
reports (`bench check --same-numbers`, leaderboards/PROTOCOL.md); `code_digest` then goes on giving
the digest that the published rows have.
"""

from __future__ import annotations

import ast
import csv
import hashlib
import importlib.util
import io
import sys
import sysconfig
import tokenize
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from bench.errors import BenchError
from bench.spec import PartSpec, RunSpec
from bench.targets import OWN, import_paths

# What computes a trained run: first weights, batches and steps; then its test reports.
TRAINING = ("bench.runs.training", "bench.runs.prediction")  # `execute` only calls them
FLOORS = ("bench.runs.floors",)
# Modules of the harness that these import and that cannot change a number: a change in one of
# them, or in what it imports, leaves every run what it is.
SETTLED = {
    "bench": "the version",
    "bench.config": "what YAML says is in the spec",
    "bench.data.manifest": "the manifest's digest is in the spec",
    "bench.errors": "texts of errors",
    "bench.files": "how files are written",
    "bench.metrics.predictions": "how files of reports are read",
    "bench.metrics.registry": "which class a name stands for; a labeler's own module counts",
    "bench.provenance": "goes to env.json",
    "bench.settings": "what is refused",
    "bench.store": "how files are written; their digests are sealed",
    "bench.targets": "which import paths are followed",
    "bench.terminal": "what is shown",
    "bench.weights": "the files' digests are in the spec",
}
INSTALLED = frozenset({"site-packages", "dist-packages"})  # where distributions are, everywhere
SAME_NUMBERS = Path(__file__).parent / "conf" / "same_numbers.csv"


def code_of(spec: RunSpec, first: bool = True) -> str:
    """The code digest that a plan would give this run now; not `first`: of the code as it is,
    whatever is recorded as of the same numbers."""
    parts = [spec.model, *([spec.tokenizer] if spec.tokenizer else [])]
    labeler = str(spec.model.params.get("labeler", "")) if spec.kind == "floor" else ""
    return run_code(spec.kind, *parts, data=spec.data.target, labeler=labeler, first=first)


def run_code(kind: str, *parts: PartSpec, data: str, labeler: str = "", first: bool = True) -> str:
    """Digest of the code of a run: its stages, the modules of its parts, and of a foreign reader.

    A part's modules are its target's and those that its parameters name ("my_pkg.cnn.Net").
    `labeler`: signature of the labeler that a floor reads reports with. The project's own readers
    do not count: the manifest in the spec holds what they read.
    """
    modules = [part.target.rpartition(".")[0] for part in parts]
    modules += [name for part in parts for name in named(part.params)]
    # Pretrainings and trials write no reports.
    modules += {"floor": FLOORS, "train": TRAINING}.get(kind, TRAINING[:1])
    if data.partition(".")[0] not in OWN:
        modules.append(data.rpartition(".")[0])
    if labeler:
        from bench.metrics import registry

        modules.append(type(registry.load(labeler.partition("|")[0])).__module__)
    return code_digest(*modules, first=first)


def named(value: object) -> Iterator[str]:
    """Modules of import paths among parameters: the project's, or local ones."""
    for found in import_paths(value):
        module = found.rpartition(".")[0]
        path = source(module, needed=False)
        if path is not None and (module.partition(".")[0] in OWN or _is_local(path)):
            yield module


def code_digest(*modules: str, first: bool = True) -> str:
    """sha256 over the source that `modules` import, directly or not; comments do not count.

    Of digests that are recorded as of the same numbers it is the one that came `first`. BenchError
    for a module that has no Python source: what cannot be read cannot be told from a changed one.
    """
    total = hashlib.sha256()
    for name, path in sorted(closure(*modules).items()):
        total.update(f"{name}\n".encode())
        total.update(code_lines(path).encode())
    found = total.hexdigest()
    return first_of(found) if first else found


def first_of(digest: str) -> str:
    """The first digest known for the numbers of this one; itself where none is recorded."""
    return _first(SAME_NUMBERS).get(digest, digest)


@cache
def _first(path: Path) -> Mapping[str, str]:
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        before = {row["code"]: row["same_as"] for row in csv.DictReader(file)}
    first: dict[str, str] = {}
    for code in before:
        seen = [code]
        while (older := before.get(seen[-1])) is not None and older not in seen:
            seen.append(older)
        first[code] = seen[-1]
    return first


# --- which modules ------------------------------------------------------------------------------


def closure(*modules: str) -> dict[str, Path]:
    """Module name -> source file of all that `modules` run with, `SETTLED` left out."""
    found: dict[str, Path] = {}
    todo = [(name, True) for name in modules]
    own = {*OWN, *(name.partition(".")[0] for name in modules)}
    while todo:
        name, needed = todo.pop()
        if name in found or name in SETTLED:
            continue
        path = source(name, needed)
        if path is None or not (name.partition(".")[0] in own or _is_local(path)):
            continue
        found[name] = path
        parents = [name[:i] for i, letter in enumerate(name) if letter == "."]
        todo += [(n, False) for n in (*parents, *imports(name, path))]
    return found


def source(module: str, needed: bool = True) -> Path | None:
    """The source file of a module, found without importing anything; None: it is not a module.

    `needed`: whether a missing one is an error. One without Python source always is.
    """
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return _missing(module, needed)
    if top in sys.stdlib_module_names:
        return None
    folders = [Path(p) for p in spec.submodule_search_locations or ()]
    if not rest and not folders:
        return _python(module, Path(spec.origin or ""))
    for part in rest[:-1]:
        folders = [folder / part for folder in folders]
    return _inside(module, folders, rest[-1] if rest else "__init__", needed)


def _inside(module: str, folders: list[Path], name: str, needed: bool) -> Path | None:
    for folder in folders:
        for path in (folder / name / "__init__.py", folder / f"{name}.py"):
            if path.is_file():
                return path
        if compiled := [p for p in folder.glob(f"{name}.*") if p.suffix in (".so", ".pyd", ".pyc")]:
            return _python(module, compiled[0])
        if name == "__init__" or (folder / name).is_dir():
            return None  # a namespace package: it runs nothing
    return _missing(module, needed)


def _python(module: str, path: Path) -> Path:
    if path.suffix != ".py" or not path.is_file():
        raise BenchError(
            f"{module} has no Python source ({path.name or 'built in'}), so its numbers cannot be "
            "told from those of a changed version",
            "give the package with its .py files",
        )
    return path


def _missing(module: str, needed: bool) -> Path | None:
    if not needed:
        return None
    raise BenchError(
        f"no module {module!r} was found",
        "`_target_` must be an importable path: run `python -m bench` from the folder that holds "
        "the package, install it, or set PYTHONPATH",
    )


def _is_local(path: Path) -> bool:
    """Whether a file is neither Python's own nor an installed distribution's."""
    if INSTALLED.intersection(path.parts):  # a virtual environment may see another one's, too
        return False
    return not any(path.is_relative_to(sysconfig.get_path(k)) for k in ("stdlib", "platstdlib"))


def imports(module: str, path: Path) -> tuple[str, ...]:
    """Names that a file imports when it runs: modules, and what may be modules."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return _imports(path, package)


@cache
def _imports(path: Path, package: str) -> tuple[str, ...]:
    names: list[str] = []
    for node in runtime_nodes(ast.parse(_text(path))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, package)
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return tuple(dict.fromkeys(names))


def _base(node: ast.ImportFrom, package: str) -> str:
    """The absolute name of what a `from` import imports from."""
    parts = package.split(".")
    above = parts[: len(parts) + 1 - node.level] if node.level else []
    return ".".join([*above, *([node.module] if node.module else [])])


def runtime_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Every node but those under `if TYPE_CHECKING`, which never run."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and _is_type_checking(child.test):
            for other in child.orelse:
                yield other
                yield from runtime_nodes(other)
            continue
        yield child
        yield from runtime_nodes(child)


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"


# --- which lines --------------------------------------------------------------------------------


@cache
def code_lines(path: Path) -> str:
    """The source without comments, docstrings and blank lines.

    Cut out of the text, since a dump of the syntax tree is another in each version of Python.
    """
    text = _text(path)
    lines = text.split("\n")
    inside: set[int] = set()  # lines that end within a string: every blank of theirs counts
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        (row, column), (end, _) = token.start, token.end
        if token.type == tokenize.COMMENT:
            lines[row - 1] = lines[row - 1][:column]
        elif "\n" in token.string.rstrip("\n"):
            inside.update(range(row, end))
    for start, stop in _docstrings(text):
        inside.difference_update(range(start[0], stop[0]))
        _cut(lines, start, stop)
    kept = ((i, line) for i, line in enumerate(lines, start=1))
    return "\n".join(x if i in inside else x.rstrip() for i, x in kept if i in inside or x.strip())


def _text(path: Path) -> str:
    try:
        with tokenize.open(path) as file:  # in the encoding that the file declares
            text = file.read()
        ast.parse(text)
    except (SyntaxError, UnicodeDecodeError, OSError) as error:
        raise BenchError(f"{path} is not Python source: {error}", "mend the file") from None
    return text


Place = tuple[int, int]  # line from 1, column from 0


def _cut(lines: list[str], start: Place, stop: Place) -> None:
    """Remove what stands between two places."""
    (first, left), (last, right) = start, stop
    rest = lines[last - 1][right:]
    lines[first - 1] = lines[first - 1][:left] + rest
    lines[first:last] = [""] * (last - first)


def _docstrings(text: str) -> Iterator[tuple[Place, Place]]:
    """Where each docstring begins and ends."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    lines = text.split("\n")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            found = node.body[0]
            last = found.end_lineno or found.lineno
            yield (
                (found.lineno, _column(lines[found.lineno - 1], found.col_offset)),
                (last, _column(lines[last - 1], found.end_col_offset or 0)),
            )


def _column(line: str, offset: int) -> int:
    """The parser counts bytes of UTF-8."""
    return len(line.encode()[:offset].decode())
