"""What the fuzzer damages: every kind of file that the project reads, and how it is read."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest import mock

import iu_xray_release
import numpy as np
import torch
from fuzz import Kind
from safetensors.torch import save_file
from toy import load as toys
from toy_training import SPEC as TOY

from bench import weights
from bench.boards.rows import COLUMNS, BoardRow, read_rows, to_csv
from bench.canonical import from_dict, to_dict
from bench.commands.weights import _imported
from bench.config import compose, load_yaml
from bench.data import images, iu_xray
from bench.data.check import _projections
from bench.data.manifest import Entry, Manifest, text_hash
from bench.data.study import Image
from bench.data.text import clean, clean_hypothesis
from bench.engine.checkpoint import load_weights
from bench.errors import BenchError, DataError
from bench.metrics import predictions
from bench.metrics.cache import AnswerCache
from bench.metrics.scoring import Score, Scored, read_scores
from bench.model import ImageSpec
from bench.spec import RunSpec
from bench.store import RunFolder, keep, kept, load_spec, read_json, write_json

SPEC = from_dict(RunSpec, to_dict(TOY))
TEXTS = ("The heart is normal. Lungs are clear.", 'A "nodule", 5.3 cm.\nNo effusion.', "")


def write(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


# --- reports ---------------------------------------------------------------------------------


def make_predictions(folder: Path) -> Sequence[Path]:
    quoted = [text.replace('"', '""') for text in TEXTS]
    rows = "".join(f'{i},"{text}"\n' for i, text in enumerate(quoted))
    return [write(folder / "p.csv", "study_id,report\n" + rows)]


def read_predictions(folder: Path) -> None:
    found = predictions.read(folder / "p.csv")
    assert all(isinstance(x, str) for pair in found.items() for x in pair)
    predictions.align(found, ["0", "1", "2"], "empty", "p.csv")


def read_texts(folder: Path) -> None:
    """Any text may be a report: it is cleaned, and cleaning it again changes nothing."""
    try:
        report = (folder / "p.csv").read_bytes().decode("utf-8", "replace")
    except OSError as error:
        raise DataError(str(error)) from error
    for cleaning in ("iu", "mimic"):
        assert "\n" not in clean(report, cleaning)
        once = clean_hypothesis(report, cleaning)
        assert clean_hypothesis(once, cleaning) == once


# --- releases --------------------------------------------------------------------------------


def wanted() -> Manifest:
    entries = []
    for uid, (split, text, _, numbers) in iu_xray_release.STUDIES.items():
        views = [iu_xray_release.VIEWS[n[0]].lower() for n in numbers.split()]
        pairs = zip(iu_xray_release.keys(uid), views, strict=True)
        found = tuple(Image(key, view) for key, view in pairs)[:2]
        study = iu_xray_release.study_id(uid)
        entries.append(Entry(study, uid, split, text_hash(text, "iu"), found))
    return Manifest(tuple(entries))


def make_tables(folder: Path) -> Sequence[Path]:
    made = iu_xray_release.tables(folder)
    return [made / "indiana_reports.csv", made / "indiana_projections.csv"]


def make_openi(folder: Path) -> Sequence[Path]:
    made = iu_xray_release.openi(folder)
    return sorted((made / "ecgen-radiology").iterdir())


def make_r2gen(folder: Path) -> Sequence[Path]:
    return [iu_xray_release.r2gen(folder) / "annotation.json"]


def read_release(folder: Path) -> None:
    source, all_of_it = iu_xray.open_source(folder), wanted()
    with mock.patch.object(iu_xray.manifests, "load", return_value=all_of_it):
        problems = iu_xray.problems(source, all_of_it)
    list(_projections(source, all_of_it))
    for kind, (names, fix) in problems.items():
        raise DataError(f"{kind}: {names}", fix)
    data = iu_xray.dataset("iu_xray", source, all_of_it)
    assert [text_hash(s.report, "iu") for s in data.studies] == [e.text for e in all_of_it.entries]


# --- runs and boards -------------------------------------------------------------------------


def scored() -> Scored:
    ids = tuple(f"test{i}" for i in range(4))
    one = Score("r2gen@1", "BLEU-1", 0.5, 4, 0, "s")
    return Scored("made", "test", ids, (), (one,), {("r2gen@1", "BLEU"): np.ones((4, 10))})


def make_run(folder: Path) -> Sequence[Path]:
    run = RunFolder(folder, SPEC.run_id)
    write_json(run / "spec.json", to_dict(SPEC))
    write_json(run / "env.json", {"commit": "c0ffee"})
    row = {"metric": "BLEU-1", "treatment": "r2gen@1", "stratum": "all", "control": ""}
    write_json(run / "scores.json", [{**row, "family": "BLEU", "value": 0.5, "n": 4}])
    scored().save(run / "scores.npz")
    run.seal(status="scored", scoring="x")
    return [run / name for name in (*run.files(), "manifest.json")]


def read_run(folder: Path) -> None:
    """Sealed: whatever was damaged is named, since every byte of it is."""
    run = RunFolder(folder, SPEC.run_id)
    problems = run.verify()
    if run.manifest is None:
        raise DataError(problems[0])
    assert load_spec(run) == SPEC
    read_scores(run / "scores.json")
    read_json(run / "env.json")
    assert Scored.load(run / "scores.npz").scores == scored().scores
    assert not problems, problems


def make_spec(folder: Path) -> Sequence[Path]:
    write_json(folder / "spec.json", to_dict(SPEC))
    scored().save(folder / "scores.npz")
    return [folder / "spec.json", folder / "scores.npz"]


def read_spec(folder: Path) -> None:
    """Of a stranger, under no seal: it may be another spec, and is one that can be named."""
    spec = from_dict(RunSpec, read_json(folder / "spec.json"), "spec.json")
    RunFolder(folder, spec.run_id)
    assert from_dict(RunSpec, to_dict(spec)) == spec
    Scored.load(folder / "scores.npz")


def make_board(folder: Path) -> Sequence[Path]:
    values = dict.fromkeys(COLUMNS, "x") | {"seed": 0, "n": 4, "n_missing": 0, "value": 0.5}
    more = {"ci_low": None, "ci_high": 0.6, "steps": 1, "examples": None, "params_m": None}
    row = BoardRow(**values | more | {"device_seconds": 1.0, "higher_is_better": True})  # type: ignore[arg-type]
    return [write(folder / "made.csv", to_csv([row, replace(row, seed=1)]))]


def read_board(folder: Path) -> None:
    for row in read_rows(folder / "made.csv"):
        assert isinstance(row.seed, int)


# --- settings --------------------------------------------------------------------------------


def make_yaml(folder: Path) -> Sequence[Path]:
    text = (
        "# mine\nname: mine\n_target_: toy.Toy\nparams: {d: 8, image: {size: 64}}\ntune: [1, 2]\n"
    )
    return [write(folder / "conf" / "model" / "mine.yaml", text)]


def read_yaml(folder: Path) -> None:
    with mock.patch.dict(os.environ, {"BENCH_CONF": str(folder / "conf")}):
        assert isinstance(load_yaml("model", "mine"), dict)


def make_overrides(folder: Path) -> Sequence[Path]:
    return [write(folder / "settings", "budget=tiny\nseed=3\ndecode.beam_size=2\nmodel=base")]


def read_overrides(folder: Path) -> None:
    try:
        text = (folder / "settings").read_bytes().decode("utf-8", "replace")
    except OSError as error:
        raise DataError(str(error)) from error
    found = compose(text.split("\n"))
    assert isinstance(found["seed"], (int, float, str))


# --- weights ---------------------------------------------------------------------------------


def make_checkpoint(folder: Path) -> Sequence[Path]:
    torch.save({"state_dict": {"a.weight": torch.ones(2, 3)}, "epoch": 3}, folder / "x.pth")
    torch.save({"a": torch.ones(3)}, folder / "old.pkl", _use_new_zipfile_serialization=False)
    save_file({"weight": torch.ones(2, 3), "bias": torch.ones(2)}, str(folder / "x.safetensors"))
    return [folder / name for name in ("x.pth", "old.pkl", "x.safetensors")]


def read_checkpoint(folder: Path) -> None:
    """No layout is known here: at best it is said what is missing."""
    model = torch.nn.Linear(3, 2)
    load_weights(folder / "x.safetensors", model)
    assert torch.equal(model.weight, torch.ones(2, 3))
    with mock.patch.dict(os.environ, {"BENCH_WEIGHTS": str(folder / "weights")}):
        for kind, name in (("r2gen", "x.pth"), ("mgca", "x.pth"), ("openai-dvae", "old.pkl")):
            if not (folder / name).is_file():  # which the command says
                continue
            try:
                _imported(kind, folder / name, "mine")
            except BenchError:
                continue
            raise AssertionError(f"{name} is not a checkpoint of {kind}")
    assert not [p for p in (folder / "weights").rglob("*") if p.is_file()]


def make_archive(folder: Path) -> Sequence[Path]:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for name in ("config.json", "vocabulary/tokens.txt"):
            info = tarfile.TarInfo(name)
            info.size = 300
            tar.addfile(info, io.BytesIO(bytes(300)))
    plain = gzip.decompress(data.getvalue())
    write(folder / "plain.tar", plain)  # damaged inside, not in its gzip
    return [write(folder / "r.tar.gz", data.getvalue()), folder / "plain.tar"]


def read_archive(folder: Path) -> None:
    for name in ("r.tar.gz", "plain.tar"):
        place = folder / f"weights-{name}"
        with mock.patch.dict(os.environ, {"BENCH_WEIGHTS": str(place)}):
            try:
                data = (folder / name).read_bytes()
            except OSError as error:
                raise DataError(str(error)) from error
            source = write(place / "given", data if name.endswith("gz") else gzip.compress(data, 1))
            weights.add("radgraph", source)
            weights.unpacked("radgraph")
        outside = [p for p in folder.rglob("*") if p.name in ("config.json", "tokens.txt")]
        assert all(p.is_relative_to(place) or p.is_relative_to(folder) for p in outside)


def make_record(folder: Path) -> Sequence[Path]:
    with mock.patch.dict(os.environ, {"BENCH_WEIGHTS": str(folder)}):
        weights.add("mine", write(folder / "given.pth", b"1"))
    return [folder / "recorded.yaml"]


def read_record(folder: Path) -> None:
    with mock.patch.dict(os.environ, {"BENCH_WEIGHTS": str(folder)}):
        weights.render(weights.verify(["chexbert"]))
        weights.render(weights.listing())


# --- caches ----------------------------------------------------------------------------------

DATA = toys()
IMAGES = [image for study in DATA.split("test") for image in study.images]
RULE = ImageSpec(size=8, resize=10)


def make_cache(folder: Path) -> Sequence[Path]:
    store = images.open_store(DATA, IMAGES, RULE, True, folder)
    keep(folder / "kept.json", {"a": [1.5, None]})
    return [*(store.folder / n for n in ("pixels.u8", "index.npy", "store.json"))]


def read_cache(folder: Path) -> None:
    """Right pixels, or an error: never others."""
    store = images.open_store(DATA, IMAGES, RULE, True, folder)
    for row, image in enumerate(IMAGES):
        expected = images.Resize.of(RULE, True)(DATA.read(image))
        assert np.array_equal(store[row], expected)


def make_kept(folder: Path) -> Sequence[Path]:
    keep(folder / "kept.json", {"a": [1.5, None]})
    with mock.patch("bench.metrics.cache._folder", folder):
        AnswerCache("answers").answers(["a", "b"], lambda asked: [q * 2 for q in asked])
    return [folder / "kept.json", folder / "metrics" / "answers.tsv"]


def read_kept(folder: Path) -> None:
    assert kept(folder / "kept.json") in (None, {"a": [1.5, None]})
    with mock.patch("bench.metrics.cache._folder", folder):
        found = AnswerCache("answers").answers(["a", "b"], lambda asked: [q * 2 for q in asked])
    assert found == ["aa", "bb"]


KINDS = (
    Kind("predictions", make_predictions, read_predictions),
    Kind("reports", make_predictions, read_texts),
    Kind("tables", make_tables, read_release),
    Kind("annotation", make_r2gen, read_release),
    Kind("xml", make_openi, read_release),
    Kind("sealed run", make_run, read_run),
    Kind("spec", make_spec, read_spec),
    Kind("board", make_board, read_board),
    Kind("yaml", make_yaml, read_yaml),
    Kind("checkpoint", make_checkpoint, read_checkpoint),
    Kind("archive", make_archive, read_archive),
    Kind("record", make_record, read_record),
    Kind("image cache", make_cache, read_cache, again=True),
    Kind("kept figures", make_kept, read_kept, again=True),
)
SLOW = (
    Kind("overrides", make_overrides, read_overrides),
)  # a composition takes a tenth of a second
