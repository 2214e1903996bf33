"""The lateral view. The patient faces the image's left: sternum at negative x, spine at positive.

Same coordinates and conventions as `frontal.py`.
"""

from __future__ import annotations

import numpy as np

from bench.data.synthetic.canvas import Array, Frame, blur, cloud, generator, hill, ramp
from bench.data.synthetic.cases import Case, Exposure, Finding
from bench.data.synthetic.frontal import LEVELS, heart_ratio


class Lateral:
    """Coordinates, walls and lungs of one lateral film; methods give the other shapes."""

    view = "lateral"

    def __init__(self, case: Case, film: Exposure, size: int) -> None:
        body = case.anatomy
        scale = 0.98 * body.scale * film.zoom
        self.case, self.body, self.film = case, body, film
        self.frame = Frame(size, film.dx, film.dy + 0.05, scale, scale * body.aspect, film.tilt)
        self.x, self.y = self.frame.grid()
        y = self.y
        bent = np.maximum(y - 0.05, -0.72)
        # Inner front wall (sternum) and inner back wall, (size, 1) each.
        self.front = -0.53 + 0.20 * bent * bent - 0.14 * y + 0.16 * ramp((-0.25 - y) * 1.6)
        self.back = 0.60 - 0.42 * bent * bent
        self.spine = self.back - 0.10
        self.top = body.dome - 0.02 + film.breath
        self.dome = self._dome(self.top)
        self.lung = self._lungs()

    def _dome(self, top: float) -> Array:
        """Height of a diaphragm (1, size): high in front of the middle, deep at the back."""
        u = self.x + 0.12
        back = np.maximum(u, 0.0)
        return top + 0.16 * u * u + 0.38 * back * back

    def _lungs(self) -> Array:
        x, y = self.x, self.y
        lung = ramp((x - self.front) * 12.0) * ramp((self.back - x) * 12.0)
        lung *= ramp((self.dome - y) * 22.0 + 0.5)
        u, v = (x - 0.10) * (1.0 / 0.62), np.minimum(y + 0.10, 0.0) * (1.0 / 0.60)
        return lung * ramp((1.05 - u * u - v * v * v * v) * 5.0)

    def half(self, finding: Finding) -> Array:
        return np.ones((1, self.frame.size), dtype=bool)

    def spot(self, finding: Finding) -> tuple[float, float]:
        low, high = LEVELS[finding.zone]
        y = low + (high - low) * finding.at[1]
        near, far = (-0.05, 0.30) if finding.zone == "upper" else (0.05, 0.42)
        return near + (far - near) * finding.at[2], y

    def fluid(self, finding: Finding) -> Array:
        """Height of an effusion's surface (1, size): it fills the posterior angle first."""
        back = np.clip((self.x - 0.05) * 2.0, 0.0, 1.0)
        base, climb = ((0.34, 0.30), (-0.02, 0.26), (-0.32, 0.26))[finding.grade]
        return self.top + (base + 0.06 * (finding.at[0] - 0.5)) - climb * back * back

    def tissue(self) -> Array:
        body, x, y = self.body, self.x, self.y
        fat = 0.10 + 0.03 * body.bulk
        front = self.front - fat
        if body.female:
            bulge = (y - 0.22) * (1.0 / 0.32)
            front = front - (0.12 + 0.05 * body.bulk) * hill(bulge * bulge)
        front = front + 0.10 * ramp((-0.5 - y) * 3.0) - 0.10 * ramp((y - 0.35) * 2.0)
        back = self.back + 0.16 + 0.03 * body.bulk
        mask = ramp((x - front) * 12.0) * ramp((back - x) * 9.0)
        arms = 0.22 * ramp((-0.42 - y) * 3.0)
        return mask * (0.50 + 0.10 * body.bulk + arms + 0.20 * ramp((y - self.dome + 0.1) * 2.2))

    def heart(self) -> Array:
        grow = heart_ratio(self.case) / 0.435
        u = (self.x + 0.22 - 0.10 * (grow - 1.0)) * (1.0 / (0.36 * grow))
        v = (self.y - 0.27 - 0.25 * (self.x + 0.2)) * (1.0 / (0.34 * (0.6 + 0.4 * grow)))
        v = np.where(v > 0, 0.6 * v, v)
        return 0.72 * ramp((1.0 - u * u - v * v) * 1.4)

    def vessels_between(self) -> Array:
        """Aortic arch and the vessels at the hilum."""
        out = np.zeros((self.frame.size, self.frame.size), dtype=np.float32)
        at = self.frame.window(-0.15, -0.40, 0.45, 0.20)
        x, y = self.x[:, at[1]], self.y[at[0]]
        ax, ay = x - 0.14, y + 0.12
        ring = ax * ax + ay * ay - 0.042
        arch = hill(ring * ring * 2500.0) * (0.22 * ramp((0.05 - ay) * 6.0))
        hx, hy = x - 0.10, y + 0.02
        out[at] = np.maximum(arch, 0.40 * hill(hx * hx * 70.0 + hy * hy * 45.0))
        return out

    def ribs(self) -> Array:
        """Both sides' ribs cross the film obliquely."""
        body, x, y = self.body, self.x, self.y
        total: Array | float = 0.0
        for shift, slope in ((0.0, 0.42), (0.4, 0.52)):
            phase = (y + slope * x + 0.25 * x * x) * (1.0 / (1.1 * body.pitch)) + shift + body.phase
            off = np.abs(phase - np.floor(phase) - 0.5)
            total = total + ramp((0.20 - off) * 9.0)
        total = total * ramp((x - self.front - 0.1) * 4.0) * (0.4 * ramp((self.back - x) * 12.0))
        return total * ramp((self.dome + 0.15 - y) * 5.0) * ramp((y + 0.62) * 5.0)

    def bones(self) -> Array:
        """Vertebral bodies, sternum and shoulder, with their weights."""
        y = self.y
        disc = (y + 2.0) * (1.0 / 0.15)
        disc = np.abs(disc - np.floor(disc) - 0.5)
        bones = np.zeros((self.frame.size, self.frame.size), dtype=np.float32)
        at = self.frame.window(0.0, -1.3, 0.95, 1.3)
        x = self.x[:, at[1]] - self.spine[at[0]]
        off = np.abs(x - 0.02)
        bones[at] = ramp((0.095 - off) * 26.0) * (0.10 + 0.10 * ramp((0.42 - disc[at[0]]) * 10.0))
        bones[at] += ramp((0.05 - np.abs(off - 0.16)) * 20.0) * (0.05 * (x > 0))
        at = self.frame.window(-0.75, -0.6, -0.2, 0.3)
        plate = ramp((0.026 - np.abs(self.x[:, at[1]] - self.front[at[0]] + 0.035)) * 50.0)
        bones[at] += plate * (0.14 * ramp((0.22 - y[at[0]]) * 8.0) * ramp((y[at[0]] + 0.55) * 8.0))
        at = self.frame.window(-0.25, -0.95, 0.68, -0.38)
        sx, sy = self.x[:, at[1]] - 0.22, y[at[0]] + 0.66
        bones[at] += 0.10 * ramp((1.0 - sx * sx * 5.0 - sy * sy * 16.0) * 1.5)
        return bones

    def airway(self) -> Array:
        at = self.frame.window(-0.2, -1.3, 0.3, 0.0)
        x, y = self.x[:, at[1]], self.y[at[0]]
        air = np.zeros((self.frame.size, self.frame.size), dtype=np.float32)
        off = np.abs(x - 0.10 - 0.16 * (y + 0.2))
        air[at] = ramp((0.034 - off) * 40.0) * ramp((-0.12 - y) * 10.0)
        return air

    def gas(self) -> tuple[tuple[slice, slice], Array]:
        gas, low = self.body.gas, self.body.dome + self.body.drop + 0.17
        at = self.frame.window(-0.34, low - 0.12, 0.14, low + 0.12)
        u = (self.x[:, at[1]] + 0.10) * (1.0 / (0.14 + 0.08 * gas))
        v = (self.y[at[0]] - low) * (1.0 / (0.05 + 0.05 * gas))
        return at, ramp((1.0 - u * u - v * v) * 1.6) * gas

    def markings(self) -> Array:
        """Vessels that spread from the hilum in all directions."""
        rng = generator("vessels", self.case.patient, self.view)
        count, steps = 56, 24
        u = rng.random((5, count, 1))
        aim_x, aim_y = -0.60 + 1.15 * u[0], -0.55 + 1.20 * u[1]
        t = np.arange(steps) / (steps - 1) * (0.5 + 0.5 * u[2])
        bend = (u[3] - 0.5) * 0.25 * t * (1.0 - t)
        x = 0.06 + 0.08 * u[4] + aim_x * t + bend
        y = -0.06 + 0.10 * u[2] + aim_y * t - bend
        weight = (1.0 - t) * (0.8 - t) + 0.25
        film = self.frame.splat(x.ravel(), y.ravel(), weight.ravel())
        fine = cloud(rng, self.frame.size, 23)
        scale = np.float32(0.15 * self.frame.size / 128)
        return np.minimum(blur(film) * scale, 0.18) + (fine - 0.5) * 0.03
