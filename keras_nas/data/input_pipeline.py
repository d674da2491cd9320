"""Batches of images and labels, resumable at any step.

The data position is the step. Step s of training takes the examples s * batch_size .. of one
endless stream: epoch after epoch, each a new random order of all examples, so that every example
comes exactly once an epoch and only a batch, never an example, straddles two epochs. Order and
augmentation are pure functions of (seed, position in the stream); a run started at step s gets
bit by bit what an uninterrupted one gets from there, and nothing is replayed to find it.

The order comes from `stateless_shuffle`; `index_shuffle` would leave consecutive epochs correlated
(rho 0.76 at 50,000 examples).

Where several hosts share each batch, a host fetches its share only, and its images get what they
would get on one host.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from keras_nas.data import images as image_functions
from keras_nas.data.augmentation import ONE_HOST, Augmentation, Host, flip_and_shift
from keras_nas.data.images import Pixels
from keras_nas.data.rand_augment import rand_augment
from keras_nas.data.sources import Split

_LAST_EPOCH = 2**31 - 1

# Nothing here needs AutoGraph, and converting takes longer than tracing.
_as_it_is = tf.autograph.experimental.do_not_convert

# (number of the first example, uint8 images, labels) -> (float images, labels)
_Finish = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def batches(
    split: Split,
    indices: npt.NDArray[np.int64] | None,
    batch_size: int,
    *,
    seed: int,
    mean: Sequence[float],
    std: Sequence[float],
    start_step: int = 0,
    training: bool,
    augmentation: Augmentation | None = None,
    host: Host = ONE_HOST,
) -> tf.data.Dataset:
    """Batches for training (endless, random order) or evaluation (once, in order).

    Args:
      split: the examples.
      indices: int64, which of them, or None for all.
      batch_size: examples a batch; training batches are always full, the last one of an
        evaluation may be smaller.
      seed: of order and augmentation, not negative.
      mean: per channel, of pixels scaled to [0, 1].
      std: likewise.
      start_step: batches that were taken already.
      training: endless in random order, or once in the order given.
      augmentation: what is done to training images; None for nothing.
      host: (w, H) gives the w-th of H equal shares of each batch, for as many hosts. All have the
        same number of batches; in the last one of an evaluation a share may be small or empty.

    Returns:
      Dataset of (float32 `[B, H, W, 3]`, (pixel / 255 - mean) / std; int32 `[B]`).

    Raises:
      ValueError: no examples, indices out of range, batch_size or start_step out of range, a batch
        that hosts cannot share evenly, or augmentation in an evaluation.
    """
    chosen = _checked_indices(split, indices)
    augmentation = augmentation or Augmentation()
    _check(batch_size, start_step, seed, training, augmentation, host)
    scale, offset = _normalisation(mean, std)
    numbered = _numbered_indices(chosen, batch_size, seed, start_step, training, host)
    own = batch_size // host[1]
    first = host[0] * own

    def finish(
        counter: tf.Tensor, pixels: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        key = tf.stack([np.int64(seed), counter - first])
        pixels = _augment(pixels, augmentation, key, host)
        return tf.cast(pixels, tf.float32) * scale + offset, labels

    if split.images is not None and split.labels is not None and augmentation.crop != "resized":
        fetched = _gather(split.images, split.labels, numbered, finish)
    else:
        fetched = _read_each(split, numbered, augmentation, seed, own, training, finish)
        if not training and (len(chosen) - 1) % batch_size < first:
            # Batching single examples leaves out this host's empty share of the last batch.
            nothing = [tf.zeros([0, *spec.shape[1:]], spec.dtype) for spec in fetched.element_spec]
            fetched = fetched.concatenate(tf.data.Dataset.from_tensors(tuple(nothing)))
    options = tf.data.Options()
    options.deterministic = True
    return fetched.with_options(options).prefetch(tf.data.AUTOTUNE)


def _check(
    batch_size: int,
    start_step: int,
    seed: int,
    training: bool,
    augmentation: Augmentation,
    host: Host,
) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1. Received: {batch_size}")
    if batch_size % host[1]:
        raise ValueError(
            f"batch_size must divide by the number of hosts, {host[1]}. Received: {batch_size}"
        )
    if start_step < 0 or seed < 0:
        raise ValueError(
            f"start_step and seed must not be negative. Received: {start_step} and {seed}"
        )
    if not training and augmentation != Augmentation():
        raise ValueError(
            f"Evaluation takes images as they are; leave augmentation out. Received: {augmentation}"
        )


def _numbered_indices(
    chosen: npt.NDArray[np.int64],
    batch_size: int,
    seed: int,
    start_step: int,
    training: bool,
    host: Host,
) -> tf.data.Dataset:
    """A host's examples of each step, int64 `[B]`, and the number of the first one since step 0."""
    own = batch_size // host[1]
    first = host[0] * own
    if training:
        positions = _endless_order(len(chosen), batch_size, seed, start_step)
    else:
        positions = tf.data.Dataset.range(start_step * batch_size, len(chosen)).batch(batch_size)
    steps = tf.data.Dataset.range(start_step, _LAST_EPOCH)
    with tf.device("CPU"):
        chosen_tensor = tf.constant(chosen)
    return tf.data.Dataset.zip(
        steps.map(_as_it_is(lambda step: step * batch_size + first)),
        positions.map(
            _as_it_is(lambda position: tf.gather(chosen_tensor, position[first : first + own]))
        ),
    )


