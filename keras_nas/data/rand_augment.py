"""RandAugment (Cubuk et al., arXiv 1909.13719) for whole batches, stateless.

The fourteen operations of the paper with the strengths of its reference code, each image with its
own choice. They are of five kinds, so a batch is dealt out to five functions and put together
again: affine maps, tables of grey levels, tables that depend on the histogram, and blends with
the grey or the smoothed image.
`keras.layers.RandAugment` draws one choice for a whole batch, keeps its random state in variables
(a resumed run would differ) and computes every operation for every image, which costs several
times as much: benchmarks/input_pipeline.py has the figures.
"""

import math

import tensorflow as tf

from keras_nas.data.augmentation import ONE_HOST, Host, own_uniform, take_pixels

AFFINE = ("identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate")
BY_LEVEL = ("posterize", "solarize", "brightness", "contrast")
BY_HISTOGRAM = ("auto_contrast", "equalize")
OPERATIONS = (*AFFINE, *BY_LEVEL, *BY_HISTOGRAM, "color", "sharpness")

_LARGEST_SHEAR = 0.3
_LARGEST_TRANSLATION = 150 / 331  # of the width or height
_LARGEST_ROTATION = math.radians(30.0)
_LARGEST_BLEND = 0.9
_FILL_GREY = 128


def rand_augment(
    images: tf.Tensor,
    seed: tf.Tensor,
    *,
    operations: int,
    magnitude: float,
    host: Host = ONE_HOST,
) -> tf.Tensor:
    """Applies `operations` random operations to each image, one after the other.

    Args:
      images: uint8 `[B, H, W, 3]`.
      seed: int64 `[2]`.
      operations: N of the paper.
      magnitude: M of the paper, 0 to 10.
      host: whose share of the global batch `images` are; `seed` is the same on all hosts.

    Returns:
      uint8 `[B, H, W, 3]`.
    """
    batch = tf.shape(images)[0]
    for operation_seed in tf.unstack(tf.random.split(seed, operations)):
        choice_seed, sign_seed = tf.unstack(tf.random.split(operation_seed, 2))
        choice = own_uniform(
            [batch], choice_seed, host, minval=0, maxval=len(OPERATIONS), dtype=tf.int32
        )
        negative = own_uniform([batch], sign_seed, host) < 0.5
        strength = tf.where(negative, -magnitude / 10.0, magnitude / 10.0)  # [B]
        images = apply(images, choice, strength)
    return images


