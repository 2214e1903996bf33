"""Who is on the film: patients, their anatomy, and what each study shows.

Everything follows from a study's id, "syn<seed>-<split><patient>-<visit>": a patient keeps
anatomy and illness over the visits, a visit has findings and an exposure of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from bench.data.synthetic.canvas import Box, bell, generator

VERSION = 1
SEVERITIES = ("mild", "moderate", "severe")

# CheXpert's observation for each finding (a CheXpert labeler or linear probe speaks of these).
CHEXPERT = {
    "cardiomegaly": "Cardiomegaly",
    "effusion": "Pleural Effusion",
    "pneumothorax": "Pneumothorax",
    "nodule": "Lung Lesion",
    "consolidation": "Consolidation",
    "atelectasis": "Atelectasis",
    "fracture": "Fracture",
    "device": "Support Devices",
    "normal": "No Finding",
}
FINDINGS = tuple(name for name in CHEXPERT if name != "normal")

# Share of patients by illness, and how often a visit shows each finding in that illness: the
# source of prevalence and co-occurrence. A patient who is well can only have a normal study.
ILLNESSES: dict[str, tuple[float, dict[str, float]]] = {
    "well": (0.37, {}),
    "heart": (0.24, {"cardiomegaly": 0.9, "effusion": 0.45, "device": 0.45, "atelectasis": 0.1}),
    "infection": (0.13, {"consolidation": 0.9, "effusion": 0.35, "cardiomegaly": 0.1}),
    "chronic": (0.09, {"atelectasis": 0.7, "cardiomegaly": 0.25, "nodule": 0.1, "fracture": 0.1}),
    "tumour": (0.07, {"nodule": 0.85, "effusion": 0.3, "device": 0.35}),
    "trauma": (0.06, {"fracture": 0.65, "pneumothorax": 0.6, "effusion": 0.15}),
    "surgery": (0.04, {"device": 0.9, "effusion": 0.4, "pneumothorax": 0.3, "atelectasis": 0.4}),
}
DEVICES = {
    "heart": {"pacemaker": 0.6, "wires": 0.4},
    "tumour": {"port": 1.0},
    "surgery": {"tube": 0.5, "line": 0.3, "wires": 0.2},
}
ZONES = {  # upper, mid, lower
    "nodule": {"upper": 0.4, "mid": 0.3, "lower": 0.3},
    "consolidation": {"upper": 0.3, "mid": 0.15, "lower": 0.55},
    "atelectasis": {"lower": 1.0},
    "fracture": {"upper": 0.2, "mid": 0.4, "lower": 0.4},
}
GRADES = {"mild": 0.42, "moderate": 0.35, "severe": 0.23}
BILATERAL = {"effusion": 0.3, "atelectasis": 0.2}
RIGHT = 0.52  # else, of a finding that has a side
# Batteries mostly lie left, ports and lines right; a tube drains the side that is drawn here.
RIGHT_DEVICES = {"pacemaker": 0.15, "port": 0.8, "line": 0.8, "tube": 0.5}
SIDELESS = ("cardiomegaly", "device")  # devices but those of RIGHT_DEVICES
GRADELESS = ("device", "fracture")
FEMALE = 0.5
COLLIMATED = 0.2  # of the films


@dataclass(frozen=True)
class Finding:
    """One thing on the film. Side is the patient's: "right" lies on the image's left."""

    name: str
    side: str = ""  # "right", "left"; "" where a side means nothing
    zone: str = ""  # "upper", "mid", "lower"
    severity: str = ""  # one of SEVERITIES
    kind: str = ""  # devices: "pacemaker", "wires", "port", "tube", "line"
    at: tuple[float, float, float] = (0.5, 0.5, 0.5)  # place inside its zone: across, down, depth
    seed: int = 0  # of its texture
    boxes: dict[str, Box] = field(default_factory=dict)  # by view; absent where not visible

    @property
    def grade(self) -> int:
        return SEVERITIES.index(self.severity)


@dataclass(frozen=True)
class Anatomy:
    """A patient's build. Lengths in half film widths before `scale`."""

    female: bool
    scale: float
    aspect: float  # height over width
    bulk: float  # soft tissue, 1 = average
    ratio: float  # cardiothoracic ratio of the healthy heart
    dome: float  # height of the right diaphragm
    drop: float  # how much lower the left diaphragm is
    knob: float  # radius of the aortic knob
    pitch: float  # distance between ribs
    phase: float  # of the ribs
    slope: float  # how steeply the ribs fall
    bone: float  # contrast of bone
    apex: float  # height of the lungs
    waist: float  # width of the upper thorax over the lower
    gas: float  # stomach bubble


