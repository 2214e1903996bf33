"""Which code counts for a run's identity: on a project made here, on packages outside, for real."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench import identity
from bench.errors import BenchError
from bench.identity import FLOORS, SETTLED, TRAINING, closure, code_digest, first_of, run_code
from bench.spec import PartSpec

FILES = {
    "mine/__init__.py": "",
    "mine/train.py": "from mine.deep import Step\nimport os\n\ndef train():\n    return Step\n",
    "mine/deep/__init__.py": "from mine.deep.step import Step\n",
    "mine/deep/step.py": "class Step:\n    size = 1\n",
    "mine/lazy.py": "def f():\n    from mine.late import g\n    return g\n",
    "mine/late.py": "g = 1\n",
    "mine/other.py": "h = 1\n",
    "mine/near.py": "from . import late\nfrom .deep import step\n",
    "mine/typed.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import mine.other\n",
    "beside.py": "k = 1\n",
    "mine/user.py": "import beside\n",
}
Edit = Callable[[str, str], None]


def forget() -> None:
    for kept in (identity._imports, identity.code_lines, identity._first):
        kept.cache_clear()


@pytest.fixture
def edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Edit]:
    """Write a file of a package that lies outside the project, on the path that Python looks in."""

    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        forget()

    monkeypatch.syspath_prepend(str(tmp_path))
    for name, text in FILES.items():
        write(name, text)
    yield write
    forget()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mine/train.py", FILES["mine/train.py"].replace("\n\ndef", "\n# why\n\n\n\ndef")),
        ("mine/train.py", FILES["mine/train.py"].replace("    ret", "    # why\n\n    ret")),
        ("mine/deep/step.py", "# about steps\n\n" + FILES["mine/deep/step.py"] + "\n\n"),
        ("mine/deep/step.py", FILES["mine/deep/step.py"].replace("1\n", "1   \n")),
        ("mine/deep/step.py", FILES["mine/deep/step.py"].replace("1\n", "1  # one\n")),
        ("mine/deep/step.py", '"""Steps.\n\nMany."""\n' + FILES["mine/deep/step.py"]),
        (
            "mine/deep/step.py",
            FILES["mine/deep/step.py"].replace(":\n", ':\n    """A step."""\n\n', 1),
        ),
        ("mine/other.py", "h = 2\n"),
        ("mine/new.py", "x = 1\n"),
    ],
)
def test_comments_and_other_modules_do_not_count(edit: Edit, name: str, text: str) -> None:
    before = code_digest("mine.train")
    edit(name, text)
    assert code_digest("mine.train") == before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mine/train.py", FILES["mine/train.py"].replace("return Step", "return Step()")),
        ("mine/train.py", FILES["mine/train.py"].replace("    return", "  return")),
        ("mine/deep/step.py", "class Step:\n    size = 2\n"),
        ("mine/deep/step.py", 'class Step:\n    size = 1\n    "no docstring here"\n'),
        ("mine/deep/step.py", 'class Step:\n    size = "1  # one"\n'),
        ("mine/deep/__init__.py", "from mine.deep.step import Step as Step\n"),
        ("mine/train.py", FILES["mine/train.py"] + "from mine import other\n"),
        ("mine/__init__.py", "ready = True\n"),
    ],
)
def test_code_counts(edit: Edit, name: str, text: str) -> None:
    before = code_digest("mine.train")
    edit(name, text)
    assert code_digest("mine.train") != before


@pytest.mark.parametrize(
    ("module", "changed"),
    [("mine.lazy", "late"), ("mine.near", "late"), ("mine.near", "deep/step")],
)
def test_imports_count_wherever_they_stand(edit: Edit, module: str, changed: str) -> None:
    before = code_digest(module)
    edit(f"mine/{changed}.py", "g = 2\n")
    assert code_digest(module) != before


def test_imports_for_types_do_not_count(edit: Edit) -> None:
    before = code_digest("mine.typed")
    edit("mine/other.py", "h = 2\n")
    assert code_digest("mine.typed") == before


def test_a_package_beside_it_counts_and_an_installed_one_does_not(edit: Edit) -> None:
    before = code_digest("mine.user")
    edit("beside.py", "k = 2\n")
    assert code_digest("mine.user") != before
    edit("mine/user.py", "import numpy\n")
    assert set(closure("mine.user")) == {"mine", "mine.user"}


def test_a_package_installed_elsewhere_does_not_count(
    edit: Edit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of the environment below, which a virtual environment may see."""
    monkeypatch.syspath_prepend(str(tmp_path / "lib" / "site-packages"))
    edit("mine/user.py", "import distribution\n")
    edit("lib/site-packages/distribution/__init__.py", "k = 1\n")
    before = code_digest("mine.user")
    edit("lib/site-packages/distribution/__init__.py", "k = 2\n")
    assert code_digest("mine.user") == before
    assert set(closure("distribution")) == {"distribution"}  # as a model it does


