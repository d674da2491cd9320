"""Training step fed by the input pipeline against the same step on tensors in memory.

    python -m benchmarks.input_pipeline --data=digits
    python -m benchmarks.input_pipeline --data=tfds:cifar10 --data_dir=DIR

Each round times a few steps of every variant, in random order, so that a slow minute of the
machine hits all of them alike. Ratios are taken within a round; printed are their median and
quartiles. Keras' own RandAugment, an image or a batch at a time, stands beside ours.
"""

import itertools
import time
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from keras_nas.data import input_pipeline, sources
from keras_nas.data.augmentation import Augmentation

_DATA = flags.DEFINE_string("data", "digits", "Source of the images.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where TFDS sets are prepared.")
_RESOLUTION = flags.DEFINE_integer("resolution", 32, "Side of the images, pixels.")
_BATCH = flags.DEFINE_integer("batch", 96, "Images a step.")
_ROUNDS = flags.DEFINE_integer("rounds", 9, "Rounds of interleaved timing.")
_STEPS = flags.DEFINE_integer("steps", 6, "Steps of a variant in a round.")
_KERAS = flags.DEFINE_bool("keras", True, "Time keras.layers.RandAugment as well.")

NORMALISATION = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
OURS = {
    "no augmentation": Augmentation(),
    "flip and crop": Augmentation(crop="pad", flip=True),
    "flip, crop, RandAugment": Augmentation(crop="pad", flip=True, rand_augment_operations=2),
    "random resized crop, flip": Augmentation(crop="resized", flip=True),
}
IN_MEMORY = "tensors in memory"


def main(argv: list[str]) -> None:
    del argv
    split = sources.load(_DATA.value, _DATA_DIR.value, resolution=_RESOLUTION.value).train
    step = make_step()
    feeds = {name: iter(batches(split, augmentation)) for name, augmentation in OURS.items()}
    feeds[IN_MEMORY] = itertools.repeat(next(feeds["no augmentation"]))
    if _KERAS.value:
        feeds |= {
            f"Keras RandAugment by {unit}": keras_feed(split, unit) for unit in ("image", "batch")
        }
    seconds = time_interleaved(step, feeds)
    base = seconds[IN_MEMORY]
    print(f"{'feed':32} {'ms a step':>10} {'ratio':>7}   quartiles of the ratio")
    for name, samples in seconds.items():
        low, ratio, high = np.percentile(samples / base, (25, 50, 75))
        print(f"{name:32} {np.median(samples) * 1e3:10.1f} {ratio:7.3f}   {low:.3f} .. {high:.3f}")


def batches(split: sources.Split, augmentation: Augmentation) -> tf.data.Dataset:
    return input_pipeline.batches(
        split,
        None,
        _BATCH.value,
        seed=0,
        training=True,
        augmentation=augmentation,
        **NORMALISATION,
    )


def keras_feed(split: sources.Split, unit: str) -> Iterator:
    layer = keras.layers.RandAugment(num_ops=2, seed=0)
    dataset = tf.data.Dataset.from_tensor_slices((split.images, split.labels)).repeat()

    def augment(images: tf.Tensor, labels: tf.Tensor):
        images = layer(tf.cast(images, tf.float32), training=True)
        return input_pipeline.normalise(images, **NORMALISATION), labels

    if unit == "image":
        dataset = dataset.map(augment, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.batch(_BATCH.value, drop_remainder=True)
    if unit == "batch":
        dataset = dataset.map(augment, num_parallel_calls=tf.data.AUTOTUNE)
    return iter(dataset.prefetch(tf.data.AUTOTUNE))


def make_step() -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    shape = (_RESOLUTION.value, _RESOLUTION.value, 3)
    model = keras.applications.MobileNetV2(shape, alpha=0.35, weights=None, classes=10)
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    optimizer.build(model.trainable_variables)

    @tf.function(jit_compile=False)
    def step(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            probabilities = model(images, training=True)
            loss = tf.reduce_mean(
                keras.losses.sparse_categorical_crossentropy(labels, probabilities)
            )
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    return step


def time_interleaved(
    step: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], feeds: dict[str, Iterator]
) -> dict[str, np.ndarray]:
    """Seconds a step of each feed, float64 `[rounds]`."""
    random = np.random.default_rng(0)
    seconds: dict[str, list[float]] = {name: [] for name in feeds}
    for _ in range(_ROUNDS.value):
        for name in random.permutation(list(feeds)):
            # What was prefetched while others were timed must not be counted as free.
            for _ in range(3):
                step(*next(feeds[name]))
            start = time.perf_counter()
            for _ in range(_STEPS.value):
                loss = step(*next(feeds[name]))
            loss.numpy()
            seconds[name].append((time.perf_counter() - start) / _STEPS.value)
    return {name: np.array(samples) for name, samples in seconds.items()}


if __name__ == "__main__":
    app.run(main)
