"""From a case to a film: absorptions added up, exposed, and quantised to eight bits."""

from __future__ import annotations

import numpy as np

from bench.data.synthetic import findings as paint
from bench.data.synthetic.canvas import Array, Box, box, cloud, generator
from bench.data.synthetic.cases import Case, case, exposure
from bench.data.synthetic.frontal import Frontal
from bench.data.synthetic.lateral import Lateral

REVISION = 2  # of the pixels drawn for a case: a change is a new fingerprint and manifest
VIEWS = ("frontal", "lateral")
SOLID = {"effusion": 0.97, "consolidation": 0.72}  # share of air replaced
ADDED = {"nodule": 0.15, "atelectasis": 0.15, "device": 0.45, "fracture": 0.10}


def draw(case: Case, view: str, size: int) -> np.ndarray:
    """One film of a case, grey uint8 (size, size)."""
    body, layers = _body(case, view, size)
    return _expose(body.frame.lean(_absorb(body, layers)), body)


def _body(case: Case, view: str, size: int) -> tuple[paint.View, dict[int, Array]]:
    """The body on its film, and the layer of each finding (by index) that shows there."""
    film = exposure(case.study, view)
    body = Frontal(case, film, size) if view == "frontal" else Lateral(case, film, size)
    drawn = {k: _layer(body, finding) for k, finding in enumerate(case.findings)}
    return body, {k: layer for k, layer in drawn.items() if layer is not None}


def _layer(body: paint.View, finding: paint.Finding) -> Array | None:
    if finding.name == "cardiomegaly":
        return body.heart()
    if isinstance(body, Frontal) and finding.name == "pneumothorax":
        return paint.pneumothorax(body, finding)[0]
    if isinstance(body, Lateral) and finding.name in ("pneumothorax", "fracture"):
        return None
    return getattr(paint, finding.name)(body, finding)


def _absorb(body: paint.View, layers: dict[int, Array]) -> Array:
    heart = body.heart()
    middle = np.maximum(heart, body.vessels_between())
    thin = 1.0 - 0.92 * middle
    air = body.lung * thin
    texture = body.markings()
    added: Array | float = 0.0
    for k, layer in layers.items():
        finding = body.case.findings[k]
        if finding.name in SOLID:
            air = air * (1.0 - SOLID[finding.name] * layer)
            added = added + 0.04 * layer
        elif finding.name == "pneumothorax" and isinstance(body, Frontal):
            texture = texture * (1.0 - layer)
            lost = (0.0, 0.12, 0.30)[finding.grade] * body.half(finding)  # the lung shrinks
            air = air * (1.0 - lost * (1.0 - layer))
            added = added + 0.20 * paint.pneumothorax(body, finding)[1] - 0.07 * layer
        elif finding.name in ADDED:
            added = added + ADDED[finding.name] * layer
    bone = body.ribs() * (0.09 - 0.05 * middle) + body.bones()
    density = body.tissue() + 0.10 * middle + bone * body.body.bone
    density += air * (texture - 0.40) + added
    density -= 0.10 * body.airway()
    at, gas = body.gas()
    density[at] -= 0.16 * gas
    return density


def _expose(density: Array, body: paint.View) -> np.ndarray:
    """Grey scale with a bend, uneven exposure, sensor noise, eight bits."""
    film, size = body.film, len(density)
    rng = generator("grain", body.case.study, body.view)
    value = np.clip((density + 0.03 + film.bias) * (1.05 * film.gain), 0.0, 1.0)
    value += film.curve * value * (1.0 - value)
    value += (0.05 * cloud(rng, size, 3) - 0.025) * np.minimum(value * 5.0, 1.0)
    noise = rng.integers(0, 256, (2, size, size), dtype=np.uint8)
    grain = np.subtract(noise[0], 255.0 - noise[1].astype(np.float32), dtype=np.float32)
    value += grain * (film.grain / 104.0)
    grey = np.clip(value * 255.0 + 0.5, 0.0, 255.0).astype(np.uint8)
    return _shutters(grey, rng) if film.collimated else grey


def _shutters(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A collimated film: nothing outside the shutters, 4 to 9 % of the film at each side."""
    size = len(grey)
    top, bottom, left, right = (int(m) * size // 256 for m in rng.integers(10, 24, 4))
    out = np.zeros_like(grey)
    inner = slice(top, size - bottom), slice(left, size - right)
    out[inner] = grey[inner]
    return out


def boxes(study: str, size: int) -> list[dict[str, Box]]:
    """Boxes of each finding of a study by view."""
    found = case(study)
    out: list[dict[str, Box]] = [{} for _ in found.findings]
    for view in VIEWS:
        body, layers = _body(found, view, size)
        for k, layer in layers.items():
            if extent := box(body.frame.lean(layer)):
                out[k][view] = extent
    return out