# Traced once, not once an operation and data set: the graph is large.
@tf.function(autograph=False)
def apply(images: tf.Tensor, choice: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """Applies one operation to each image.

    Args:
      images: uint8 `[B, H, W, 3]`.
      choice: int32 `[B]`, positions in `OPERATIONS`.
      strength: float32 `[B]` in [-1, 1]; the sign is the direction, where there is one.

    Returns:
      uint8 `[B, H, W, 3]`.
    """
    kinds = (
        (AFFINE, _affine),
        (BY_LEVEL, _by_level),
        (BY_HISTOGRAM, _by_histogram),
        (("color",), _blend_with_grey),
        (("sharpness",), _blend_with_smooth),
    )
    kind_of_operation = [kind for kind, (names, _) in enumerate(kinds) for _ in names]
    kind_of_image = tf.gather(tf.constant(kind_of_operation), choice)  # [B]
    positions = tf.dynamic_partition(tf.range(tf.shape(images)[0]), kind_of_image, len(kinds))
    parts = [
        function(tf.gather(images, rows), tf.gather(choice, rows), tf.gather(strength, rows))
        for rows, (_, function) in zip(positions, kinds, strict=True)
    ]
    return tf.ensure_shape(tf.dynamic_stitch(positions, parts), images.shape)


def _affine(images: tf.Tensor, choice: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    height = tf.cast(tf.shape(images)[1], tf.float32)
    width = tf.cast(tf.shape(images)[2], tf.float32)

    def amount(name: str, largest: float | tf.Tensor) -> tf.Tensor:
        return tf.where(choice == OPERATIONS.index(name), strength * largest, 0.0)  # [B]

    angle = amount("rotate", _LARGEST_ROTATION)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    b = amount("shear_x", _LARGEST_SHEAR) - sine
    d = amount("shear_y", _LARGEST_SHEAR) + sine
    # Rotation keeps the centre; shear, as in the reference code, keeps the first row or column.
    center_x, center_y = (width - 1.0) / 2.0, (height - 1.0) / 2.0
    c = center_x - cosine * center_x + sine * center_y
    f = center_y - sine * center_x - cosine * center_y
    # Whole pixels, so that a shift never lands between two of them.
    c += tf.round(amount("translate_x", _LARGEST_TRANSLATION * width))
    f += tf.round(amount("translate_y", _LARGEST_TRANSLATION * height))
    # Output (x, y) shows input (cosine x + b y + c, d x + cosine y + f), nearest neighbour.
    x = tf.range(width)[None, None, :]  # [1, 1, W]
    y = tf.range(height)[None, :, None]  # [1, H, 1]
    cosine, b, c, d, f = (value[:, None, None] for value in (cosine, b, c, d, f))  # [B, 1, 1]
    columns = tf.cast(tf.floor(cosine * x + (b * y + (c + 0.5))), tf.int32)  # [B, H, W]
    rows = tf.cast(tf.floor(d * x + (cosine * y + (f + 0.5))), tf.int32)
    return take_pixels(images, rows, columns, fill_grey=_FILL_GREY)


def _by_level(images: tf.Tensor, choice: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """The operations that map grey levels in the same way in all three channels."""
    levels = tf.range(256)
    float_levels = tf.range(256.0)
    level_strength = tf.abs(strength)[:, None]  # [B, 1]
    factor = 1.0 + strength[:, None] * _LARGEST_BLEND  # [B, 1]
    lost_bits = tf.cast(tf.round(4.0 * level_strength), tf.int32)  # [B, 1]
    mean = _mean_grey(images)[:, None]  # [B, 1]
    tables = {
        "posterize": tf.bitwise.left_shift(tf.bitwise.right_shift(levels, lost_bits), lost_bits),
        "solarize": tf.where(float_levels < 256.0 * (1.0 - level_strength), levels, 255 - levels),
        "brightness": _truncate(float_levels * factor),
        "contrast": _truncate(mean + factor * (float_levels - mean)),
    }  # each [B, 256]
    stacked = tf.stack([tables[name] for name in BY_LEVEL], 1)  # [B, operations, 256]
    table = tf.gather(stacked, choice - OPERATIONS.index(BY_LEVEL[0]), axis=1, batch_dims=1)
    return _look_up(images, tf.repeat(table[:, None], 3, 1))  # [B, 3, 256] table


def _by_histogram(images: tf.Tensor, choice: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """The operations that depend on how often each level occurs in a channel."""
    batch, height, width = tf.unstack(tf.shape(images)[:3])
    channels = tf.reshape(tf.transpose(images, [0, 3, 1, 2]), [batch * 3, height * width])
    histogram = tf.math.bincount(tf.cast(channels, tf.int32), minlength=256, maxlength=256, axis=-1)
    histogram = tf.reshape(histogram, [batch, 3, 256])
    table = tf.where(
        (choice == OPERATIONS.index("equalize"))[:, None, None],
        _equalize_table(histogram),
        _auto_contrast_table(histogram),
    )  # [B, 3, 256]
    return _look_up(images, table)


def _look_up(images: tf.Tensor, table: tf.Tensor) -> tf.Tensor:
    """Maps uint8 `[B, H, W, 3]` through int32 `[B, 3, 256]`, a table an image and channel."""
    batch = tf.shape(images)[0]
    offset = 256 * tf.reshape(tf.range(batch * 3), [batch, 1, 1, 3])
    flat_table = tf.cast(tf.reshape(table, [batch * 3 * 256]), tf.uint8)
    return tf.gather(flat_table, tf.cast(images, tf.int32) + offset)  # [B, H, W, 3]


def _auto_contrast_table(histogram: tf.Tensor) -> tf.Tensor:
    """Stretches the levels that occur to 0 .. 255; int32 `[B, 3, 256]`."""
    occurs = histogram > 0
    levels = tf.range(256)
    low = tf.reduce_min(tf.where(occurs, levels, 255), -1, keepdims=True)  # [B, 3, 1]
    high = tf.reduce_max(tf.where(occurs, levels, 0), -1, keepdims=True)
    scale = 255.0 / tf.cast(tf.maximum(high - low, 1), tf.float32)
    stretched = _truncate(tf.cast(levels - low, tf.float32) * scale)
    return tf.where(high > low, stretched, levels)


def _equalize_table(histogram: tf.Tensor) -> tf.Tensor:
    """Makes the levels' cumulative histogram linear; int32 `[B, 3, 256]`."""
    levels = tf.range(256)
    high = tf.reduce_max(tf.where(histogram > 0, levels, 0), -1, keepdims=True)  # [B, 3, 1]
    last = tf.reduce_sum(tf.where(levels == high, histogram, 0), -1, keepdims=True)
    step = (tf.reduce_sum(histogram, -1, keepdims=True) - last) // 255
    below = tf.cumsum(histogram, -1, exclusive=True)
    equalized = (below + step // 2) // tf.maximum(step, 1)
    return tf.where(step > 0, tf.clip_by_value(equalized, 0, 255), levels)


def _blend_with_grey(images: tf.Tensor, choice: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    return _blend(tf.cast(_grey(images)[..., None], tf.float32), images, strength)


def _blend_with_smooth(images: tf.Tensor, choice: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    pixels = tf.cast(images, tf.float32)
    rows = pixels[:, :-2] + pixels[:, 1:-1] + pixels[:, 2:]
    box = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]  # [B, H - 2, W - 2, 3]
    inner = tf.floor((box + 4.0 * pixels[:, 1:-1, 1:-1]) / 13.0 + 0.5)
    # The border has no neighbours to be smoothed with and stays as it is.
    border = [[0, 0], [1, 1], [1, 1], [0, 0]]
    is_inner = tf.pad(tf.ones_like(inner, tf.bool), border)
    return _blend(tf.where(is_inner, tf.pad(inner, border), pixels), images, strength)


def _blend(degenerate: tf.Tensor, images: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """degenerate + factor * (image - degenerate); factor 1 leaves the image as it is."""
    factor = 1.0 + strength[:, None, None, None] * _LARGEST_BLEND  # [B, 1, 1, 1]
    blended = degenerate + factor * (tf.cast(images, tf.float32) - degenerate)
    return tf.cast(_truncate(blended), tf.uint8)


def _truncate(levels: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.clip_by_value(levels, 0.0, 255.0), tf.int32)


def _grey(images: tf.Tensor) -> tf.Tensor:
    """ITU-R 601-2 luma in the 16-bit fixed point of Pillow; int32 `[B, H, W]`."""
    red, green, blue = tf.unstack(tf.cast(images, tf.int32), axis=-1)
    return tf.bitwise.right_shift(19595 * red + 38470 * green + 7471 * blue + 0x8000, 16)


def _mean_grey(images: tf.Tensor) -> tf.Tensor:
    mean = tf.reduce_mean(tf.cast(_grey(images), tf.float32), [1, 2])  # [B]
    return tf.floor(mean + 0.5)
