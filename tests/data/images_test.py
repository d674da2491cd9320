"""Decoding, resizing and random crops of one image."""

import io

import numpy as np
import pytest
from PIL import Image

from keras_nas.data import images


def encode(image: Image.Image, format: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, format)
    return stream.getvalue()


@pytest.fixture
def colours() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)  # [H, W, 3]


def test_rgb_and_grey_decode_exactly(colours):
    np.testing.assert_array_equal(images.decode(encode(Image.fromarray(colours)), "image"), colours)
    grey = colours[..., 0]
    expected = np.stack([grey] * 3, -1)  # [H, W, 3]
    np.testing.assert_array_equal(images.decode(encode(Image.fromarray(grey)), "image"), expected)


def test_black_and_white_decodes_exactly(colours):
    bits = colours[..., 0] > 127
    decoded = images.decode(encode(Image.fromarray(bits)), "image")
    np.testing.assert_array_equal(decoded, np.stack([bits * np.uint8(255)] * 3, -1))


def test_palette_decodes_exactly(colours):
    places = np.arange(54, dtype=np.uint8).reshape(6, 9)  # [H, W]
    image = Image.fromarray(places, "P")
    image.putpalette(colours.reshape(-1).tolist())
    np.testing.assert_array_equal(images.decode(encode(image), "image"), colours)


@pytest.mark.parametrize(
    ("mode", "format"), [("RGBA", "PNG"), ("LA", "PNG"), ("CMYK", "JPEG"), ("I;16", "PNG")]
)
def test_other_modes_are_refused_or_converted_on_request(colours, mode, format):
    if mode == "I;16":
        image = Image.fromarray(colours[..., 0].astype(np.uint16) * 256 + 7)
    else:
        image = Image.fromarray(colours).convert(mode)
    encoded = encode(image, format)
    with pytest.raises(ValueError, match=f"cat.png has mode {mode}.*convert_modes=True"):
        images.decode(encoded, "cat.png")
    decoded = np.asarray(images.decode(encoded, "cat.png", convert_modes=True))
    assert decoded.shape == (6, 9, 3)
    if mode == "RGBA":
        np.testing.assert_array_equal(decoded, colours)
    if mode == "I;16":
        np.testing.assert_array_equal(decoded[..., 1], colours[..., 0])


def test_what_is_decoded_fits_as_its_pixels_do(colours):
    decoded = images.decode(encode(Image.fromarray(colours)), "image")
    assert decoded.mode == "RGB"
    for resize in ("crop", "stretch"):
        np.testing.assert_array_equal(
            images.fit(decoded, 4, resize, "image"), images.fit(colours, 4, resize, "image")
        )
    np.testing.assert_array_equal(
        images.random_resized_crop(decoded, 4, 0, 7), images.random_resized_crop(colours, 4, 0, 7)
    )


def test_mode_without_fixed_range_is_always_refused(colours):
    encoded = encode(Image.fromarray(colours[..., 0].astype(np.float32)), "TIFF")
    with pytest.raises(ValueError, match=r"scan has mode F; .*save it as 8-bit"):
        images.decode(encoded, "scan", convert_modes=True)


def corrupt(encoded: bytes) -> bytes:
    return encoded[:20] + b"\xff\x00" * 20 + encoded[60:]


# A corrupt JPEG is left out: without a checksum, such damage can pass as an image.
@pytest.mark.parametrize(
    ("format", "damage"),
    [
        ("PNG", lambda encoded: encoded[: len(encoded) // 2]),
        ("JPEG", lambda encoded: encoded[: len(encoded) // 2]),
        ("PNG", corrupt),
        ("PNG", lambda encoded: b"not an image"),
        ("PNG", lambda encoded: b""),
    ],
)
def test_damaged_image_is_named(colours, format, damage):
    encoded = damage(encode(Image.fromarray(np.tile(colours, (20, 20, 1))), format))
    with pytest.raises(ValueError, match=r"dog.png is damaged or not an image.*replace or remove"):
        images.decode(encoded, "dog.png")


def test_resize_none_refuses_another_size(colours):
    with pytest.raises(ValueError, match=r"cat is 9x6 pixels, expected 6x6.*set resize to"):
        images.fit(colours, 6, "none", "cat")
    square = colours[:, :6]
    np.testing.assert_array_equal(images.fit(square, 6, "none", "cat"), square)


def test_crop_cuts_the_centre_and_stretch_keeps_everything(colours):
    # The short side has the resolution already, so nothing is interpolated; 1.5 columns go on each
    # side, a half-pixel shift that averages neighbours.
    wide = np.repeat(colours, 2, axis=1)[:, :10]  # [6, 10, 3]
    np.testing.assert_array_equal(images.fit(wide, 6, "crop", "cat"), wide[:, 2:8])
    ramp = np.tile(np.arange(0, 240, 20, dtype=np.uint8)[None, :, None], (12, 1, 3))  # [12, 12, 3]
    halves = images.fit(ramp[:, :, :], 6, "stretch", "cat")
    np.testing.assert_allclose(halves[0, 1:-1, 0], ramp[0].reshape(6, 2, 3)[1:-1, :, 0].mean(1))
    central = images.fit(ramp, 6, "crop", "cat", crop_fraction=0.5)
    np.testing.assert_array_equal(central, ramp[3:9, 3:9])


def test_random_resized_crop_is_keyed_by_seed_and_counter():
    pixels = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    first = images.random_resized_crop(pixels, 16, seed=3, counter=10)
    np.testing.assert_array_equal(first, images.random_resized_crop(pixels, 16, 3, 10))
    assert (first != images.random_resized_crop(pixels, 16, 3, 11)).any()
    assert (first != images.random_resized_crop(pixels, 16, 4, 10)).any()


def test_random_resized_crop_keeps_to_its_ranges():
    # Red grows with x, green with y: the spread of a crop tells its width and height.
    y, x = np.mgrid[0:200, 0:200].astype(np.uint8)
    pixels = np.stack([x, y, x], -1)  # [200, 200, 3]
    for counter in range(200):
        crop = images.random_resized_crop(pixels, 40, 0, counter).astype(float)
        width = (crop[20, -1, 0] - crop[20, 0, 0]) * 40 / 39
        height = (crop[-1, 20, 1] - crop[0, 20, 1]) * 40 / 39
        assert 0.07 < width * height / 200**2 < 1.03
        assert 0.68 < width / height < 1.45


def test_random_resized_crop_of_a_strip_falls_back_to_the_centre():
    strip = np.random.default_rng(1).integers(0, 256, (4, 4000, 3), np.uint8)
    crop = images.random_resized_crop(strip, 4, 0, 0, area_range=(0.9, 1.0))
    np.testing.assert_array_equal(crop, strip[:, 1998:2002])
