"""Order, resumption and content of the batches."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_nas.data import images, input_pipeline, sources
from keras_nas.data.augmentation import Augmentation

NORMALISATION = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)}
AUGMENTATIONS = {
    "nothing": Augmentation(),
    "shift": Augmentation(crop="pad"),
    "flip and constant shift": Augmentation(crop="pad", flip=True, padding_mode="constant"),
    "resized crop": Augmentation(crop="resized", flip=True),
    "RandAugment": Augmentation(crop="pad", flip=True, rand_augment_operations=2),
}


def make_split(examples: int = 50, resolution: int = 8) -> sources.Split:
    """Images of noise; the label is the example's index."""
    pixels = np.random.default_rng(0).integers(
        0, 256, (examples, resolution, resolution, 3), np.uint8
    )
    return sources.from_arrays(pixels, np.arange(examples, dtype=np.int32))


def on_disk(split: sources.Split) -> sources.Split:
    return sources.Split(split.examples, split.resolution, split.read, split.fit)


def take(split: sources.Split, count: int, **arguments) -> list[tuple[np.ndarray, np.ndarray]]:
    arguments = {"seed": 3, "training": True, "batch_size": 8, "indices": None} | arguments
    dataset = input_pipeline.batches(split, **NORMALISATION, **arguments)
    return list(itertools.islice(dataset.as_numpy_iterator(), count))


@pytest.mark.parametrize("augmentation", AUGMENTATIONS.values(), ids=AUGMENTATIONS.keys())
@pytest.mark.parametrize("place", ["memory", "disk"])
def test_resumed_run_is_bit_equal(augmentation, place):
    split = make_split() if place == "memory" else on_disk(make_split())
    # Step 9 is in the second epoch, in the middle.
    whole = take(split, 12, augmentation=augmentation)
    resumed = take(split, 3, augmentation=augmentation, start_step=9)
    for (pixels, labels), (resumed_pixels, resumed_labels) in zip(whole[9:], resumed, strict=True):
        np.testing.assert_array_equal(labels, resumed_labels)
        np.testing.assert_array_equal(pixels, resumed_pixels)


def test_disk_and_memory_give_the_same():
    augmentation = AUGMENTATIONS["RandAugment"]
    for memory, disk in zip(
        take(make_split(), 8, augmentation=augmentation),
        take(on_disk(make_split()), 8, augmentation=augmentation),
        strict=True,
    ):
        np.testing.assert_array_equal(memory[0], disk[0])
        np.testing.assert_array_equal(memory[1], disk[1])


_DIGEST = """
def digest():
    import hashlib, itertools
    from keras_nas.data import input_pipeline, sources
    from keras_nas.data.augmentation import Augmentation
    digits = sources.load("digits", resolution=8)
    sha = hashlib.sha256()
    for crop in ("pad", "resized"):
        dataset = input_pipeline.batches(
            digits.train, None, 8, seed=1, mean=(0.5,) * 3, std=(0.5,) * 3, start_step=250,
            training=True, augmentation=Augmentation(crop=crop, rand_augment_operations=2))
        for pixels, labels in itertools.islice(dataset.as_numpy_iterator(), 4):
            sha.update(pixels.tobytes() + labels.tobytes())
    return sha.hexdigest()
"""


def test_a_fresh_process_agrees():
    script = _DIGEST + "print(digest())"
    fresh = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    here: dict = {}
    exec(_DIGEST, here)
    assert fresh.stdout.strip() == here["digest"](), fresh.stderr


def test_every_example_exactly_once_an_epoch():
    indices = np.arange(3, 50, 2)  # 24 of 50, not a multiple of the batch of 10
    labels = np.concatenate(
        [labels for _, labels in take(make_split(), 12, batch_size=10, indices=indices)]
    )
    for epoch in range(5):
        np.testing.assert_array_equal(np.sort(labels[epoch * 24 : (epoch + 1) * 24]), indices)


def test_batch_larger_than_the_set():
    (_, labels), *_ = take(make_split(5), 1, batch_size=16)
    np.testing.assert_array_equal(np.bincount(labels[:15]), [3] * 5)


def test_epochs_and_seeds_are_uncorrelated():
    split = make_split(2000, resolution=1)
    epochs = take(split, 4, batch_size=2000)
    orders = [labels for _, labels in epochs] + [take(split, 1, batch_size=2000, seed=4)[0][1]]
    for first, second in itertools.combinations(np.stack([np.argsort(o) for o in orders]), 2):
        # Standard deviation 0.022 for independent orders.
        assert abs(np.corrcoef(first, second)[0, 1]) < 0.1