def test_order_of_modules_does_not_count(edit: Edit) -> None:
    assert code_digest("mine.train", "mine.lazy") == code_digest("mine.lazy", "mine.train")
    assert code_digest("mine.train") != code_digest("mine.lazy")


def test_a_cycle_ends(edit: Edit) -> None:
    edit("mine/late.py", "import mine.lazy\n")
    assert code_digest("mine.late") == code_digest("mine.lazy")


def test_a_module_without_source_is_refused(edit: Edit, tmp_path: Path) -> None:
    (tmp_path / "mine" / "fast.cpython-311-x86_64-linux-gnu.so").write_bytes(b"\x7fELF")
    with pytest.raises(BenchError, match=r"mine\.fast has no Python source"):
        code_digest("mine.fast")
    (tmp_path / "mine" / "fast.pyc").write_bytes(b"")
    edit("mine/user.py", "from mine import fast\n")
    with pytest.raises(BenchError, match=r"mine\.fast has no Python source"):
        code_digest("mine.user")


@pytest.mark.parametrize("name", ["mine.absent", "nowhere.model", "mine.deep.absent"])
def test_an_absent_module_is_named(edit: Edit, name: str) -> None:
    with pytest.raises(BenchError, match=f"no module '{name}' was found"):
        code_digest(name)


def test_code_that_parameters_name_counts(edit: Edit) -> None:
    part = PartSpec("uar.model.UAR", {"backbone": "mine.other.Net", "more": [{"x": "mine.late.g"}]})
    before = run_code("train", part, data=DATA)
    for name in ("other", "late"):
        edit(f"mine/{name}.py", "h = 3\n")
        now = run_code("train", part, data=DATA)
        assert now != before
        before = now
    plain = PartSpec("uar.model.UAR", {"name": "efficientnet-lite0", "file": "torch.nn.Linear"})
    assert run_code("train", plain, data=DATA) == run_code(
        "train", PartSpec(plain.target), data=DATA
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('def f():\n    "doc"; return 1\n', 'def f():\n    "doc"; return 2\n'),
        ('"""doc"""; K = 1\n', '"""doc"""; K = 2\n'),
        ('K = """a\n\nb"""\n', 'K = """a\nb"""\n'),
        ('K = """a  \nb"""\n', 'K = """a\nb"""\n'),
        ('K = "\u2028"  # why\nL = 12\n', 'K = "\u2028"  # why\nL = 13\n'),
        ('"""ä"""; K = 1  # x\n', '"""ä"""; K = 3  # x\n'),
    ],
)
def test_no_code_is_taken_for_a_docstring_or_a_blank(edit: Edit, before: str, after: str) -> None:
    edit("mine/other.py", before)
    first = code_digest("mine.other")
    edit("mine/other.py", after)
    assert code_digest("mine.other") != first


def test_a_file_that_is_not_python_is_named(edit: Edit) -> None:
    edit("mine/other.py", "def f(:\n")
    with pytest.raises(BenchError, match=r"other\.py is not Python source"):
        code_digest("mine.other")


def test_a_foreign_model_and_reader_are_part_of_a_run(edit: Edit) -> None:
    ours = run_code("train", PartSpec("uar.model.UAR"), data="bench.data.iu_xray.load")
    theirs = run_code("train", PartSpec("mine.train.train"), data="bench.data.iu_xray.load")
    read = run_code("train", PartSpec("uar.model.UAR"), data="mine.other.load")
    assert len({ours, theirs, read}) == 3
    edit("mine/train.py", FILES["mine/train.py"] + "more = 1\n")
    edit("mine/other.py", "h = 2\n")
    assert run_code("train", PartSpec("mine.train.train"), data="bench.data.iu_xray.load") != theirs
    assert run_code("train", PartSpec("uar.model.UAR"), data="mine.other.load") != read
    assert run_code("train", PartSpec("uar.model.UAR"), data="bench.data.iu_xray.load") == ours


# --- the project itself --------------------------------------------------------------------------

DATA = "bench.data.synthetic.load"
PARAMS = {"encoder": {"backbone": "mgca.backbone.Backbone", "heads": 2}}
RUNS = {
    "encoder": ("train", "baselines.base.Base", ""),
    "pretraining": ("pretrain", "uar.dvae.DVAE", ""),
    "train": ("train", "uar.model.UAR", ""),
    "floor": ("floor", "baselines.floors.Nearest", ""),
    "labeled floor": ("floor", "baselines.floors.NoFinding", "chexpert-rules|x|v:1"),
}


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The project's packages in another folder, where they can be changed."""
    for package in identity.OWN:
        root = Path(identity.__file__).parents[1] / package
        ignore = shutil.ignore_patterns("__pycache__", "manifests")
        shutil.copytree(root, tmp_path / package, ignore=ignore)

    def there(name: str, needed: bool = True) -> Path | None:
        found = source(name, needed)
        inside = found is not None and found.is_relative_to(root.parent)
        return tmp_path / found.relative_to(root.parent) if inside and found else found

    source = identity.source
    monkeypatch.setattr(identity, "source", there)
    forget()
    yield tmp_path
    forget()


