"""Folds: every study tested once, nothing shared between the splits of one."""

from __future__ import annotations

import csv
import gzip
import io
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.config import load_yaml
from bench.data import iu_xray, manifest
from bench.data.check import check_iu_xray
from bench.data.divide import even_parts, folds
from bench.data.manifest import Entry, Manifest
from bench.errors import BenchError
from bench.scripts.iu_xray_manifests import build_folds, folds_csv, write

NAME = iu_xray.FOLDED
# They enter every run's identity: whoever changes one opens a new protocol version.
DIGESTS = ["5be94d3a", "5fb96819", "1315d7b4", "6daa20ba", "c5aa7a57"]
SHIPPED = manifest.FOLDER / f"{NAME}.split.csv.gz"


def made(rows: list[tuple[int, int]]) -> Manifest:
    """Studies of (text, patient)."""
    return Manifest(
        tuple(Entry(f"s{n}", f"p{p}", "", f"t{t}", ()) for n, (t, p) in enumerate(rows))
    )


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 80)), min_size=1, max_size=120),
    st.integers(2, 6),
    st.text(max_size=3),
)
def test_folds_test_each_study_once_and_share_nothing(
    rows: list[tuple[int, int]], count: int, seed: str
) -> None:
    given_rows = made(rows)
    strata = {e.study: "normal" if n % 3 else "abnormal" for n, e in enumerate(given_rows.entries)}
    found = folds(given_rows, strata, count, seed)
    assert found == folds(given_rows, strata, count, seed)
    assert len(found) == count
    for e in given_rows.entries:
        assert [fold[e.study] for fold in found].count("test") == 1
        assert [fold[e.study] for fold in found].count("val") <= 1
    for fold in found:
        for key in ("text", "patient"):
            seen: dict[str, str] = {}
            for e in given_rows.entries:
                assert seen.setdefault(getattr(e, key), fold[e.study]) == fold[e.study]


def test_parts_are_even_in_each_stratum_and_follow_the_seed() -> None:
    rows = [(n if n % 5 else 0, n) for n in range(400)]  # one report that 80 studies share
    given_rows = made([(n if n % 5 else n % 40, n) for n, _ in rows])
    strata = {
        e.study: "normal" if int(e.study[1:]) % 5 == 0 else "other" for e in given_rows.entries
    }
    parts = even_parts(given_rows, strata, 4, "a")
    for stratum in ("normal", "other"):
        sizes = Counter(parts[i] for i, s in strata.items() if s == stratum)
        assert max(sizes.values()) - min(sizes.values()) <= 10
    assert parts != even_parts(given_rows, strata, 4, "b")


def test_shipped_folds() -> None:
    """Regenerate with `bench.scripts.iu_xray_manifests.write_manifests`."""
    assert load_yaml("dataset", NAME)["folds"] == iu_xray.FOLDS == 5
    found = [iu_xray.named_manifest(NAME, fold) for fold in iu_xray.folds_of(NAME)]
    tested = Counter(e.study for fold in found for e in fold.entries if e.split == "test")
    assert tested == Counter({e.study: 1 for e in manifest.load("iu_xray").entries})
    for fold in found:
        assert fold.counts() == pytest.approx({"train": 2068, "val": 296, "test": 591}, abs=2)
        for of in (lambda e: e.text, lambda e: e.patient):
            splits = [{of(e) for e in fold.entries if e.split == s} for s in fold.counts()]
            assert not any(a & b for a, b in combinations(splits, 2))
    assert len({fold.digest for fold in found} | {manifest.load("iu_xray").digest}) == 6
    assert [fold.digest[:8] for fold in found] == DIGESTS


def test_shipped_folds_hold_no_text() -> None:
    rows = list(csv.DictReader(io.StringIO(gzip.decompress(SHIPPED.read_bytes()).decode())))
    assert list(rows[0]) == ["study", *(f"fold{f}" for f in range(5))]
    assert {v for row in rows for k, v in row.items() if k != "study"} == {"train", "val", "test"}
    assert [r["study"] for r in rows] == [e.study for e in manifest.load("iu_xray").entries]


@pytest.mark.parametrize(
    ("name", "fold", "said"),
    [
        (NAME, None, "iu_xray_folds: no fold, and its folds are 0 to 4"),
        (NAME, 5, "fold 5, and its folds are 0 to 4"),
        (NAME, "1", "fold 1, and its folds are 0 to 4"),
        ("iu_xray", 0, "iu_xray has no folds, but fold 0 is asked for"),
    ],
)
def test_a_wrong_fold_is_named(name: str, fold: int, said: str) -> None:
    with pytest.raises(BenchError, match=said):
        iu_xray.named_manifest(name, fold)


@pytest.mark.real
def test_real_folds_regenerate_byte_for_byte(real: Path, tmp_path: Path) -> None:
    base = manifest.load("iu_xray")
    write(tmp_path / "again", folds_csv(base, build_folds(base, iu_xray.load(real))))
    assert (tmp_path / "again").read_bytes() == SHIPPED.read_bytes()


@pytest.mark.real
def test_real_folds_share_nothing(real: Path) -> None:
    report = check_iu_xray(real, NAME)
    figures = report.figures()
    assert report.status == "warn"  # byte-identical files of the release, all known
    assert figures["tested.once"] == 2955
    assert figures["identical images.across_splits"] == 0
    for fold in range(5):
        assert figures[f"fold {fold}.reports"] == figures[f"fold {fold}.patients"] == 0
        shares = [figures[f"fold {fold}.normal_{s}"] for s in ("train", "val", "test")]
        assert max(shares) - min(shares) < 0.02
    assert 0.5 < figures["overlap.least"] < figures["overlap.most"] < 0.8
