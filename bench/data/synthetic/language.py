"""What a radiologist writes about a case: findings and impression.

Every sentence follows from the findings. Its wording is mostly the reader's: three readers with
habits of their own, each for the films of one service (`reader`), which can be told from the film;
the rest of the wording is free. So normal studies share whole reports, no single wording covers
them all, and more of a report follows from its images than the names of the findings.
"""

from __future__ import annotations

import numpy as np

from bench.data.synthetic.canvas import generator
from bench.data.synthetic.cases import VERSION, Case, Finding, exposure, pick

Phrases = tuple[str, ...]

LOYALTY = 0.9  # how often a sentence follows its reader's habit
SKEW = (0.50, 0.25, 0.15, 0.06, 0.04)  # otherwise: earlier phrasings are commoner

HEART: Phrases = (
    "The heart is normal in size.",
    "Heart size is within normal limits.",
    "The cardiac silhouette is not enlarged.",
    "Normal heart size.",
)
BIG_HEART: Phrases = (
    "There is {degree} cardiomegaly{chambers}.",
    "The heart is {degreely} enlarged{chambers}.",
    "The cardiac silhouette shows {degree} enlargement{chambers}.",
    "{Degree} cardiomegaly is present{chambers}.",
)
MEDIASTINUM: Phrases = (
    "The mediastinum is unremarkable.",
    "Mediastinal contours are normal.",
    "The mediastinal and hilar contours are preserved.",
    "No mediastinal widening.",
)
CLEAR: Phrases = (
    "The lungs are clear bilaterally without focal airspace disease.",
    "Both lungs are clear.",
    "The lungs are well expanded and clear.",
    "No focal airspace opacity is seen.",
)
OTHER_SIDE: Phrases = (
    "The {other} lung is clear.",
    "The {other} lung remains well aerated.",
    "No abnormality in the {other} lung.",
)
NO_CONSOLIDATION: Phrases = (
    "No focal consolidation.",
    "There is no airspace consolidation.",
    "No evidence of pneumonia.",
)
CONSOLIDATION: Phrases = (
    "There is {texture} consolidation in the {place}.",
    "{Texture} airspace opacity is seen in the {place}.",
    "The {place} shows {texture} airspace disease.",
    "{Texture} {place} consolidation, concerning for pneumonia.",
)
ATELECTASIS: Phrases = (
    "There is {plate} atelectasis at the {side} lung base.",
    "{Plate} opacities at the {side} base represent atelectasis.",
    "{Plate} atelectatic change is noted in the {side} lower lung.",
)
BOTH_ATELECTASIS: Phrases = (
    "There is {plate} bibasilar atelectasis.",
    "{Plate} opacities at both bases represent atelectasis.",
    "{Plate} atelectatic change is noted in both lower lungs.",
)
NODULE: Phrases = (
    "There is a {lump} in the {side} {field}.",
    "A {lump} projects over the {side} {field}.",
    "The {side} {field} contains a {lump}.",
)
PLEURA: Phrases = (
    "No pleural effusion or pneumothorax.",
    "There is no pneumothorax or pleural fluid.",
    "No effusion or pneumothorax is identified.",
    "The costophrenic angles are sharp.",
)
EFFUSION: Phrases = (
    "There is a {size} {side} pleural effusion, {extent}.",
    "{Size} {side} pleural effusion is present, {extent}.",
    "{Size} amount of pleural fluid on the {side}, {extent}.",
)
BOTH_EFFUSION: Phrases = (
    "There are {size} bilateral pleural effusions, {extents}.",
    "{Size} bilateral pleural effusions are present, {extents}.",
    "{Size} amount of pleural fluid on both sides, {extents}.",
)
NO_EFFUSION: Phrases = ("No pleural effusion.", "There is no pleural fluid.")
PNEUMOTHORAX: Phrases = (
    "There is a {size} {side} pneumothorax, {collapse}.",
    "{Size} {side} pneumothorax is identified, {collapse}.",
    "{Size} pneumothorax on the {side}, {collapse}.",
)
NO_PNEUMOTHORAX: Phrases = (
    "No pneumothorax.",
    "There is no pneumothorax.",
    "No pneumothorax is identified.",
)
BONES: Phrases = (
    "The osseous structures are intact.",
    "No acute bony abnormality.",
    "Visualized bones are unremarkable.",
    "The thoracic spine and ribs appear normal.",
)
FRACTURE: Phrases = (
    "There is a displaced fracture of a {side} {level} rib.",
    "A {side} {level} rib fracture is noted with cortical step.",
    "{Side} {level} rib fracture.",
)
DEVICE: dict[str, Phrases] = {
    "pacemaker": (
        "A {side} chest pacemaker is in place with leads in the right atrium and ventricle.",
        "Dual lead {side} sided cardiac pacemaker is noted.",
        "{Side} sided pacemaker leads are in expected position.",
    ),
    "wires": (
        "Median sternotomy wires are intact.",
        "The patient is status post median sternotomy.",
        "Sternotomy wires are noted.",
    ),
    "port": (
        "A {side} chest port is present with the tip in the superior vena cava.",
        "{Side} sided port catheter terminates in the superior vena cava.",
    ),
    "line": (
        "A {side} central venous catheter terminates in the superior vena cava.",
        "{Side} jugular line tip projects over the superior vena cava.",
    ),
    "tube": (
        "A {side} chest tube is in place.",
        "{Side} sided chest tube is noted with the tip near the apex.",
    ),
}
NORMAL_IMPRESSION: Phrases = (
    "No acute cardiopulmonary abnormality.",
    "No acute disease.",
    "Normal chest.",
)

