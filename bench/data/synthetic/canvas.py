"""Drawing primitives whose pixels are the same on every machine.

Only + - * / sqrt, comparisons and table look-ups are used: IEEE 754 rounds these exactly, so
that no libm or vector unit can move a grey level. For the same reason nothing here reduces an
array with a sum, and random numbers come from `random` and `integers`, never from `normal`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

Array = np.ndarray
Box = tuple[int, int, int, int]


def generator(*parts: object) -> np.random.Generator:
    """The generator of one named thing: PCG64 seeded by the sha256 of its name."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def bell(rng: np.random.Generator, mean: float, sd: float) -> float:
    """About normal, never beyond 3.5 sd: the sum of four uniforms."""
    a, b, c, d = (float(u) for u in rng.random(4))
    return mean + sd * 1.7320508 * (a + b + c + d - 2.0)


def ramp(x: Array) -> Array:
    """0 below 0, 1 above 1, a smooth step between."""
    x = np.maximum(x, 0.0)
    np.minimum(x, 1.0, out=x)
    bend = x * -2.0
    bend += 3.0
    x *= x
    x *= bend
    return x


def hill(squared: Array) -> Array:
    """1 in the middle, 0 where the squared radius reaches 1; soft like a Gaussian."""
    rest = np.maximum(1.0 - squared, 0.0)
    rest *= rest
    return rest


def blur(image: Array, passes: int = 1) -> Array:
    """Binomial 3 x 3 filter, edges repeated."""
    for _ in range(passes):
        rows = image * 2.0
        rows[1:] += image[:-1]
        rows[:-1] += image[1:]
        rows[0] += image[0]
        rows[-1] += image[-1]
        image = rows * 2.0
        image[:, 1:] += rows[:, :-1]
        image[:, :-1] += rows[:, 1:]
        image[:, 0] += rows[:, 0]
        image[:, -1] += rows[:, -1]
        image *= 0.0625
    return image


@lru_cache(maxsize=8)
def _lattice(size: int, cells: int) -> tuple[Array, Array]:
    place = (np.arange(size, dtype=np.float32) + 0.5) * np.float32(cells / size)
    low = np.minimum(place.astype(np.int64), cells - 1)
    part = place - low.astype(np.float32)
    return low, part * part * (3.0 - 2.0 * part)


def cloud(rng: np.random.Generator, size: int, cells: int) -> Array:
    """Smooth noise in [0, 1] with `cells` x `cells` independent bumps."""
    knots = rng.integers(0, 256, (cells + 1, cells + 1)).astype(np.float32) * np.float32(1 / 255)
    low, part = _lattice(size, cells)
    down = part[:, None]
    rows = knots[low] * (1.0 - down) + knots[low + 1] * down
    near = rows.take(low, axis=1)
    far = rows.take(low + 1, axis=1)
    far -= near
    far *= part
    near += far
    return near


@lru_cache(maxsize=8)
def _axis(size: int) -> Array:
    return (np.arange(size, dtype=np.float32) * 2.0 + 1.0) * np.float32(1 / size) - 1.0


@dataclass(frozen=True)
class Frame:
    """Where a body lies on the film. Film and body coordinates: -1 to 1, y downwards."""

    size: int
    dx: float = 0.0
    dy: float = 0.0
    sx: float = 1.0
    sy: float = 1.0
    tilt: float = 0.0  # radians

    def grid(self) -> tuple[Array, Array]:
        """Body coordinates of the pixel centres before `lean`: x (1, size) and y (size, 1)."""
        across = (_axis(self.size) - self.dx) * (1.0 / self.sx)
        down = (_axis(self.size) - self.dy) * (1.0 / self.sy)
        return across[None, :], down[:, None]

    def lean(self, image: Array) -> Array:
        """The upright image leant sideways by the small angle `tilt`: its rows are shifted."""
        n = self.size
        place = np.arange(n, dtype=np.float32) + _axis(n)[:, None] * (0.5 * n * self.tilt)
        place = np.minimum(np.maximum(place, 0.0), n - 1.01)
        low = place.astype(np.int32)
        place -= low
        low += (np.arange(n, dtype=np.int32) * n)[:, None]
        flat = image.ravel()
        near = flat.take(low)
        low += 1
        return near + (flat.take(low) - near) * place

    def pixels(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Pixel coordinates, before `lean`, of points given in body coordinates."""
        half = 0.5 * self.size
        return (x * self.sx + self.dx + 1.0) * half - 0.5, (
            y * self.sy + self.dy + 1.0
        ) * half - 0.5

    def splat(self, x: Array, y: Array, weight: Array) -> Array:
        """Sum of points, each spread over its four pixels; float32 (size, size)."""
        n = self.size
        px, py = self.pixels(x, y)
        col, row = np.floor(px), np.floor(py)
        fx, fy = px - col, py - row
        inside = (col >= 0) & (row >= 0) & (col < n - 1) & (row < n - 1)
        weight = weight * inside
        at = ((row * n + col) * inside).astype(np.int64)
        index = np.concatenate([at, at + 1, at + n, at + n + 1])
        left, right = weight * (1 - fx), weight * fx
        parts = [left * (1 - fy), right * (1 - fy), left * fy, right * fy]
        total = np.bincount(index, np.concatenate(parts), minlength=n * n)
        return total.reshape(n, n).astype(np.float32)

    def window(self, x0: float, y0: float, x1: float, y1: float) -> tuple[slice, slice]:
        """Rows and columns that hold a rectangle given in body coordinates."""
        px, py = self.pixels(np.array([x0, x1]), np.array([y0, y1]))
        low_x, low_y = max(0, int(px[0])), max(0, int(py[0]))
        return (
            slice(low_y, max(low_y, min(self.size, int(py[1]) + 2))),
            slice(low_x, max(low_x, min(self.size, int(px[1]) + 2))),
        )

    def strokes(self, paths: list[list[tuple[float, float]]], width: float) -> Array:
        """Wires through lists of points (smooth curves), 1 at their middle; width in 1/128 film."""
        xs, ys, steps = [], [], []
        for points in paths:
            x, y = curve(np.array(points, dtype=np.float64), 2 * self.size)
            px, py = self.pixels(x, y)
            dx, dy = np.diff(px, append=px[-1:]), np.diff(py, append=py[-1:])
            xs.append(x)
            ys.append(y)
            steps.append(np.sqrt(dx * dx + dy * dy))
        line = self.splat(np.concatenate(xs), np.concatenate(ys), np.concatenate(steps))
        line = blur(line, max(1, round(width * self.size / 128)))
        line *= 2.0 * width
        return np.minimum(line, 1.0)


def curve(points: Array, count: int) -> tuple[Array, Array]:
    """Catmull-Rom spline through points (k, 2), sampled at about `count` places."""
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    each = max(2, count // (len(points) - 1))
    t = (np.arange(each) / each)[:, None, None]
    a, b, c, d = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    path = 0.5 * (
        2 * b
        + (c - a) * t
        + (2 * a - 5 * b + 4 * c - d) * t * t
        + (3 * b - a - 3 * c + d) * t * t * t
    )
    path = path.transpose(1, 0, 2).reshape(-1, 2)
    return path[:, 0], path[:, 1]


def box(layer: Array, share: float = 0.3) -> Box | None:
    """Pixels (x0, y0, x1, y1), ends exclusive, around what reaches a share of the layer's peak."""
    peak = float(layer.max())
    if peak <= 0.02:
        return None
    rows, cols = np.nonzero(layer >= share * peak)
    return int(cols.min()), int(rows.min()), int(cols.max()) + 1, int(rows.max()) + 1