def sample_images(
    split: Split, count: int, *, seed: int, indices: npt.NDArray[np.int64] | None = None
) -> Pixels:
    """Random images as they are stored, for the calibration of an export.

    Args:
      split: the examples.
      count: how many, without repetition.
      seed: the same seed gives the same images.
      indices: int64, which examples to choose from, or None for all.

    Returns:
      uint8 `[count, resolution, resolution, 3]`.

    Raises:
      ValueError: there are fewer than `count` examples.
    """
    chosen = _checked_indices(split, indices)
    if not 1 <= count <= len(chosen):
        raise ValueError(f"count must be in [1, {len(chosen)}]. Received: {count}")
    sample = np.random.default_rng(seed).choice(chosen, count, replace=False)
    return np.stack([split.example(int(index))[0] for index in sample])


def normalise(pixels: tf.Tensor, mean: Sequence[float], std: Sequence[float]) -> tf.Tensor:
    """Does to uint8 `[..., 3]` what `batches` does: float32 (pixel / 255 - mean) / std."""
    scale, offset = _normalisation(mean, std)
    return tf.cast(pixels, tf.float32) * scale + offset


def _normalisation(
    mean: Sequence[float], std: Sequence[float]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ValueError(
            f"mean and std must have three entries, std positive. Received: {mean} and {std}"
        )
    mean_array, std_array = np.asarray(mean, np.float64), np.asarray(std, np.float64)
    scale, offset = 1 / (255 * std_array), -mean_array / std_array
    return scale.astype(np.float32), offset.astype(np.float32)


def _checked_indices(split: Split, indices: npt.NDArray[np.int64] | None) -> npt.NDArray[np.int64]:
    if indices is None:
        indices = np.arange(split.examples)
    if len(indices) == 0:
        raise ValueError("There are no examples to choose from; indices is empty.")
    if indices.min() < 0 or indices.max() >= split.examples:
        raise ValueError(
            f"indices must be in [0, {split.examples - 1}]. Received: {indices.min()} .. "
            f"{indices.max()}"
        )
    return indices


def _endless_order(examples: int, batch_size: int, seed: int, start_step: int) -> tf.data.Dataset:
    """Positions 0 .. examples - 1, a new order each epoch; int64 `[batch_size]` elements."""
    first_epoch, skipped = divmod(start_step * batch_size, examples)

    @_as_it_is
    def order(epoch: tf.Tensor) -> tf.Tensor:
        epoch_seed = tf.stack([np.int64(seed), epoch])
        shuffled = tf.random.experimental.stateless_shuffle(
            tf.range(examples, dtype=tf.int64), epoch_seed
        )
        return shuffled[tf.where(epoch == first_epoch, np.int64(skipped), np.int64(0)) :]

    epochs = tf.data.Dataset.range(first_epoch, _LAST_EPOCH).map(order).prefetch(1)
    return epochs.rebatch(batch_size, drop_remainder=True)


def _gather(
    images: Pixels, all_labels: npt.NDArray[np.int32], numbered: tf.data.Dataset, finish: _Finish
) -> tf.data.Dataset:
    # The arrays stay outside of the graph: captured by it they would be copied at every start.
    def take(indices: npt.NDArray[np.int64]) -> tuple[Pixels, npt.NDArray[np.int32]]:
        return images[indices], all_labels[indices]

    @_as_it_is
    def fetch(counter: tf.Tensor, indices: tf.Tensor):
        pixels, labels = tf.numpy_function(take, [indices], (tf.uint8, tf.int32), stateful=False)
        shape = (indices.shape[0], *images.shape[1:])
        pixels, labels = tf.ensure_shape(pixels, shape), tf.ensure_shape(labels, shape[:1])
        return finish(counter, pixels, labels)

    return numbered.map(fetch, num_parallel_calls=tf.data.AUTOTUNE)


def _read_each(
    split: Split,
    numbered: tf.data.Dataset,
    augmentation: Augmentation,
    seed: int,
    batch_size: int,
    training: bool,
    finish: _Finish,
) -> tf.data.Dataset:
    shape = (split.resolution, split.resolution, 3)

    def read(counter: np.int64, index: np.int64) -> tuple[Pixels, np.int32]:
        if augmentation.crop == "resized":
            stored, label = split.read(int(index))
            pixels = image_functions.random_resized_crop(
                stored, split.resolution, seed, int(counter)
            )
        else:
            pixels, label = split.example(int(index))
        return pixels, np.int32(label)

    @_as_it_is
    def fetch(counter: tf.Tensor, index: tf.Tensor):
        pixels, label = tf.numpy_function(
            read, [counter, index], (tf.uint8, tf.int32), stateful=False
        )
        return counter, tf.ensure_shape(pixels, shape), tf.ensure_shape(label, ())

    @_as_it_is
    def number_each(first: tf.Tensor, indices: tf.Tensor):
        return first + tf.range(tf.size(indices, out_type=tf.int64)), indices

    each = numbered.map(number_each).unbatch().map(fetch, num_parallel_calls=tf.data.AUTOTUNE)
    batched = each.batch(batch_size, drop_remainder=training)
    return batched.map(
        _as_it_is(lambda counters, pixels, labels: finish(counters[0], pixels, labels)),
        num_parallel_calls=tf.data.AUTOTUNE,
    )


def _augment(
    pixels: tf.Tensor, augmentation: Augmentation, key: tf.Tensor, host: Host
) -> tf.Tensor:
    """Augments uint8 `[B, H, W, 3]`; `key` is int64 (seed, number of the batch's first example)."""
    shift_seed, rand_augment_seed = tf.unstack(tf.random.split(key, 2))
    padding = augmentation.padding if augmentation.crop == "pad" else 0
    if augmentation.flip or padding:
        pixels = flip_and_shift(
            pixels,
            shift_seed,
            flip=augmentation.flip,
            padding=padding,
            padding_mode=augmentation.padding_mode,
            host=host,
        )
    if augmentation.rand_augment_operations:
        pixels = rand_augment(
            pixels,
            rand_augment_seed,
            operations=augmentation.rand_augment_operations,
            magnitude=augmentation.rand_augment_magnitude,
            host=host,
        )
    return pixels
