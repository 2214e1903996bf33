"""`bench data prepare`: R2Gen's layout of IU X-ray from a public release; the manifests' makers.

The prepared folder serves R2Gen's own code and its forks as well as `bench.data.iu_xray`: links
to the release's files under R2Gen's names, and an annotation that also keeps what R2Gen dropped
(image keys, views, labels, other sections). The release itself is not touched.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from bench.data import iu_xray
from bench.data.iu_xray import NAME
from bench.data.study import SPLITS, Study
from bench.errors import BenchError
from bench.files import replacing


def prepare_iu_xray(root: Path, out: Path, copy: bool = False) -> Path:
    """Write `<out>/iu_xray/` in R2Gen's layout from the release in `<root>/iu_xray`.

    Every text and image is verified first, as in `iu_xray.load`. Images are linked, or with
    `copy` copied. Returns the new folder; `BENCH_DATA=<out>` reads it.
    """
    target = out / NAME
    if target.resolve() == (root / NAME).resolve():
        raise BenchError(f"{target} is the release itself", "choose another folder with --out")
    data = iu_xray.load(root)
    files = iu_xray.open_source(root).files
    try:
        annotation = {s: [_entry(x, files) for x in data.split(s)] for s in SPLITS}
        for entry in (e for split in annotation.values() for e in split):
            _place(entry, files, target / "images", copy)
        with replacing(target / "annotation.json") as part:
            part.write_text(json.dumps(annotation, indent=1), encoding="utf-8")
    except OSError as error:
        raise BenchError(
            f"cannot write {target}: {error.strerror}", "choose another folder with --out"
        ) from error
    return target


def _entry(study: Study, files: Mapping[str, Path]) -> dict:
    names = [f"{study.id}/{n}{files[i.key].suffix}" for n, i in enumerate(study.images)]
    entry = {
        "id": study.id,
        "report": study.report,
        "image_path": names,
        "split": study.split,
        "images": [{"key": i.key, "view": i.view} for i in study.images],
        "sections": dict(study.sections),
    }
    return entry if study.labels is None else {**entry, "labels": sorted(study.labels)}


def _place(entry: Mapping, files: Mapping[str, Path], images: Path, copy: bool) -> None:
    for image, name in zip(entry["images"], entry["image_path"], strict=True):
        path = images / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        if copy:
            shutil.copyfile(files[image["key"]], path)
        else:
            path.symlink_to(files[image["key"]].resolve())
