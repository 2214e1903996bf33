"""Findings, impression or both as IU X-ray's reports."""

from __future__ import annotations

from pathlib import Path

import pytest
from iu_xray_release import STUDIES, r2gen, tables
from test_iu_xray import wanted

from bench.data import iu_xray
from bench.data.check import check_iu_xray
from bench.errors import BenchError, DataError
from bench.metrics.scoring import Scored, score

__all__ = ["wanted"]  # a fixture


@pytest.mark.usefixtures("wanted")
def test_a_report_is_findings_or_impression_or_both(tmp_path: Path) -> None:
    folder = tables(tmp_path)
    text = (folder / "indiana_reports.csv").read_text().replace("Impression 5", "")
    (folder / "indiana_reports.csv").write_text(text)
    named = {name: iu_xray.load(tmp_path, section=name) for name in iu_xray.SECTIONS}
    assert [s.report for s in named["impression"].studies] == [
        f"Impression {uid}" for uid in STUDIES if uid != "5"
    ]
    assert named["both"].studies[0].report == f"{STUDIES['1'][1]} Impression 1"
    assert len(named["findings"].studies) == 1 + len(named["both"].studies)
    assert named["findings"].manifest == iu_xray.load(tmp_path).manifest
    assert len({d.manifest for d in named.values()}) == 3
    report = check_iu_xray(tmp_path, section="impression").render()
    assert "impression in 4 of 5 studies; left out: CXR5_IM-0005" in report
    with pytest.raises(BenchError, match="did you mean 'findings'"):
        iu_xray.load(tmp_path, section="finding")


@pytest.mark.usefixtures("wanted")
def test_r2gens_annotation_has_no_impressions(tmp_path: Path) -> None:
    r2gen(tmp_path)
    with pytest.raises(DataError, match="no report of the layout r2gen has its impression"):
        iu_xray.load(tmp_path, section="impression")


@pytest.mark.usefixtures("wanted")
def test_a_score_says_which_section_it_is_of(tmp_path: Path) -> None:
    """Findings, which published boards are of, are what a signature means that says nothing."""
    tables(tmp_path)
    signatures = {}
    for section in iu_xray.SECTIONS:
        source = iu_xray.load(tmp_path, section=section)
        split = next(s.split for s in source.studies)
        made = {s.id: s.report for s in source.split(split)}
        found = score(made, source, split, ["chexpert-rules"], ["raw"])
        signatures[section] = found.scores[0].signature
        first = found.subset(list(made)[:1])[0].signature
        assert ("|section:" in first) == ("|section:" in signatures[section])
        found.save(tmp_path / "scores.npz")
        assert Scored.load(tmp_path / "scores.npz").subset(list(made)[:1])[0].signature == first
    assert "section" not in signatures["findings"]
    assert "|section:impression|rules:" in signatures["impression"]
    assert "|section:both|rules:" in signatures["both"]