def codes() -> dict[str, str]:
    forget()
    return {
        name: run_code(kind, PartSpec(target, PARAMS.get(name, {})), data=DATA, labeler=labeler)
        for name, (kind, target, labeler) in RUNS.items()
    }


@pytest.mark.parametrize(
    "file",
    ["metrics/registry", "metrics/rouge", "metrics/scoring", "reporting/tables", "commands/run",
     "commands/score", "boards/rows", "stats/infer", "errors", "store", "config",
     "data/iu_xray", "data/registry", "suites/plan", "runs/score", "runs/execute",
     "runs/features", "metrics/image_information"],
)  # fmt: skip
def test_what_cannot_change_a_run_leaves_its_identity(copy: Path, file: str) -> None:
    before = codes()
    path = copy / "bench" / f"{file}.py"
    path.write_text(path.read_text(encoding="utf-8") + "\nMORE = 1\n", encoding="utf-8")
    assert codes() == before


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("bench/runs/training", {"train", "encoder", "pretraining"}),
        ("bench/runs/prediction", {"train", "encoder"}),
        ("bench/runs/information", {"train", "encoder"}),
        ("bench/engine/decode", {"train", "encoder", "pretraining"}),
        ("bench/engine/train", {"train", "encoder", "pretraining"}),
        ("bench/engine/optimiser", {"train", "encoder", "pretraining"}),
        ("bench/data/batches", {"train", "encoder", "pretraining", "floor", "labeled floor"}),
        ("bench/data/images", {"train", "encoder", "pretraining", "floor", "labeled floor"}),
        ("bench/data/text", {"train", "encoder", "pretraining", "floor", "labeled floor"}),
        ("bench/runs/workspace", {"train", "encoder", "pretraining", "floor", "labeled floor"}),
        ("bench/runs/floors", {"floor", "labeled floor"}),
        ("bench/metrics/clinical/rules", {"labeled floor"}),
        ("baselines/floors", {"floor", "labeled floor"}),
        ("baselines/transformer", {"train", "encoder", "pretraining"}),
        ("uar/cra", {"train"}),
        ("mgca/backbone", {"encoder"}),
        ("mgca/resnet", {"encoder"}),
        ("bench/runs/reports", {"train", "encoder", "floor", "labeled floor"}),
        ("bench/metrics/clinical/labeler", {"floor", "labeled floor"}),
    ],
)
def test_what_can_change_a_run_changes_its_identity(
    copy: Path, file: str, changed: set[str]
) -> None:
    before = codes()
    path = copy / f"{file}.py"
    path.write_text(path.read_text(encoding="utf-8") + "\nMORE = 1\n", encoding="utf-8")
    now = codes()
    assert {name for name in now if now[name] != before[name]} == changed


def test_the_code_of_a_training_is_this() -> None:
    """An import that brings more into a run's identity is a decision: add it here, or settle it."""
    found = {name.removeprefix("bench.") for name in closure(*TRAINING)}
    assert found == {
        "canonical", "data", "data.batches", "data.codes", "data.image_store", "data.images",
        "data.leakage", "data.pairings", "data.resize", "data.study", "data.text", "engine",
        "engine.checkpoint",
        "engine.decode", "engine.flops", "engine.meter", "engine.objective", "engine.optimiser",
        "engine.parallel", "engine.records", "engine.stages", "engine.train", "engine.validation",
        "metrics", "metrics.alignment", "metrics.base", "metrics.bleu", "metrics.cider",
        "metrics.ngrams", "model",
        "runs", "runs.information", "runs.prediction", "runs.reports", "runs.training",
        "runs.workspace", "spec",
    }  # fmt: skip


def test_what_is_settled_is_there_and_says_why() -> None:
    for name, reason in SETTLED.items():
        assert identity.source(name) is not None
        assert reason
    everything = {*closure(*TRAINING), *closure(*FLOORS)}
    assert not everything & set(SETTLED)


# --- the same numbers from other code ------------------------------------------------------------


def test_a_recorded_change_keeps_the_identity(
    edit: Edit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "same_numbers.csv"
    monkeypatch.setattr(identity, "SAME_NUMBERS", record)
    first = code_digest("mine.train")
    edit("mine/deep/step.py", "class Step:\n    size = 2 - 1\n")
    second = code_digest("mine.train")
    edit("mine/deep/step.py", "class Step:\n    size = 3 - 2\n")
    third = code_digest("mine.train")
    assert len({first, second, third}) == 3
    record.write_text(f"code,same_as\n{third},{second}\n{second},{first}\n")  # in any order
    forget()
    assert code_digest("mine.train") == first
    assert first_of(second) == first
    assert first_of("unknown") == "unknown"
