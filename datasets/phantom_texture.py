"""Random fields that a phantom's tissue is made of.

Every field is drawn on a grid just fine enough for its smallest structure and interpolated to the pixels, so
that large images stay cheap.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

Field = NDArray[np.float32]

POINTS_PER_WAVE = 5.0  # grid points per shortest wavelength


@dataclass(frozen=True)
class Spectrum:
    """What a field is made of: power falling as 1/f^beta within a band of wavelengths.

    The power spectrum of mammographic parenchyma falls with an exponent of about 3 (Burgess, Jacobson and
    Judy, Medical Physics 28, 2001).

    Parameters
    ----------
    shortest_mm, longest_mm:
        Wavelengths beyond these are damped.
    stretch:
        How much longer structures are along x (or along the ray) than across.
    """

    shortest_mm: float
    longest_mm: float
    beta: float = 3.0
    stretch: float = 1.0


def power_law_field(
    rng: np.random.Generator, shape: tuple[int, int], spacing_mm: float, spectrum: Spectrum
) -> Field:
    """Draw a Gaussian random field [H, W] of mean 0 and variance 1 for pixels of ``spacing_mm``."""
    grid_mm = max(spacing_mm, spectrum.shortest_mm / POINTS_PER_WAVE)
    if grid_mm <= spacing_mm:
        return _draw(rng, shape, spacing_mm, spectrum)
    coarse_shape = (_points(shape[0] * spacing_mm, grid_mm), _points(shape[1] * spacing_mm, grid_mm))
    coarse = _draw(rng, coarse_shape, grid_mm, spectrum)
    scale = spacing_mm / grid_mm
    shift = 1.5 + scale / 2  # of pixel centres, with two grid points of margin before the first
    matrix = np.array([[scale, 0, shift], [0, scale, shift]], np.float32)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    field = cv2.warpAffine(coarse, matrix, shape[::-1], flags=flags, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(field, np.float32)


def radial_field(rng: np.random.Generator, distance: Field, angle: Field, spectrum: Spectrum) -> Field:
    """Draw a field [H, W] whose structures run towards a point, as ducts and ligaments do towards the nipple.

    ``distance`` (mm) and ``angle`` (radians, -pi to pi) of each pixel from the point are float32 [H, W].
    """
    true_at_mm = 70.0  # at this distance lengths across the ray are true; nearer the point they are shorter
    grid_mm = max(spectrum.shortest_mm / POINTS_PER_WAVE, 0.1)
    shape = (_points(2 * np.pi * true_at_mm, grid_mm), _points(float(distance.max()), grid_mm))
    field = _draw(rng, shape, grid_mm, spectrum)
    columns = distance * np.float32(1 / grid_mm)
    rows = (angle + np.float32(np.pi)) * np.float32(true_at_mm / grid_mm)
    return np.asarray(
        cv2.remap(field, columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT), np.float32
    )


def strands(field: Field, spacing_mm: float, width_mm: float) -> Field:
    """Return thin bright lines [H, W], 0 to 1, along the zero crossings of a smooth field.

    ``width_mm`` is the full width at half maximum. A line thinner than a pixel is drawn about one pixel wide
    and fainter, so that its integral stays.
    """
    dx = cv2.Scharr(field, cv2.CV_32F, 1, 0, scale=1 / 32)
    dy = cv2.Scharr(field, cv2.CV_32F, 0, 1, scale=1 / 32)
    slope = cv2.magnitude(dx, dy) * np.float32(1 / spacing_mm)
    slope += np.float32(0.03)  # where the field is flat there is no line
    half_width = width_mm / 1.67  # at 1/e
    drawn = max(half_width, 0.6 * spacing_mm)
    line = np.divide(field, slope, out=slope)  # mm to the zero crossing, to first order
    line *= np.float32(1 / drawn)
    np.square(line, out=line)
    np.exp(np.negative(line, out=line), out=line)
    line *= np.float32(half_width / drawn)
    return np.asarray(line, np.float32)


def _points(length_mm: float, grid_mm: float) -> int:
    return int(np.ceil(length_mm / grid_mm)) + 4


def _draw(rng: np.random.Generator, shape: tuple[int, int], grid_mm: float, spectrum: Spectrum) -> Field:
    height, width = (fft.next_fast_len(side, real=True) for side in shape)
    fy = np.fft.fftfreq(height, grid_mm).astype(np.float32)[:, None]
    fx = np.fft.rfftfreq(width, grid_mm).astype(np.float32)[None, :] * np.float32(spectrum.stretch)
    squared = fx * fx + fy * fy
    gain = (squared + np.float32(1 / spectrum.longest_mm**2)) ** np.float32(-spectrum.beta / 4)
    squared *= np.float32(-0.7 * spectrum.shortest_mm**2)
    gain *= np.exp(squared, out=squared)
    gain[0, 0] = 0
    noise = rng.standard_normal((*gain.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    noise *= gain
    field = fft.irfft2(noise, s=(height, width), overwrite_x=True)[: shape[0], : shape[1]]
    return np.asarray(field / max(float(field.std()), 1e-6), np.float32)
