"""One image: decoding to exact 8-bit RGB, and bringing it to the network's resolution."""

import io
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

Pixels = npt.NDArray[np.uint8]

StoredImage = Image.Image | Pixels
"""In the size it is stored in: RGB as Pillow has it, or uint8 `[height, width, 3]`.

Between the two lie copies that Python's lock lets one thread make at a time, so what is decoded
stays Pillow's until it has the network's resolution.
"""

RESIZE_MODES = ("crop", "stretch", "none")
EXACT_MODES = ("1", "L", "P", "RGB")
CONVERTIBLE_MODES = ("RGBA", "LA", "PA", "La", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N")


def decode(encoded: bytes | Path, name: str, convert_modes: bool = False) -> Image.Image:
    """Decodes an encoded image to RGB.

    Modes 1, L, P and RGB have an exact 8-bit RGB form (grey is repeated in three channels). The
    other modes lose information (transparency, inks, the lower 8 of 16 bits) and are converted
    only when `convert_modes` says so.

    Args:
      encoded: the bytes of an image file, or the path of one.
      name: what error messages call the image.
      convert_modes: convert images of modes with transparency, inks or 16 bits as well.

    Returns:
      An image of mode RGB.

    Raises:
      ValueError: the image is damaged, no image at all, or of a mode that is not converted.
      OSError: the file cannot be opened.
    """
    stream = io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded.open("rb")
    with stream:
        try:
            with Image.open(stream) as image:
                image.load()
        # Pillow raises SyntaxError and struct-like ValueErrors too on damaged PNG chunks.
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
            raise ValueError(
                f"{name} is damaged or not an image ({error}); replace or remove it."
            ) from error
        return _to_rgb(image, name, convert_modes)


def _to_rgb(image: Image.Image, name: str, convert_modes: bool) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode in EXACT_MODES:
        return image.convert("RGB")
    if convert_modes and image.mode in SIXTEEN_BIT_MODES:
        grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if convert_modes and image.mode in CONVERTIBLE_MODES:
        return image.convert("RGB")
    if image.mode in CONVERTIBLE_MODES + SIXTEEN_BIT_MODES:
        remedy = "save it as 8-bit RGB or grey, or set convert_modes=True"
    else:
        remedy = "its values have no fixed range, so save it as 8-bit RGB or grey"
    raise ValueError(
        f"{name} has mode {image.mode}; modes that are read exactly are "
        f"{', '.join(EXACT_MODES)}: {remedy}."
    )


def fit(
    stored: StoredImage, resolution: int, resize: str, name: str, crop_fraction: float = 1.0
) -> Pixels:
    """Brings an image to `resolution` x `resolution` (bilinear, antialiased when it shrinks).

    Args:
      stored: the image.
      resolution: side of the result, pixels.
      resize: "crop" scales the short side and cuts out the centre, "stretch" ignores the aspect
        ratio, "none" accepts only images that have the resolution already.
      name: what error messages call the image.
      crop_fraction: side of the cut in units of the scaled short side (ImageNet: 0.875); only
        with "crop".

    Returns:
      uint8 `[resolution, resolution, 3]`.

    Raises:
      ValueError: `resize` is "none" and the image has another size.
    """
    width, height = _size(stored)
    if resize == "none":
        if (height, width) == (resolution, resolution):
            return np.asarray(stored)
        raise ValueError(
            f"{name} is {width}x{height} pixels, expected {resolution}x{resolution}; resize the "
            'images, change the resolution, or set resize to "crop" or "stretch".'
        )
    if resize == "stretch":
        return _resample(stored, (0.0, 0.0, width, height), resolution)
    side = min(height, width) * crop_fraction
    left, top = (width - side) / 2, (height - side) / 2
    return _resample(stored, (left, top, left + side, top + side), resolution)


def random_resized_crop(
    stored: StoredImage,
    resolution: int,
    seed: int,
    counter: int,
    area_range: tuple[float, float] = (0.08, 1.0),
    aspect_range: tuple[float, float] = (3 / 4, 4 / 3),
) -> Pixels:
    """Cuts out a random rectangle and scales it (Szegedy et al., arXiv 1409.4842, section 6).

    The area is uniform, the aspect ratio log-uniform; a rectangle that does not fit is drawn
    again, at most ten times, then the centre crop is taken.

    Args:
      stored: the image.
      resolution: side of the result, pixels.
      seed: of the run.
      counter: number of the example since the run began; (seed, counter) determine the result.
      area_range: smallest and largest share of the image's area.
      aspect_range: smallest and largest width / height.

    Returns:
      uint8 `[resolution, resolution, 3]`.
    """
    # Philox is keyed by (seed, counter) alone: no state that a resumed run would have to restore.
    random = np.random.Generator(np.random.Philox(key=np.array([seed, counter], np.uint64)))
    width, height = _size(stored)
    for _ in range(10):
        area = height * width * random.uniform(*area_range)
        aspect = math.exp(random.uniform(math.log(aspect_range[0]), math.log(aspect_range[1])))
        crop_width, crop_height = math.sqrt(area * aspect), math.sqrt(area / aspect)
        if crop_width <= width and crop_height <= height:
            left = random.uniform(0, width - crop_width)
            top = random.uniform(0, height - crop_height)
            return _resample(stored, (left, top, left + crop_width, top + crop_height), resolution)
    return fit(stored, resolution, "crop", "image")


def _size(stored: StoredImage) -> tuple[int, int]:
    """Width and height."""
    if isinstance(stored, Image.Image):
        return stored.size
    return stored.shape[1], stored.shape[0]


def _resample(
    stored: StoredImage, box: tuple[float, float, float, float], resolution: int
) -> Pixels:
    size, (width, height) = (resolution, resolution), _size(stored)
    if box == (0, 0, *size) and (width, height) == size:
        return np.asarray(stored)
    image = stored if isinstance(stored, Image.Image) else Image.fromarray(stored)
    # Rounding may put a border a hair outside of the image, which Pillow refuses.
    left, top = max(box[0], 0.0), max(box[1], 0.0)
    right, bottom = min(box[2], width), min(box[3], height)
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=(left, top, right, bottom)))
