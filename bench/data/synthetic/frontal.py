"""The frontal (posteroanterior) view. The patient's right is at negative x, the image's left.

Body coordinates are half film widths, y downwards; the spine is at x = 0. Shapes are 0 to 1;
`film.py` adds them up as absorptions.
"""

from __future__ import annotations

import numpy as np

from bench.data.synthetic.canvas import Array, Frame, blur, cloud, generator, hill, ramp
from bench.data.synthetic.cases import Case, Exposure, Finding

WALL = 0.70  # half width of the thorax inside the ribs, the denominator of the CTR
LEVELS = {"upper": (-0.46, -0.24), "mid": (-0.12, 0.06), "lower": (0.18, 0.34)}


def heart_ratio(case: Case) -> float:
    """Cardiothoracic ratio as drawn: above .5 only in cardiomegaly."""
    found = case.find("cardiomegaly")
    if not found:
        return case.anatomy.ratio
    return (0.545, 0.605, 0.675)[found[0].grade] + 0.03 * (found[0].at[0] - 0.5)


class Frontal:
    """Coordinates, walls and lungs of one frontal film; methods give the other shapes."""

    view = "frontal"

    def __init__(self, case: Case, film: Exposure, size: int) -> None:
        body = case.anatomy
        scale = body.scale * film.zoom
        self.case, self.body, self.film = case, body, film
        self.frame = Frame(size, film.dx, film.dy + 0.03, scale, scale * body.aspect, film.tilt)
        self.x, self.y = self.frame.grid()
        self.away, self.left = np.abs(self.x), self.x > 0
        down = np.clip((self.y - body.apex) * (1.0 / (0.35 - body.apex)), 0.0, 1.0)
        self.wall = WALL * (body.waist + (1.0 - body.waist) * down)
        self.top = self._tops()
        bow = (self.away - 0.33) * (1.0 / 0.37)
        self.bow = np.maximum(bow, 0.0)
        self.dome = self.top + bow * bow * (0.07 + 0.11 * self.bow)
        self.outward, self.lung = self._lungs()
        # Rib coordinates: distance from the spine as a share of the wall's, and its square.
        self.tau = self.away / (self.wall + 0.03)
        self.square = self.tau * self.tau

    def _tops(self) -> Array:
        """Height of each diaphragm (1, size): atelectasis takes volume, so that it rises."""
        height = {"right": self.body.dome, "left": self.body.dome + self.body.drop}
        for finding in self.case.find("atelectasis"):
            height[finding.side] -= (0.0, 0.03, 0.07)[finding.grade]
        low, high = np.float32(height["left"]), np.float32(height["right"])
        return np.where(self.left, low, high) + np.float32(self.film.breath)

    def _lungs(self) -> tuple[Array, Array]:
        """(how far towards wall and apex: 1 there, 0 at the hilum; air)."""
        body = self.body
        middle = 0.52 * self.wall + 0.02
        reach = np.clip((0.05 - self.y) * (1.0 / (0.05 - body.apex)), 0.0, 1.0)
        cube = reach * reach * reach
        across = (self.away - middle) / (self.wall - middle)
        outer = np.maximum(across, 0.0)
        arch = outer * outer + cube
        far = np.maximum(self.away - 0.12, 0.0) / (self.wall - 0.12)
        far *= far
        inner = np.minimum(across, 0.0) * ramp((-0.25 - self.y) * 8.0)
        lung = ramp((1.02 - arch - inner * inner) * 7.0)
        lung *= ramp((self.dome - self.y) * 22.0 + 0.5)
        return far * far + cube, lung

    def half(self, finding: Finding) -> Array:
        """Bool (1, size): the half of the body on the finding's side."""
        return self.left if finding.side == "left" else ~self.left

    def spot(self, finding: Finding) -> tuple[float, float]:
        """Body coordinates inside the lung zone that a finding names."""
        across, down, _ = finding.at
        low, high = LEVELS[finding.zone]
        near, far = (0.24, 0.42) if finding.zone == "upper" else (0.27, 0.53)
        if finding.zone == "lower" and finding.side == "left":
            near = max(0.40, 0.80 * heart_ratio(self.case))  # beside the heart
            far = 0.58
        x = near + (far - near) * across
        return (x if finding.side == "left" else -x), low + (high - low) * down

    def fluid(self, finding: Finding) -> Array:
        """Height of an effusion's surface (1, size): a meniscus that climbs the lateral wall."""
        rise = self.bow * self.bow
        base, climb = ((0.19, 0.24), (-0.06, 0.24), (-0.36, 0.26))[finding.grade]
        return self.top + (base + 0.06 * (finding.at[0] - 0.5)) - climb * rise

    def tissue(self) -> Array:
        body, away, y = self.body, self.away, self.y
        shoulder = -0.86 - 0.6 * ramp((0.34 - away) * 3.2) + 0.24 * away * away
        outer = 0.87 + 0.02 * body.bulk + 0.6 * ramp((-0.16 - y) * 1.8)
        mask = ramp((y - shoulder) * 9.0) * ramp((outer - away) * 9.0)
        level = 0.44 + 0.10 * body.bulk - 0.10 * away * away - 0.12 * ramp((-0.55 - y) * 2.5)
        mask *= level + 0.20 * ramp((y - self.dome + 0.1) * 2.2)
        return mask + self._breasts() if body.female else mask

    def _breasts(self) -> Array:
        """Two shadows with a crisp lower edge; larger and denser in heavier women."""
        u = (self.away - 0.48) * (1.0 / 0.36)
        v = (self.y - 0.20) * (1.0 / (0.25 + 0.05 * self.body.bulk))
        return ramp((1.0 - u * u - v * v) * 1.8) * (0.08 * self.body.bulk)

    def heart(self) -> Array:
        width = 2.0 * WALL * heart_ratio(self.case)
        x = self.x - self.film.turn - self.shift()
        half = np.where(self.left, np.float32(0.69 * width), np.float32(0.31 * width))
        u = x / half
        v = (self.y - 0.26 - 0.20 * x) * (1.0 / (0.33 + 0.16 * (width - 0.62)))
        v = np.where(v > 0, 0.8 * v, v)
        return ramp((1.0 - u * u - v * v) * 2.6)

    def shift(self) -> float:
        """A large pneumothorax pushes the mediastinum to the other side."""
        found = [f for f in self.case.find("pneumothorax") if f.severity == "severe"]
        return sum((0.07 if f.side == "right" else -0.07) for f in found)

    def vessels_between(self) -> Array:
        """Mediastinum above the heart: great vessels, aortic knob, pulmonary trunk."""
        x, y = self.x - self.film.turn - self.shift(), self.y
        stem = 0.105 + 0.05 * ramp((y + 0.15) * 2.5) + 0.06 * ramp((-0.4 - y) * 4.0)
        core = ramp((stem - np.abs(x - 0.02)) * 13.0)
        at = self.frame.window(-0.15, -0.42, 0.40, 0.22)
        x, y = x[:, at[1]], y[at[0]]
        kx, ky = x - 0.09, y + 0.21
        size = self.body.knob * self.body.knob
        knob = 0.95 * ramp((size - kx * kx - 0.5 * ky * ky) * 90.0 + 0.4)
        px, py = x - 0.11, y + 0.03
        trunk = 0.9 * ramp((0.009 - px * px - 0.25 * py * py) * 110.0)
        core[at] = np.maximum(core[at], np.maximum(knob, trunk))
        return core

    def ribs(self) -> Array:
        """Posterior ribs and, fainter, their anterior ends; a fracture is a step in one."""
        y, square, body = self.y, self.square, self.body
        back = self._rib_phase()
        for finding in self.case.find("fracture"):
            back = back + self._step(back, finding)
        off = np.abs(back - np.floor(back) - 0.5)
        rib = ramp((0.27 - off) * 9.0) * (0.75 + 1.6 * off)
        front = (y + 0.42 * square - 0.1) * (1.0 / body.pitch) + body.phase
        off = np.abs(front - np.floor(front) - 0.5)
        rib += ramp((0.25 - off) * 8.0) * (0.45 * ramp((self.tau - 0.35) * 3.0))
        rib *= ramp((1.08 - self.tau) * 14.0)
        rib *= ramp((y - body.apex - 0.02) * 12.0)
        return rib * ramp((0.75 - y) * 5.0)

    def _rib_phase(self) -> Array:
        """Counts ribs downwards: n + 0.5 on the axis of the n-th posterior rib."""
        body = self.body
        return (self.y - body.slope * self.square + 0.16 * self.tau) * (
            1.0 / body.pitch
        ) + body.phase

    def rib_at(self, finding: Finding) -> tuple[float, float, float]:
        """The broken rib: (tau of the break, its phase, body y)."""
        body = self.body
        tau = 0.55 + 0.3 * finding.at[0]
        y = {"upper": -0.36, "mid": -0.08, "lower": 0.20}[finding.zone] + 0.1 * finding.at[1]
        offset = -body.slope * tau * tau + 0.16 * tau
        phase = float(np.floor((y + offset) / body.pitch + body.phase)) + 0.5
        return tau, phase, (phase - body.phase) * body.pitch - offset

    def _step(self, back: Array, finding: Finding) -> Array:
        """What a fracture adds to the rib phase: the outer fragment is moved by half a width."""
        tau, phase, _ = self.rib_at(finding)
        moved = 0.50 if finding.at[2] < 0.5 else -0.50
        near = hill((back - phase) * (back - phase) * 0.8)
        near *= ramp((self.tau - tau) * 60.0)
        near *= ramp((tau + 0.22 - self.tau) * 8.0)
        return near * self.half(finding) * np.float32(moved)

    def bones(self) -> Array:
        """Spine, clavicles, shoulder blades and humeral heads, with their weights."""
        x, y = self.x, self.y
        disc = (y + 2.0) * (1.0 / 0.135)
        disc = np.abs(disc - np.floor(disc) - 0.5)
        bones = ramp((0.078 - self.away) * 22.0) * (0.11 + 0.07 * ramp((0.42 - disc) * 10.0))
        bones += hill(x * x * 2500.0) * (0.06 * ramp((0.2 - disc) * 8.0))
        at = self.frame.window(-1.2, -0.80, 1.2, 0.14)
        bones[at] += self._shoulders(self.away[:, at[1]], y[at[0]])
        at = self.frame.window(-1.0, -0.75, 1.0, -0.42)
        bones[at] += self._clavicles(x[:, at[1]], y[at[0]])
        return bones

    def _clavicles(self, x: Array, y: Array) -> Array:
        q = np.clip((np.abs(x - 1.6 * self.film.turn) - 0.07) * (1.0 / 0.72), 0.0, 1.2)
        middle = -0.50 - 0.38 * q + 0.24 * q * q
        clavicle = ramp((0.034 - np.abs(y - middle)) * 45.0)
        return clavicle * (0.13 * ramp(q * 14.0) * ramp((1.1 - q) * 8.0))

    def _shoulders(self, away: Array, y: Array) -> Array:
        blade = ramp((away - 0.672 - 0.13 * y) * 26.0) * (0.06 * ramp((1.0 - away) * 6.0))
        blade *= ramp((0.12 - y) * 4.0) * ramp((y + 0.60) * 8.0)
        hx, hy = away - 0.98, y + 0.53
        head = ramp((0.022 - hx * hx - 0.8 * hy * hy) * 70.0)
        return blade + 0.13 * head

    def airway(self) -> Array:
        x, y = self.x - 1.2 * self.film.turn - self.shift(), self.y
        air = ramp((0.036 - np.abs(x - 0.012)) * 45.0) * ramp((-0.20 - y) * 12.0)
        at = self.frame.window(-0.35, -0.26, 0.35, 0.0)
        x, y = x[:, at[1]], y[at[0]]
        bronchi = ramp((0.026 - np.abs(np.abs(x) - 0.55 * (y + 0.22) - 0.02)) * 40.0)
        air[at] += bronchi * (0.6 * ramp((y + 0.24) * 16.0) * ramp((-0.02 - y) * 10.0))
        return air

    def gas(self) -> tuple[tuple[slice, slice], Array]:
        """The stomach bubble below the left diaphragm: where it lies, and its strength."""
        gas, low = self.body.gas, self.body.dome + self.body.drop + 0.15
        at = self.frame.window(0.12, low - 0.12, 0.60, low + 0.12)
        u = (self.x[:, at[1]] - 0.36) * (1.0 / (0.13 + 0.08 * gas))
        v = (self.y[at[0]] - low) * (1.0 / (0.05 + 0.05 * gas))
        return at, ramp((1.0 - u * u - v * v) * 1.6) * gas

    def markings(self) -> Array:
        """Vessels that leave the hila, branch once and thin out towards the periphery."""
        rng = generator("vessels", self.case.patient)
        count, steps = 28, 24
        u = rng.random((8, 2, count, 1))
        sign = np.array([-1.0, 1.0]).reshape(2, 1, 1)
        aim_x, aim_y = 0.10 + 0.55 * u[0], -0.58 + 1.12 * u[1]
        t = np.arange(steps) / (steps - 1) * np.where(u[3] < 0.4, 1.0, 0.55 + 0.4 * u[3])
        bend = (u[2] - 0.5) * 0.22 * t * (1.0 - t)
        x = 0.11 + 0.05 * u[7] + aim_x * t + bend
        y = -0.09 + 0.16 * u[4] + aim_y * t - bend
        fork = (u[5] > 0.35) * np.maximum(t - 0.35, 0.0) * (u[6] - 0.5) * 1.4
        xs = np.concatenate([x, x - fork * aim_y], axis=1) * sign
        ys = np.concatenate([y, y + fork * aim_x], axis=1)
        weight = np.concatenate([(1.0 - t) * (0.8 - t) + 0.20] * 2, axis=1)
        film = self.frame.splat(xs.ravel(), ys.ravel(), weight.ravel())
        fine = cloud(rng, self.frame.size, 23)
        scale = np.float32(0.19 * self.frame.size / 128)
        return np.minimum(blur(film) * scale, 0.22) + (fine - 0.5) * 0.03