@dataclass(frozen=True)
class Exposure:
    """One film: position and technique. Differs between views and visits."""

    dx: float
    dy: float
    zoom: float
    tilt: float
    turn: float  # rotation about the long axis: moves what lies in front against the spine
    gain: float
    bias: float
    curve: float  # bend of the grey scale
    grain: float
    breath: float  # depth of inspiration
    collimated: bool


@dataclass(frozen=True)
class Case:
    study: str
    patient: str
    anatomy: Anatomy
    findings: tuple[Finding, ...]

    def find(self, name: str) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.name == name)


def pick(rng: np.random.Generator, weights: dict[str, float]) -> str:
    """One key of a table of weights."""
    left = float(rng.random()) * sum(weights.values())
    for name, weight in weights.items():
        left -= weight
        if left < 0:
            return name
    return name


def patient_of(study: str) -> str:
    return study.rpartition("-")[0]


def visits(patient: str) -> int:
    """How many studies a patient has: most have one."""
    u = float(generator(VERSION, "visits", patient).random())
    return 1 + (u > 0.88) + (u > 0.97)


@lru_cache(maxsize=8192)
def anatomy(patient: str) -> Anatomy:
    rng = generator(VERSION, "anatomy", patient)
    female = bool(rng.random() < FEMALE)
    return Anatomy(
        female=female,
        scale=bell(rng, 1.06 if female else 1.11, 0.05),
        aspect=bell(rng, 1.0, 0.045),
        bulk=max(0.6, bell(rng, 1.0, 0.2)),
        ratio=min(0.475, bell(rng, 0.435, 0.022)),
        dome=bell(rng, 0.47, 0.045),
        drop=bell(rng, 0.045, 0.02),
        knob=bell(rng, 0.085, 0.015),
        pitch=bell(rng, 0.152, 0.008),
        phase=float(rng.random()),
        slope=bell(rng, 0.30, 0.05),
        bone=max(0.4, bell(rng, 1.0, 0.2)),
        apex=bell(rng, -0.70, 0.03),
        waist=bell(rng, 0.78, 0.04),
        gas=float(rng.random()),
    )


def exposure(study: str, view: str) -> Exposure:
    rng = generator(VERSION, "exposure", study, view)
    return Exposure(
        dx=bell(rng, 0.0, 0.045),
        dy=bell(rng, 0.0, 0.045),
        zoom=bell(rng, 1.0, 0.035),
        tilt=bell(rng, 0.0, 0.025),
        turn=bell(rng, 0.0, 0.014),
        gain=bell(rng, 1.0, 0.08),
        bias=bell(rng, 0.0, 0.04),
        curve=bell(rng, 0.0, 0.15),
        grain=max(0.006, bell(rng, 0.016, 0.006)),
        breath=bell(rng, 0.0, 0.02),
        collimated=bool(rng.random() < COLLIMATED),
    )


def _sides(rng: np.random.Generator, name: str) -> list[str]:
    if name in SIDELESS:
        return [""]
    if rng.random() < BILATERAL.get(name, 0.0):
        return ["right", "left"]
    return ["right" if rng.random() < RIGHT else "left"]


def _place(rng: np.random.Generator) -> tuple[float, float, float]:
    a, b, c = (float(u) for u in rng.random(3))
    return a, b, c


def _make(rng: np.random.Generator, name: str, illness: str) -> list[Finding]:
    zone = pick(rng, ZONES[name]) if name in ZONES else ""
    grade = "" if name in GRADELESS else pick(rng, GRADES)
    kind = pick(rng, DEVICES[illness]) if name == "device" else ""
    right = RIGHT_DEVICES.get(kind)
    sides = _sides(rng, name)
    if right is not None:
        sides = ["right" if rng.random() < right else "left"]
    return [
        Finding(name, side, zone, grade, kind, _place(rng), int(rng.integers(1 << 30)))
        for side in sides
    ]


@lru_cache(maxsize=4096)
def case(study: str) -> Case:
    """What a study shows; a pure function of its id."""
    patient = patient_of(study)
    illness = pick(
        generator(VERSION, "illness", patient), {k: share for k, (share, _) in ILLNESSES.items()}
    )
    rng = generator(VERSION, "findings", study)
    findings: list[Finding] = []
    for name in FINDINGS:
        if rng.random() < ILLNESSES[illness][1].get(name, 0.0):
            findings += _make(rng, name, illness)
    return Case(study, patient, anatomy(patient), tuple(findings))
