"""What illness and devices add to a film: one layer (0 to 1, size x size) for each finding."""

from __future__ import annotations

import numpy as np

from bench.data.synthetic.canvas import Array, cloud, generator, hill, ramp
from bench.data.synthetic.cases import Finding
from bench.data.synthetic.frontal import Frontal
from bench.data.synthetic.lateral import Lateral

View = Frontal | Lateral
Path = list[tuple[float, float]]

WIDTHS = {"pacemaker": 0.8, "port": 0.9, "line": 1.6, "tube": 1.5, "wires": 0.7}
HOUSED = ("pacemaker", "port")


def effusion(view: View, finding: Finding) -> Array:
    """Fluid in the pleural space, densest where it is deepest."""
    surface = view.fluid(finding)
    return ramp((view.y - surface) * 9.0 + 0.4) * ramp(view.lung * 4.0) * view.half(finding)


def pneumothorax(view: Frontal, finding: Finding) -> tuple[Array, Array]:
    """(free air without markings between wall and lung, the visceral pleural line)."""
    edge = (0.55, 0.32, 0.10)[finding.grade] + 0.08 * (finding.at[0] - 0.5)
    inside = view.lung * view.half(finding)
    off = view.outward - edge
    line = hill(off * off * (700.0)) * inside
    return ramp(off * 14.0 + 0.5) * inside, line


def nodule(view: View, finding: Finding) -> Array:
    x, y = view.spot(finding)
    radius = (0.042, 0.062, 0.095)[finding.grade] * (0.9 + 0.2 * finding.at[2])
    u, v = (view.x - x) * (1.0 / radius), (view.y - y) * (1.0 / radius)
    return ramp((1.15 - u * u - v * v) * 1.6)


def consolidation(view: View, finding: Finding) -> Array:
    """Patchy air-space opacity with soft margins, within its lung."""
    x, y = view.spot(finding)
    radius = (0.21, 0.28, 0.37)[finding.grade]
    u, v = (view.x - x) * (1.0 / radius), (view.y - y) * (0.95 / radius)
    patch = cloud(generator(finding.seed, view.view), view.frame.size, 17)
    layer = ramp(hill(u * u + v * v) * (0.7 + 1.5 * patch))
    return layer * view.lung * view.half(finding)


def atelectasis(view: View, finding: Finding) -> Array:
    """Plates: nearly horizontal bands above the diaphragm, more and thicker when severe."""
    x, y = view.spot(finding)
    sign = 1.0 if finding.side == "left" else -1.0
    plates = []
    for k in range(finding.grade + 1):
        low = y + 0.03 - 0.075 * k
        reach = (0.15, 0.18, 0.21)[finding.grade] - 0.03 * k
        slant = sign * (0.08 * finding.at[2] - 0.02)
        plates.append([(x - reach, low - slant), (x, low + 0.01), (x + reach, low + slant)])
    return view.frame.strokes(plates, (2.0, 2.5, 3.2)[finding.grade]) * view.lung


def fracture(view: Frontal, finding: Finding) -> Array:
    """Callus around the moved fragment; the step itself is drawn with the ribs."""
    tau, _, y = view.rib_at(finding)
    wall = view.wall[np.argmin(np.abs(view.y[:, 0] - y)), 0] + 0.03
    x = (tau + 0.06) * (wall if finding.side == "left" else -wall)
    u, v = (view.x - x) * (1.0 / 0.08), (view.y - y) * (1.0 / 0.09)
    return hill(u * u + v * v)


def device(view: View, finding: Finding) -> Array:
    """Metal and plastic; wires bend through the points of `paths`."""
    layer = view.frame.strokes(paths(view, finding), WIDTHS[finding.kind])
    return np.maximum(layer, housing(view, finding)) if finding.kind in HOUSED else layer