DEGREE = ("mild", "moderate", "severe")
DEGREELY = ("mildly", "moderately", "severely")
SIZE = ("small", "moderate", "large")
TEXTURE = ("patchy", "focal", "dense")
PLATE = ("minimal", "linear", "extensive")
EXTENT = (
    "blunting the costophrenic angle",
    "obscuring the hemidiaphragm",
    "opacifying the lower half of the hemithorax",
)
EXTENTS = (
    "blunting both costophrenic angles",
    "obscuring both hemidiaphragms",
    "opacifying the lower half of both lungs",
)
COLLAPSE = (
    "with a thin pleural line near the chest wall",
    "with partial collapse of the lung",
    "with near complete collapse and shift of the mediastinum",
)
CHAMBERS = ("", " with left ventricular prominence", " involving all chambers")
LUMP = ("small nodule", "round nodule", "large mass")
LOBE = {"upper": "upper lobe", "mid": "middle lobe", "lower": "lower lobe"}
FIELD = {"upper": "upper lobe", "mid": "mid lung", "lower": "lower lobe"}
OTHER = {"left": "right", "right": "left"}


def reader(case: Case) -> int:
    """Who reads the film: 2 the collimated ones, 1 the other films of women, 0 those of men."""
    if exposure(case.study, "frontal").collimated:
        return 2
    return 1 if case.anatomy.female else 0


def favourite(habit: int, phrasings: int) -> int:
    """Which of a sentence's phrasings a reader is used to."""
    return min(habit, phrasings - 1)


class Writer:
    """Chooses phrasings for one report; random numbers come from the study's own generator."""

    def __init__(self, rng: np.random.Generator, habit: int) -> None:
        self.rng = rng
        self.habit = habit

    def say(self, phrases: Phrases, finding: Finding | None = None) -> str:
        loyal = float(self.rng.random()) < LOYALTY
        weights = dict(zip(phrases, SKEW, strict=False))
        other = pick(self.rng, weights)
        phrase = phrases[favourite(self.habit, len(phrases))] if loyal else other
        return self.filled(phrase, finding)

    @staticmethod
    def filled(phrase: str, finding: Finding | None) -> str:
        return phrase.format(**_words(finding)) if finding else phrase

    def chance(self, probability: float) -> bool:
        return float(self.rng.random()) < probability


