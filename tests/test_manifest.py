"""Manifests: canonical content, the exchangeable division, samples."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data import manifest as manifests
from bench.data.divide import draw, exchangeable
from bench.data.manifest import Entry, Manifest, Rendition, sample, text_hash
from bench.data.study import Dataset, Image, Study
from bench.errors import DataError
from bench.scripts import iu_xray_manifests
from bench.scripts.iu_xray_manifests import splits_csv

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}


def entry(number: int, text: str, patient: str | None = None, split: str = "train") -> Entry:
    images = (Image(f"{number}_a", "frontal"), Image(f"{number}_b", "lateral"))
    return Entry(f"CXR{number}", patient or str(number), split, text, images)


def test_content_round_trips() -> None:
    made = Manifest((entry(2, "b"), entry(1, "a", split="val")))
    assert made.content.splitlines() == [
        "study,patient,split,text,images",
        "CXR2,2,train,b,2_a:frontal 2_b:lateral",
        "CXR1,1,val,a,1_a:frontal 1_b:lateral",
    ]
    assert Manifest.parse(made.content) == made
    rendition = Rendition("png", {"2_a": (10, "ff"), "1_a": (11, "ee")})
    assert Rendition.parse("png", rendition.content) == rendition


def test_digest_follows_every_field() -> None:
    base = Manifest((entry(1, "a"), entry(2, "b")))
    others = [
        Manifest((entry(2, "b"), entry(1, "a"))),
        Manifest((entry(1, "a"), entry(2, "c"))),
        Manifest((entry(1, "a"), entry(2, "b", patient="1"))),
        Manifest((entry(1, "a"), entry(2, "b", split="test"))),
    ]
    assert len({m.digest for m in [base, *others]}) == 5


def test_text_hash_is_of_the_cleaned_text() -> None:
    assert text_hash("Clear  Lungs.", "iu") == text_hash("clear lungs .", "iu")
    assert text_hash("Clear lungs.", "iu") != text_hash("Clear lung.", "iu")


def test_files_have_no_time_stamp(tmp_path: Path) -> None:
    for name in ("a", "b"):
        iu_xray_manifests.write(tmp_path / name, "study\n")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_shipped_manifests() -> None:
    """The digests enter every run's identity: whoever changes one opens a new protocol version.

    Regenerate with `bench.scripts.iu_xray_manifests.write_manifests`.
    """
    base = manifests.load("iu_xray")
    assert base.counts() == {"train": 2069, "val": 296, "test": 590}
    assert base.digest == "95022bc935500451fae8301fa43b792d81d5ed318761015f200146c3075c7f38"
    (rendition,) = manifests.renditions("iu_xray")
    assert rendition.name == "256-jpg"
    assert set(rendition.files) == {i.key for e in base.entries for i in e.images}
    views = Counter(tuple(i.view for i in e.images) for e in base.entries)
    assert views[("frontal", "lateral")] == 2943
    assert sum(views.values()) == 2955


def test_shipped_division_is_exchangeable() -> None:
    base = manifests.load("iu_xray")
    divided = base.resplit(manifests.load_splits("iu_xray_exchangeable"))
    counts = divided.counts()
    for split, share in SHARES.items():
        assert counts[split] / 2955 == pytest.approx(share, abs=0.01)
    texts: dict[str, set[str]] = {}
    for e in divided.entries:
        texts.setdefault(e.text, set()).add(e.split)
    assert all(len(splits) == 1 for splits in texts.values())


def test_resplit_must_cover_the_studies() -> None:
    with pytest.raises(DataError, match="does not cover"):
        Manifest((entry(1, "a"),)).resplit({"CXR2": "train"})
    with pytest.raises(DataError, match="no manifest"):
        manifests.load("chexpert")


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 60), st.booleans()), min_size=1, max_size=120
    ),
    st.text(max_size=3),
)
def test_division_keeps_texts_and_patients_together(
    rows: list[tuple[int, int, bool]], seed: str
) -> None:
    made = Manifest(tuple(entry(n, f"t{t}", f"p{p}") for n, (t, p, _) in enumerate(rows)))
    strata = {f"CXR{n}": "normal" if normal else "abnormal" for n, (*_, normal) in enumerate(rows)}
    splits = exchangeable(made, strata, SHARES, seed)
    divided = made.resplit(splits)
    for of in (lambda e: e.text, lambda e: e.patient):
        seen: dict[str, str] = {}
        for e in divided.entries:
            assert seen.setdefault(of(e), e.split) == e.split
    assert exchangeable(made, strata, SHARES, seed) == splits
    assert splits_csv(divided).count("\n") == len(rows) + 1


def test_division_meets_the_shares_in_each_stratum_and_follows_the_seed() -> None:
    rng = np.random.default_rng(0)
    texts = rng.zipf(1.6, 2000).clip(max=1500)
    made = Manifest(tuple(entry(n, f"t{n if t > 9 else t}") for n, t in enumerate(texts * 10)))
    normal = {e.study: "normal" if int(e.patient) % 3 == 0 else "abnormal" for e in made.entries}
    splits = exchangeable(made, normal, SHARES, "a")
    for stratum in ("normal", "abnormal"):
        members = [splits[i] for i, s in normal.items() if s == stratum]
        for split, share in SHARES.items():
            assert members.count(split) / len(members) == pytest.approx(share, abs=0.02)
    assert splits != exchangeable(made, normal, SHARES, "b")


def test_draws_are_uniform() -> None:
    numbers = np.array([draw("seed", str(n)) for n in range(4000)])
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert np.abs(np.histogram(numbers, 4, (0, 1))[0] - 1000).max() < 150


def dataset(count: int) -> Dataset:
    splits = ["train", "train", "val", "test"]
    studies = tuple(Study(f"s{n}", f"p{n}", splits[n % 4], (), "Clear.") for n in range(count))
    return Dataset("made", studies, "digest", lambda _: np.zeros((1, 1), np.uint8))


def test_sample_is_nested_ordered_and_has_its_own_identity() -> None:
    whole = dataset(100)
    small, large = sample(whole, 5), sample(whole, 9)
    assert [len(small.split(s)) for s in ("train", "val", "test")] == [5, 5, 5]
    assert {s.id for s in small.studies} < {s.id for s in large.studies}
    order = [s.id for s in whole.studies]
    assert [s.id for s in large.studies] == sorted((s.id for s in large.studies), key=order.index)
    assert len({whole.manifest, small.manifest, large.manifest}) == 3
    assert len({whole.name, small.name, large.name}) == 3
    assert sample(whole, 5) == sample(whole, 5)
    assert len(sample(whole, 1000).studies) == 100


def test_sample_is_the_same_everywhere() -> None:
    assert [s.id for s in sample(dataset(100), 1).studies] == ["s39", "s50", "s56"]
