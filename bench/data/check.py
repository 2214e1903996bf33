"""`bench data check`: is the data what the manifest says, and what do its splits share?

"fail" is damage that must be repaired; "warn" is a property of the data that a reader of scores
must know; neither is hidden when the other occurs.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np

from bench.data import iu_layouts, iu_xray, leakage
from bench.data.iu_xray import Source
from bench.data.manifest import Manifest, Rendition, hashed
from bench.data.study import FINDINGS, SPLITS, Dataset
from bench.data.text import vocabulary
from bench.errors import some

# Splits whose shares of normal studies lie further apart than this are called not exchangeable.
TOLERANCE = 0.10
# Byte-identical files of the public release: one study stored twice, one image under two names.
KNOWN_IDENTICAL = [
    ["1015_IM-0001-1001", "1015_IM-0013-1001"],
    ["1015_IM-0001-2001", "1015_IM-0013-2001"],
    ["3245_IM-1537-1001", "3245_IM-1537-4001"],
]


# What a reader of scores must know of a rendition.
NOTES = {"256-jpg": "stretched to 256 x 256 and JPEG: scores are a re-evaluation of R2Gen's set-up"}


@dataclass(frozen=True)
class Finding:
    """One thing that was checked: status "ok", "warn" or "fail", a sentence, its figures."""

    name: str
    status: str
    text: str
    figures: Mapping[str, float] = field(default_factory=dict)
    fix: str = ""


@dataclass(frozen=True)
class Report:
    """All findings on a dataset."""

    dataset: str
    findings: tuple[Finding, ...]

    @property
    def status(self) -> str:
        """The worst status of any finding."""
        present = {finding.status for finding in self.findings}
        return next(s for s in ("fail", "warn", "ok") if s in present or s == "ok")

    def figures(self) -> dict[str, float]:
        """Every figure by "finding.figure"."""
        return {f"{f.name}.{k}": v for f in self.findings for k, v in f.figures.items()}

    def render(self) -> str:
        """One line a finding, fixes below those that failed."""
        width = max(len(f.name) for f in self.findings)
        lines = [f"{self.dataset}: {self.status}"]
        for finding in self.findings:
            lines.append(f"  {finding.status:4}  {finding.name:{width}}  {finding.text}")
            if finding.fix and finding.status == "fail":
                lines.append(f"  {'':4}  {'':{width}}  fix: {finding.fix}")
        return "\n".join(lines)


def check(dataset: Dataset) -> Report:
    """What can be said of any dataset from its studies alone; no image is read."""
    return Report(dataset.name, tuple(_properties(dataset)))


def check_iu_xray(
    root: Path,
    manifest: str = iu_xray.NAME,
    fold: int | None = None,
    section: str = FINDINGS,
) -> Report:
    """`check`, and every text and image file of IU X-ray against the manifest of this name.

    fold: of the reader, which opens one; all folds are checked.
    """
    source = iu_xray.open_source(root)
    folds = [iu_xray.named_manifest(manifest, f) for f in iu_xray.folds_of(manifest)]
    # Folds have studies, texts and files in common: those of the manifest that they divide.
    wanted = folds[0] if len(folds) == 1 else iu_xray.named_manifest(iu_xray.NAME)
    found = iu_xray.problems(source, wanted)
    findings = [
        Finding("damage", "fail", f"{len(names)} {kind}: {some(names)}", {kind: len(names)}, fix)
        for kind, (names, fix) in found.items()
    ]
    findings += _files(source, wanted, folds)
    if not found:
        datasets = [iu_xray.dataset(manifest, source, one, section) for one in folds]
        findings.append(_section(source, wanted, section))
        findings += _properties(datasets[0]) if len(folds) == 1 else _folds(datasets)
    return Report(manifest, tuple(findings))


def _section(source: Source, wanted: Manifest, section: str) -> Finding:
    """How many studies have the section that reports are taken from, and which have not."""
    lacking, total = iu_xray.without(source, wanted, section), len(wanted.entries)
    text = f"{section} in {total - len(lacking):,} of {total:,} studies"
    if lacking:
        text += f"; left out: {some(lacking)}"
    return Finding("section", "warn" if lacking else "ok", text, {"without": len(lacking)})


def _files(source: Source, wanted: Manifest, folds: Sequence[Manifest]) -> Iterator[Finding]:
    yield _texts(source, wanted)
    yield from _projections(source, wanted)
    keys = [i.key for e in wanted.entries for i in iu_xray.images_of(source, e)]
    with ThreadPoolExecutor() as pool:
        hashes = dict(zip(source.files, pool.map(hashed, source.files.values()), strict=True))
    yield _rendition(source, keys, hashes)
    yield _identical({key: digest for key, (_, digest) in hashes.items()}, folds)


def _texts(source: Source, wanted: Manifest) -> Finding:
    good = sum(
        e.patient in source.records and not iu_xray.altered(source, e) for e in wanted.entries
    )
    total = len(wanted.entries)
    text = (
        f"{good:,} of {total:,} equal the manifest ({wanted.digest[:12]}), layout {source.layout}"
    )
    return Finding("reports", "ok" if good == total else "fail", text, {"equal": good})


def _projections(source: Source, wanted: Manifest) -> Iterator[Finding]:
    """The public table of views, where it lies beside: each image of the manifest as it says."""
    path = source.folder / "indiana_projections.csv"
    if not path.is_file():
        return
    fix = f"get the table again: {iu_xray.SOURCES}"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            views = {
                (row["uid"], iu_layouts.image_key(row["filename"])): row["projection"].lower()
                for row in csv.DictReader(file, strict=True)
            }
    except (ValueError, LookupError, TypeError, AttributeError, csv.Error) as error:
        yield Finding("projections", "fail", f"{path.name} is damaged: {error}", {}, fix)
        return
    images = [(e.patient, i) for e in wanted.entries for i in e.images]
    wrong = [i.key for uid, i in images if views.get((uid, i.key)) != i.view]
    text = f"{len(images) - len(wrong):,} of {len(images):,} views as in the manifest"
    text += f"; other or absent: {some(wrong)}" if wrong else ""
    figures = {"equal": len(images) - len(wrong)}
    yield Finding("projections", "fail" if wrong else "ok", text, figures, fix)


def _rendition(source: Source, keys: list[str], hashes: Mapping[str, tuple[int, str]]) -> Finding:
    rendition = iu_xray.recognise(source, keys)
    present = sum(key in hashes for key in keys)
    count = f"{present:,} of {len(keys):,} present"
    if rendition is None:
        text = f"{count}; their rendition is unknown, so their pixels cannot be verified"
        return Finding("images", "warn", text, {"present": present})
    return _verified(rendition, keys, hashes, count)


def _verified(
    rendition: Rendition, keys: list[str], hashes: Mapping[str, tuple[int, str]], count: str
) -> Finding:
    altered = [k for k in keys if k in hashes and hashes[k] != rendition.files[k]]
    equal = sum(hashes.get(key) == rendition.files[key] for key in keys)
    text = f"{count}, {equal:,} equal the rendition {rendition.name}"
    if rendition.name in NOTES:
        text += f" ({NOTES[rendition.name]})"
    if altered:
        text += f"; altered: {some(altered)}"
    status = "ok" if equal == len(keys) else "fail"
    fix = f"get the missing or altered files again: {iu_xray.SOURCES}"
    return Finding("images", status, text, {"equal": equal, "altered": len(altered)}, fix)


def _identical(hashes: Mapping[str, str], folds: Sequence[Manifest]) -> Finding:
    groups = leakage.identical(hashes)
    if not groups:
        return Finding("identical images", "ok", "none", {"groups": 0})
    splits = [{i.key: e.split for e in fold.entries for i in e.images} for fold in folds]
    across = [g for g in groups if any(len({x[key] for key in g if key in x}) > 1 for x in splits)]
    known = sum(group in KNOWN_IDENTICAL for group in groups)
    text = (
        f"{len(groups)} groups of byte-identical files, {known} of them known, "
        f"{len(across)} across splits: {some(' = '.join(g) for g in groups)}"
    )
    figures = {"groups": len(groups), "known": known, "across_splits": len(across)}
    return Finding("identical images", "warn", text, figures)


def _properties(dataset: Dataset) -> Iterator[Finding]:
    yield _counts(dataset)
    yield _patients(dataset)
    yield _verbatim(dataset)
    if normal := _normal(dataset):
        yield normal
    words = len(vocabulary(dataset))
    text = f"{words} words at {dataset.min_count} or more occurrences in train, <unk> included"
    yield Finding("vocabulary", "ok", text, {"words": words})


def _folds(datasets: Sequence[Dataset]) -> Iterator[Finding]:
    for number, dataset in enumerate(datasets):
        yield _fold(f"fold {number}", dataset)
    yield _tested(datasets)
    trains = [{s.id for s in d.split("train")} for d in datasets]
    shares = [len(a & b) / len(a) for a in trains for b in trains if a is not b]
    text = f"two folds share {min(shares):.1%} to {max(shares):.1%} of their training studies"
    yield Finding("overlap", "ok", text, {"least": min(shares), "most": max(shares)})


def _fold(name: str, dataset: Dataset) -> Finding:
    """Sizes, strata, and what two splits of one fold have in common, in one line."""
    texts = {split: set(leakage.cleaned_reports(dataset, split)) for split in SPLITS}
    reports = len(set.union(*(a & b for a, b in combinations(texts.values(), 2))))
    patients = len(leakage.shared_patients(dataset))
    parts, figures = [], {"reports": float(reports), "patients": float(patients)}
    for split in SPLITS:
        marks = leakage.normal(dataset, split)
        parts.append(f"{split} {len(dataset.split(split)):,}")
        figures[split] = len(dataset.split(split))
        if marks is not None:
            figures[f"normal_{split}"] = _share(marks)
            parts[-1] += f" ({_share(marks):.1%} normal)"
    text = f"{', '.join(parts)}; in two splits: {reports} reports, {patients} patients"
    good = not reports and not patients and all(texts.values())
    return Finding(name, "ok" if good else "fail", text, figures, "get the manifests again")


def _tested(datasets: Sequence[Dataset]) -> Finding:
    times = Counter(s.id for d in datasets for s in d.split("test"))
    once = sum(times[s.id] == 1 for s in datasets[0].studies)
    total = len(datasets[0].studies)
    text = f"{once:,} of {total:,} studies in exactly one fold"
    status = "ok" if once == total else "fail"
    return Finding("tested", status, text, {"once": once}, "get the manifests again")


def _counts(dataset: Dataset) -> Finding:
    counts = {split: len(dataset.split(split)) for split in SPLITS}
    views = Counter(len(study.images) for study in dataset.studies)
    text = ", ".join(f"{split} {count:,}" for split, count in counts.items())
    per_study = ", ".join(f"{n} in {views[n]:,}" for n in sorted(views))
    status = "ok" if all(counts.values()) else "fail"
    fix = "a split has no study: complete the release"
    return Finding("studies", status, f"{text}; images: {per_study}", counts, fix)


def _patients(dataset: Dataset) -> Finding:
    shared = leakage.shared_patients(dataset)
    count = len({study.patient for study in dataset.studies})
    text = f"{count:,} patients, {len(shared)} in more than one split"
    if shared:
        text += ": " + some(f"{p} ({'/'.join(splits)})" for p, splits in shared.items())
    figures = {"patients": count, "shared": len(shared)}
    fix = "divide by patient, or use the official split"
    return Finding("patients", "fail" if shared else "ok", text, figures, fix)


def _verbatim(dataset: Dataset) -> Finding:
    shares = {s: _share(leakage.seen_in_train(dataset, s)) for s in ("val", "test")}
    text = ", ".join(f"{share:.1%} of {split}" for split, share in shares.items())
    status = "warn" if any(shares.values()) else "ok"
    return Finding("verbatim reports", status, f"cleaned text also in train: {text}", shares)


def _normal(dataset: Dataset) -> Finding | None:
    marks = {split: leakage.normal(dataset, split) for split in SPLITS}
    shares = {split: _share(mark) for split, mark in marks.items() if mark is not None}
    if len(shares) < len(SPLITS):
        return None
    text = ", ".join(f"{share:.1%} of {split}" for split, share in shares.items())
    if max(shares.values()) - min(shares.values()) <= TOLERANCE:
        return Finding("normal studies", "ok", text, shares)
    return Finding("normal studies", "warn", f"{text}: splits are not exchangeable", shares)


def _share(marks: np.ndarray) -> float:
    return float(marks.mean()) if len(marks) else 0.0