def _words(finding: Finding) -> dict[str, str]:
    grade = finding.grade if finding.severity else 0
    words = {
        "side": finding.side,
        "other": OTHER.get(finding.side, ""),
        "degree": DEGREE[grade],
        "degreely": DEGREELY[grade],
        "size": SIZE[grade],
        "texture": TEXTURE[grade],
        "plate": PLATE[grade],
        "lump": LUMP[grade],
        "extent": EXTENT[grade],
        "extents": EXTENTS[grade],
        "collapse": COLLAPSE[grade],
        "chambers": CHAMBERS[grade],
        "place": _place(finding),
        "field": FIELD.get(finding.zone, ""),
        "level": {"mid": "middle"}.get(finding.zone, finding.zone),
    }
    return words | {name.capitalize(): word.capitalize() for name, word in words.items()}


def _place(finding: Finding) -> str:
    """Where a consolidation lies: the left lung has a lingula for a middle lobe."""
    if (finding.side, finding.zone) == ("left", "mid"):
        return "lingula"
    return f"{finding.side} {LOBE.get(finding.zone, '')}"


def _heart(w: Writer, case: Case) -> list[str]:
    found = case.find("cardiomegaly")
    said = [w.say(BIG_HEART, found[0]) if found else w.say(HEART)]
    return [*said, w.say(MEDIASTINUM)] if w.chance(0.35 if case.findings else 0.7) else said


def _lungs(w: Writer, case: Case) -> list[str]:
    patches, nodules = case.find("consolidation"), case.find("nodule")
    plates = case.find("atelectasis")
    if not (patches or nodules or plates):
        return [w.say(CLEAR)]
    said = [w.say(CONSOLIDATION, f) for f in patches]
    if plates:
        said.append(w.say(BOTH_ATELECTASIS if len(plates) == 2 else ATELECTASIS, plates[0]))
    said += [w.say(NODULE, f) for f in nodules]
    if not patches:
        said.append(w.say(NO_CONSOLIDATION))
    elif len({f.side for f in (*patches, *nodules, *plates)}) == 1:
        said.append(w.say(OTHER_SIDE, patches[0]))
    return said


def _pleura(w: Writer, case: Case) -> list[str]:
    fluid, air = case.find("effusion"), case.find("pneumothorax")
    if not (fluid or air):
        return [w.say(PLEURA)]
    said = []
    if fluid:
        said.append(w.say(BOTH_EFFUSION if len(fluid) == 2 else EFFUSION, fluid[0]))
    said += [w.say(PNEUMOTHORAX, f) for f in air]
    return (
        [*said, w.say(NO_PNEUMOTHORAX if fluid else NO_EFFUSION)] if not (fluid and air) else said
    )


def _bones(w: Writer, case: Case) -> list[str]:
    found = case.find("fracture")
    if found:
        return [w.say(FRACTURE, f) for f in found]
    return [w.say(BONES)] if w.chance(0.4 if case.findings else 0.75) else []


def _devices(w: Writer, case: Case) -> list[str]:
    return [w.say(DEVICE[f.kind], f) for f in case.find("device")]


def findings_section(case: Case) -> str:
    """The report that a model is asked to write."""
    return compose(Writer(generator(VERSION, "report", case.study), reader(case)), case)


def compose(w: Writer, case: Case) -> str:
    """The sentences of a report, as the writer chooses them."""
    heart, lungs, pleura = _heart(w, case), _lungs(w, case), _pleura(w, case)
    bones, devices = _bones(w, case), _devices(w, case)
    parts = [lungs, pleura, heart, bones] if w.chance(0.12) else [heart, lungs, pleura, bones]
    parts = [devices, *parts] if w.chance(0.3) else [*parts, devices]
    return " ".join(sentence for part in parts for sentence in part)


def impression_section(case: Case) -> str:
    w = Writer(generator(VERSION, "impression", case.study), reader(case))
    names = dict.fromkeys(_summary(f) for f in case.findings if f.name != "device")
    if names:
        return " ".join(f"{name.capitalize()}." for name in names)
    conclusion = w.say(NORMAL_IMPRESSION[:2] if case.findings else NORMAL_IMPRESSION)
    return f"Support device in place. {conclusion}" if case.findings else conclusion


def _summary(finding: Finding) -> str:
    lump = "lung mass" if finding.severity == "severe" else "lung nodule"
    name = {"nodule": lump, "effusion": "pleural effusion", "fracture": "rib fracture"}
    return f"{finding.side} {name.get(finding.name, finding.name)}".strip()
