"""Made-up grey chest images: ribs, heart, lungs, and opacities that tell how a patient does."""

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_LUNGS = ((-0.38, 0.02, 0.3, 0.66), (0.38, 0.02, 0.29, 0.64))
"""The centre x, y and the half-axes of each lung; the image spans -1 to 1."""


def chest_image(rng: np.random.Generator, severity: float, size: int) -> Image.Image:
    """Draw a chest [size, size]; its opacities grow with the standard normal `severity`.

    Exposure, contrast, noise, tilt and build vary, so that the mean grey says little.
    """
    line = np.linspace(-1, 1, size, dtype=np.float32)
    x, y = _tilt(rng, *np.meshgrid(line, line))

    # The parts of the body.
    build = rng.uniform(0.9, 1.1)
    body = _soft(1 - (x / (0.88 * build)) ** 2 - np.square(((y + 0.25) / 1.5) ** 2), 0.08)
    heart = _soft(1 - ((x - 0.12) / 0.26) ** 2 - ((y - 0.3) / 0.3) ** 2, 0.2)
    lungs = np.zeros_like(x)
    for centre_x, centre_y, wide, high in _LUNGS:
        across, down = (x - centre_x * build) / (wide * build), (y - centre_y) / high
        lungs += _soft(1 - across**2 - down**2, 0.12)
    lungs = np.minimum(lungs, 1) * (1 - heart)
    spine = np.exp(-((x / 0.09) ** 2))
    waves = np.sin(11 * (y + 0.35 * x**2) + rng.uniform(0, 6))
    ribs = np.square(np.maximum(0, waves) ** 2) * (np.abs(x) < 0.75)

    # The picture of them, with grain and noise.
    image = 0.62 * body - 0.45 * lungs + 0.1 * heart + 0.14 * spine + 0.07 * ribs * body
    image += 0.5 * _opacities(rng, severity, x, y, build) * lungs
    grain = _grain(rng, size, 8, 0.05)
    noise = rng.uniform(0.01, 0.035) * rng.standard_normal(x.shape, np.float32)
    image += grain + noise
    image = rng.uniform(0.8, 1.2) * image + rng.uniform(-0.06, 0.08)
    return Image.fromarray((np.clip(image, 0, 1) * 255).astype(np.uint8))


def _opacities(
    rng: np.random.Generator,
    severity: float,
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    build: float,
) -> NDArray[np.float32]:
    """Return cloudy patches from 0 to 1; their number and size grow with `severity`."""
    extent = NormalDist().cdf(severity)
    clear = np.ones_like(x)
    first = int(rng.integers(2))
    for number in range(round(14 * extent)):
        centre_x, centre_y, wide, high = _LUNGS[(first + number) % 2]
        radius, angle = 0.9 * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
        place_x = (centre_x + wide * radius * np.cos(angle)) * build
        place_y = centre_y + high * radius * np.sin(angle)
        spread = rng.uniform(0.06, 0.09) + 0.07 * extent
        clear *= 1 - 0.8 * np.exp(-((x - place_x) ** 2 + (y - place_y) ** 2) / (2 * spread**2))
    return 1 - clear


def _tilt(
    rng: np.random.Generator, x: NDArray[np.float32], y: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the coordinates of an image that is turned, scaled and moved a little."""
    angle, zoom = rng.uniform(-0.12, 0.12), rng.uniform(0.92, 1.08)
    across, down = rng.uniform(-0.06, 0.06, 2)
    turned_x = zoom * (np.cos(angle) * x + np.sin(angle) * y) + across
    return turned_x, zoom * (np.cos(angle) * y - np.sin(angle) * x) + down


def _soft(inside: NDArray[np.float32], edge: float) -> NDArray[np.float32]:
    """Return 1 where `inside` is positive and 0 where it is negative, with a soft edge."""
    soft: NDArray[np.float32] = 1 / (1 + np.exp(-np.clip(inside / edge, -30, 30)))
    return soft


def _grain(rng: np.random.Generator, size: int, cells: int, strength: float) -> NDArray[np.float32]:
    """Return smooth blotches [size, size]: noise on a coarse grid, stretched."""
    coarse = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
    return strength * np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), np.float32)