def housing(view: View, finding: Finding) -> Array:
    """The housing of a pacemaker or port: flat from the front, edge-on from the side."""
    a, b, _ = finding.at
    big = finding.kind == "pacemaker"
    if isinstance(view, Frontal):
        sign = 1.0 if finding.side == "left" else -1.0
        x, y = sign * (0.46 + 0.1 * a), (-0.40 if big else -0.32) + 0.1 * b
        wide, high = (0.11, 0.10) if big else (0.055, 0.055)
    else:
        y = (-0.40 if big else -0.32) + 0.1 * b
        x = -0.50 + 0.55 * (-y - 0.25)
        wide, high = (0.035, 0.10) if big else (0.03, 0.055)
    u, v = (view.x - x) * (1.0 / wide), (view.y - y) * (1.0 / high)
    u, v = u * u, v * v
    return ramp((1.1 - u * u - v * v) * 2.5)


def paths(view: View, finding: Finding) -> list[Path]:
    """Points of each wire or tube in body coordinates."""
    draw = _frontal_paths if isinstance(view, Frontal) else _lateral_paths
    return draw(finding.kind, 1.0 if finding.side == "left" else -1.0, *finding.at)


def _frontal_paths(kind: str, s: float, a: float, b: float, c: float) -> list[Path]:
    if kind == "pacemaker":
        start = (s * (0.46 + 0.1 * a), -0.44 + 0.1 * b)
        cava: Path = [start, (s * 0.24, -0.56), (-0.09 + 0.04 * s, -0.42), (-0.11, -0.12)]
        ventricle: Path = [(-0.10, 0.22), (0.02, 0.40), (0.20 + 0.1 * c, 0.42 - 0.04 * a)]
        return [cava + ventricle, [*cava, (-0.13, 0.14), (-0.05, 0.20), (-0.02, 0.12)]]
    if kind == "port":
        start = (s * (0.46 + 0.1 * a), -0.32 + 0.1 * b)
        return [[start, (s * 0.30, -0.56), (s * 0.12, -0.50), (-0.10, -0.30), (-0.10, -0.02)]]
    if kind == "line":
        neck: Path = [(s * 0.17, -0.95), (s * 0.14, -0.66), (-0.08 + 0.03 * s, -0.42)]
        return [[*neck, (-0.10, -0.20), (-0.10, -0.04 + 0.1 * c)]]
    if kind == "tube":
        inner: Path = [(s * (0.45 + 0.1 * a), 0.06), (s * 0.32, -0.30), (s * 0.28, -0.52)]
        return [[(s * 0.98, 0.42), (s * 0.74, 0.28 + 0.1 * b), *inner]]
    loops: list[Path] = []
    for k in range(6):
        y, w = -0.36 + 0.115 * k + 0.02 * (b - 0.5), 0.042 + 0.008 * ((k * 7) % 3)
        x = 0.02 * (a - 0.5) + 0.008 * ((k * 5) % 4 - 1.5)
        loops.append([(x - w, y), (x, y - 0.03), (x + w, y), (x, y + 0.03), (x - w, y)])
    return loops


def _lateral_paths(kind: str, s: float, a: float, b: float, c: float) -> list[Path]:
    if kind in HOUSED:
        y = (-0.40 if kind == "pacemaker" else -0.32) + 0.1 * b
        cava: Path = [(0.55 * (-y - 0.25) - 0.50, y), (-0.15, -0.56), (0.0, -0.40), (0.0, -0.10)]
        if kind == "port":
            return [cava]
        ventricle: Path = [(-0.02, 0.20), (-0.14, 0.38), (-0.30 - 0.1 * c, 0.40)]
        return [cava + ventricle, [*cava, (-0.06, 0.14), (-0.14, 0.10)]]
    if kind == "line":
        return [[(0.04, -0.9), (0.0, -0.55), (0.0, -0.25), (0.0, -0.04 + 0.1 * c)]]
    if kind == "tube":
        return [[(0.30, 0.50), (0.24, 0.1 + 0.1 * b), (0.14, -0.25), (0.10, -0.50)]]
    ties: list[Path] = []
    for k in range(6):
        y = -0.36 + 0.115 * k + 0.02 * (b - 0.5)
        x = -0.57 - 0.14 * y + 0.2 * y * y + 0.2 * max(0.0, -0.25 - y)
        ties.append([(x - 0.02, y), (x + 0.015, y + 0.012)])
    return ties
