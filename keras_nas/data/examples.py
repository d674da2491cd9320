"""The images of one experiment: which train the weights, which guide the search, which test."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from keras_nas.config import DataConfig
from keras_nas.data.augmentation import ONE_HOST, Augmentation, Host
from keras_nas.data.input_pipeline import batches, normalise, sample_images
from keras_nas.data.sources import Source, load
from keras_nas.data.splits import split_held_out


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """A source, split for the search (HC section 4: random 80% and 20%), and its preprocessing.

    Attributes:
      source: training and test images.
      fitted: indices of the training images that train one-shot weights.
      held_out: indices of the training images that the search sees, disjoint from `fitted`.
      mean, std: of pixels scaled to [0, 1], per channel.
      augmentation: of training images; the search sees images as they are.
      seed: of orders and augmentation.
      host: whose share of each batch is read, where several hosts train together.
    """

    source: Source
    fitted: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.int64]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation
    seed: int
    host: Host = ONE_HOST

    def training(
        self, batch_size: int, start_step: int, seed: int, *, held_out: bool = False
    ) -> tf.data.Dataset:
        """Endless batches (images float32 [B, H, W, 3], labels int32 [B]) from `start_step` on.

        Args:
          batch_size: images a batch, of all hosts together.
          start_step: batches that were taken already.
          seed: added to the experiment's, so that stages differ.
          held_out: the search's images without augmentation, instead of the fitted ones with it.
        """
        return batches(
            self.source.train,
            self.held_out if held_out else self.fitted,
            batch_size,
            seed=self.seed + seed,
            mean=self.mean,
            std=self.std,
            start_step=start_step,
            training=True,
            augmentation=Augmentation() if held_out else self.augmentation,
            host=self.host,
        )

    def evaluation(self, batch_size: int, *, held_out: bool = False) -> tf.data.Dataset:
        """Once over the test or the held-out images, in order; the last batch may be small."""
        return batches(
            self.source.train if held_out else self.source.test,
            self.held_out if held_out else None,
            batch_size,
            seed=0,
            mean=self.mean,
            std=self.std,
            training=False,
            host=self.host,
        )

    def sample(self, count: int) -> tf.Tensor:
        """Up to `count` normalised fitted images [n, H, W, 3], always the same ones."""
        count = min(count, len(self.fitted))
        pixels = sample_images(self.source.train, count, seed=self.seed, indices=self.fitted)
        return normalise(pixels, self.mean, self.std)

    def for_host(self, host: Host) -> Examples:
        """The same with one host's share of every batch; samples stay whole."""
        return dataclasses.replace(self, host=host)

    def rejoined(self) -> Examples:
        """The same with every training image fitted: for the final network, after the search."""
        return dataclasses.replace(self, fitted=np.arange(self.source.train.examples))

    def steps(self, epochs: float, batch_size: int, *, held_out: bool = False) -> int:
        """How many batches `epochs` take, at least 1."""
        count = len(self.held_out if held_out else self.fitted)
        return max(1, math.ceil(epochs * count / batch_size))


def load_examples(config: DataConfig, resolution: int, seed: int) -> Examples:
    """Opens the images that a configuration names.

    Args:
      config: what to open and how to treat it.
      resolution: side of the network's input, pixels.
      seed: of the split, orders and augmentation.

    Raises:
      ValueError, FileNotFoundError: see `sources.load`.
    """
    source = load(
        config.source,
        config.data_dir or None,
        resolution=resolution,
        resize=config.resize,
        crop_fraction=config.crop_fraction,
        convert_modes=config.convert_modes,
        train_split=config.train_split,
        test_split=config.test_split,
        test_fraction=config.test_fraction,
        split_seed=seed,
        download=config.download,
        classes=config.classes,
    )
    fitted, held_out = split_held_out(source.train.examples, config.held_out_fraction, seed=seed)
    augmentation = Augmentation(
        crop=config.crop,
        flip=config.flip,
        padding=config.padding,
        rand_augment_operations=config.rand_augment_operations,
        rand_augment_magnitude=config.rand_augment_magnitude,
    )
    return Examples(source, fitted, held_out, config.mean, config.std, augmentation, seed)
