"""A small release of IU X-ray, written in each of the layouts that the reader knows."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

# uid -> (split, findings, problems, [(view, image number)])
STUDIES = {
    "1": ("train", "The heart is normal. Lungs are clear.", "normal", "F4001 L3001"),
    "2": ("train", "There is  XXXX cardiomegaly.", "Cardiomegaly;Pulmonary Artery", "L2 F1 L3"),
    "37": ("val", "The heart is normal. Lungs are clear.", "normal", "F1 F2"),
    "4": ("test", "The heart is normal. Lungs are clear.", "normal", "F1 F2 L3 F4"),
    "5": ("test", "Small effusion, 5.3 cm.", "Pleural Effusion", "L1 F2"),
}
UNUSED = {"8": ("", "", "normal", "F1 L2")}  # no findings: not R2Gen's
VIEWS = {"F": "Frontal", "L": "Lateral"}


def study_id(uid: str) -> str:
    return f"CXR{uid}_IM-{int(uid):04d}"


def keys(uid: str) -> list[str]:
    numbers = {**STUDIES, **UNUSED}[uid][3].split()
    return [f"{uid}_IM-{int(uid):04d}-{number[1:]}" for number in numbers]


def grey(key: str) -> np.ndarray:
    rng = np.random.default_rng(list(key.encode()))
    return rng.integers(0, 256, (11, 9), dtype=np.uint8)


def write_images(folder: Path, name: str, suffix: str) -> None:
    folder.mkdir(parents=True)
    for uid in {**STUDIES, **UNUSED}:
        for key in keys(uid):
            image = Pillow.fromarray(grey(key)).convert("RGB")
            image.save(folder / f"{name.format(uid=uid, key=key)}{suffix}")


def tables(root: Path, images: str = "images", suffix: str = ".dcm.png") -> Path:
    folder = root / "iu_xray"
    write_images(folder / images, "{key}", suffix)
    reports, projections = [], []
    for uid, (_, findings, problems, numbers) in {**STUDIES, **UNUSED}.items():
        mesh = ";".join(f"{p}/mild" for p in problems.split(";"))
        reports.append((uid, mesh, problems, "", "Pain", "None.", findings, f"Impression {uid}"))
        for key, number in zip(keys(uid), numbers.split(), strict=True):
            projections.append((uid, f"{key}.dcm.png", VIEWS[number[0]]))
    header = "uid MeSH Problems image indication comparison findings impression".split()  # noqa: SIM905
    write_csv(folder / "indiana_reports.csv", header, reports)
    write_csv(folder / "indiana_projections.csv", ["uid", "filename", "projection"], projections)
    return folder


def write_csv(path: Path, header: list[str], rows: list) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def openi(root: Path) -> Path:
    folder = root / "iu_xray"
    write_images(folder / "NLMCXR_png", "CXR{uid}_{key}", ".png")
    (folder / "ecgen-radiology").mkdir()
    for uid, (_, findings, problems, _) in {**STUDIES, **UNUSED}.items():
        texts = {
            "COMPARISON": "None.",
            "INDICATION": "Pain",
            "FINDINGS": findings.replace(". ", ".\n  "),
        }
        texts["IMPRESSION"] = f"Impression {uid}"
        abstract = "".join(
            f'<AbstractText Label="{k}">{v}</AbstractText>' for k, v in texts.items()
        )
        mesh = "".join(f"<major>{p}/mild</major>" for p in problems.split(";"))
        parents = "".join(f'<parentImage id="CXR{uid}_{key}"/>' for key in keys(uid))
        xml = (
            f'<?xml version="1.0" encoding="utf-8"?><eCitation><uId id="CXR{uid}"/>'
            f"<MedlineCitation><Article><Abstract>{abstract}</Abstract></Article></MedlineCitation>"
            f"<MeSH>{mesh}<automatic>pain</automatic></MeSH>{parents}</eCitation>"
        )
        (folder / "ecgen-radiology" / f"{uid}.xml").write_text(xml)
    return folder


def annotation() -> dict[str, list[dict]]:
    entries: dict[str, list[dict]] = {"train": [], "val": [], "test": []}
    for uid, (split, findings, *_) in STUDIES.items():
        paths = [f"{study_id(uid)}/{n}.png" for n in (0, 1)]
        entry = {"id": study_id(uid), "report": findings, "image_path": paths}
        entries[split].append({**entry, "split": split})
    return entries


def r2gen(root: Path) -> Path:
    folder = root / "iu_xray"
    for uid in STUDIES:
        target = folder / "images" / study_id(uid)
        target.mkdir(parents=True)
        for n in (0, 1):
            Pillow.fromarray(grey(keys(uid)[n])).convert("RGB").save(target / f"{n}.png")
    (folder / "annotation.json").write_text(json.dumps(annotation()))
    return folder


LAYOUTS = {"tables": tables, "open-i": openi, "r2gen": r2gen}