def test_images_belong_to_their_labels_and_are_normalised():
    split = make_split()
    for pixels, labels in take(split, 3):
        mean, std = np.array(NORMALISATION["mean"]), np.array(NORMALISATION["std"])
        expected = (split.images[labels] / 255 - mean) / std
        np.testing.assert_allclose(pixels, expected, rtol=1e-5, atol=1e-5)
        assert pixels.dtype == np.float32 and labels.dtype == np.int32
        np.testing.assert_array_equal(
            input_pipeline.normalise(tf.constant(split.images[labels]), **NORMALISATION), pixels
        )


def test_training_batches_have_static_shapes():
    for split in (make_split(), on_disk(make_split())):
        for augmentation in (Augmentation(), AUGMENTATIONS["RandAugment"]):
            dataset = input_pipeline.batches(
                split, None, 8, seed=0, training=True, augmentation=augmentation, **NORMALISATION
            )
            pixels, labels = dataset.element_spec
            assert pixels.shape == (8, 8, 8, 3) and labels.shape == (8,)


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_evaluation_goes_once_over_everything_in_order(place):
    split = make_split() if place == "memory" else on_disk(make_split())
    batches = take(split, 100, training=False, batch_size=16)
    assert [len(labels) for _, labels in batches] == [16, 16, 16, 2]
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in batches]), range(50))
    ((_, last),) = take(split, 100, training=False, batch_size=16, start_step=3)
    np.testing.assert_array_equal(last, [48, 49])


@pytest.mark.parametrize("augmentation", AUGMENTATIONS.values(), ids=AUGMENTATIONS.keys())
@pytest.mark.parametrize("place", ["memory", "disk"])
def test_shares_of_hosts_make_up_the_batch(augmentation, place):
    split = make_split() if place == "memory" else on_disk(make_split())
    whole = take(split, 2, augmentation=augmentation, start_step=5)
    shares = [
        take(split, 2, augmentation=augmentation, start_step=5, host=(w, 2)) for w in range(2)
    ]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert [len(labels) for _, labels in parts] == [4, 4]
        for k in range(2):
            np.testing.assert_array_equal(batch[k], np.concatenate([part[k] for part in parts]))


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_hosts_evaluate_every_example_once_in_as_many_batches(place):
    split = make_split(18) if place == "memory" else on_disk(make_split(18))
    shares = [take(split, 100, training=False, host=(w, 4)) for w in range(4)]
    sizes = [[len(labels) for _, labels in share] for share in shares]
    assert sizes == [[2, 2, 2], [2, 2, 0], [2, 2, 0], [2, 2, 0]]
    labels = np.concatenate([labels for share in shares for _, labels in share])
    np.testing.assert_array_equal(np.sort(labels), range(18))


def test_resized_crop_is_that_of_the_example_number():
    split = make_split(20, resolution=12)
    augmentation = Augmentation(crop="resized")
    pixels, labels = take(split, 3, batch_size=4, augmentation=augmentation)[2]
    expected = np.stack(
        [
            images.random_resized_crop(split.images[label], 12, seed=3, counter=8 + place)
            for place, label in enumerate(labels)
        ]
    )
    np.testing.assert_array_equal(
        pixels, input_pipeline.normalise(tf.constant(expected), **NORMALISATION)
    )


def test_sample_images():
    split = make_split()
    sample = input_pipeline.sample_images(split, 20, seed=1, indices=np.arange(10, 40))
    assert sample.dtype == np.uint8 and sample.shape == (20, 8, 8, 3)
    stored = {split.images[index].tobytes(): index for index in range(10, 40)}
    assert len({stored[image.tobytes()] for image in sample}) == 20
    np.testing.assert_array_equal(
        sample, input_pipeline.sample_images(split, 20, seed=1, indices=np.arange(10, 40))
    )
    with pytest.raises(ValueError, match=r"count must be in \[1, 50\]. Received: 51"):
        input_pipeline.sample_images(split, 51, seed=1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"host": (0, 3)}, "must divide by the number of hosts, 3. Received: 8"),
        ({"start_step": -1}, "must not be negative"),
        ({"seed": -1}, "must not be negative"),
        ({"indices": np.array([], np.int64)}, "indices is empty"),
        ({"indices": np.array([0, 50])}, r"indices must be in \[0, 49\]. Received: 0 .. 50"),
        ({"training": False, "augmentation": Augmentation(flip=True)}, "leave augmentation out"),
    ],
)
def test_values_out_of_range(wrong, message):
    with pytest.raises(ValueError, match=message):
        take(make_split(), 1, **wrong)


def test_normalisation_out_of_range():
    with pytest.raises(ValueError, match="three entries, std positive"):
        input_pipeline.normalise(tf.zeros([1, 3], tf.uint8), (0.5,) * 3, (0.5, 0.0, 0.5))


def test_damaged_file_on_disk_stops_the_training():
    def read(index: int):
        return images.decode(b"", f"cat/{index}.png"), 0

    split = sources.Split(4, 8, read, lambda pixels, index: pixels)
    with pytest.raises(tf.errors.OpError, match=r"cat/\d.png is damaged"):
        take(split, 1, batch_size=2)
