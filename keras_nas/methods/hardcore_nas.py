"""HardCoRe-NAS (arXiv 2102.11646) as four steps: w-bar, w*, search, final network.

Each is a plain function on plain objects; the pipeline runs them as stages, a notebook can take any
by itself.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from keras_nas.config import RecipeConfig
from keras_nas.data.examples import Examples
from keras_nas.layers.sampling import gumbel_one_hot, shared_gumbel_one_hot
from keras_nas.methods.classification import train_classifier
from keras_nas.methods.runtime import Runtime
from keras_nas.models import Supernet, build_network, reestimate_batch_norm
from keras_nas.models.batch_norm_statistics import batch_norm_batches
from keras_nas.models.decided_supernet import DecidedSupernet
from keras_nas.models.saved_network import start_from
from keras_nas.space import Architecture, SearchSpace, StagedSpace
from tpu.failures import clear_memory_errors
from tpu.phase import Metrics

OneShot = Supernet | DecidedSupernet
"""What the weights of a found network are taken from."""


def pretrain(
    space: SearchSpace, examples: Examples, recipe: RecipeConfig, runtime: Runtime
) -> tuple[keras.Model, list[Metrics]]:
    """w-bar (HC section 3.2): trains the heaviest network alone, on the fitted images.

    Returns:
      The network and the history of its training.
    """
    with runtime.strategy.scope():
        network = heaviest_network(space, examples.source.classes, seed=examples.seed)
    history = train_classifier("pretrain", network, examples, recipe, runtime)
    return network, history


def heaviest_network(space: SearchSpace, classes: int, seed: int = 0) -> keras.Model:
    """The space's heaviest network with fresh weights that repeat by `seed`."""
    keras.utils.set_random_seed(seed)
    return build_network(space.heaviest(), space.input_shape, classes, fused_batch_norm=True)


def train_supernet(
    space: SearchSpace,
    examples: Examples,
    recipe: RecipeConfig,
    runtime: Runtime,
    heaviest: keras.Model | None = None,
) -> tuple[Supernet, list[Metrics]]:
    """w* (HC section 3.2): fine-tunes w-bar by multi-path sampling, every image its own path.

    Args:
      space: the search space.
      examples: the fitted images are trained on.
      recipe: how; `recipe.sampling` chooses how paths are drawn.
      runtime: where.
      heaviest: w-bar, see `pretrain`; None starts from fresh weights. It is also the teacher where
        the recipe distils.

    Returns:
      The one-shot network and the history of its training.
    """
    with runtime.strategy.scope():
        keras.utils.set_random_seed(examples.seed)
        supernet = Supernet(space, examples.source.classes)
        if heaviest is not None:
            supernet.initialize(heaviest)
    history = train_classifier(
        "supernet",
        supernet,
        examples,
        recipe,
        runtime,
        forward=path_sampler(supernet, recipe.sampling),
        teacher=heaviest,
    )
    return supernet, history


def path_sampler(supernet: Supernet, sampling: str):
    """How training runs the supernet on uniformly drawn paths.

    Args:
      supernet: the one-shot network.
      sampling: `stratified` (each image its own path, the batch dealt evenly), `independent` (each
        image its own path, drawn independently) or `single_path` (one path for the whole batch).

    Returns:
      Images [N, H, W, 3] and a [2] seed -> logits [N, classes], in training mode.
    """
    if sampling == "stratified":
        return lambda images, seed: supernet(images, seed=seed, training=True)
    alpha, beta = uniform_architecture(supernet.space)

    def sample(images, seed):
        count = images.shape[0]
        seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        paths = []
        for probabilities, own_seed in zip((alpha, beta), seeds, strict=True):
            probabilities = tf.constant(probabilities, tf.float32)
            if sampling == "single_path":
                drawn = shared_gumbel_one_hot(probabilities, own_seed)[None]
                paths.append(tf.tile(drawn, (count, 1, 1)))
            else:
                paths.append(gumbel_one_hot(probabilities, count, own_seed))
        return supernet(images, *paths, training=True)  # of [N, B, C] and [N, S, D]

    return sample


def random_paths(supernet: Supernet, seed: int):
    """The supernet as a classifier that sends every image through its own uniformly drawn path.

    Returns:
      Images [N, H, W, 3] -> logits [N, classes], in inference mode; an image's path depends on its
      place in the batch and on `seed`.
    """
    alpha, beta = uniform_architecture(supernet.space)

    def classify(images, training=False):
        seeds = tf.random.experimental.stateless_split(tf.constant([seed, 0]), 2)
        count = images.shape[0]
        alphas = gumbel_one_hot(tf.constant(alpha, tf.float32), count, seeds[0])  # [N, B, C]
        betas = gumbel_one_hot(tf.constant(beta, tf.float32), count, seeds[1])  # [N, S, D]
        return supernet(images, alphas, betas, training=training)

    return classify


def uniform_architecture(space: SearchSpace) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities alpha [B, C] and beta [S, D] of uniform sampling, float64."""
    choices = len(space.configurations)
    alpha = np.full((len(space.stage_of_block), choices), 1 / choices)
    allowed = np.array(space.depths) > 0  # [S, D]
    return alpha, allowed / allowed.sum(axis=1, keepdims=True)


def final_network(
    architecture: Architecture,
    space: StagedSpace,
    examples: Examples,
    recipe: RecipeConfig,
    runtime: Runtime,
    *,
    batch_norm_images: int,
    supernet: OneShot | None = None,
    heaviest: keras.Model | None = None,
) -> tuple[keras.Model, list[Metrics]]:
    """Trains the found network: from w* or a file with distillation from w-bar, or from scratch.

    Args:
      architecture: the found one.
      space: it is from.
      examples: all training images are trained on, the held-out ones too: the search is over.
      recipe: how; `recipe.init`, where it names a file, goes before w*.
      runtime: where.
      batch_norm_images: how many images the batch norm of a network from w* is re-estimated on.
      supernet: w*, or a decided one of Single-Path NAS; without it and a file, training is from
        scratch (stage `train` instead of `finetune`).
      heaviest: w-bar, the teacher where the recipe distils.

    Returns:
      The network, of Keras' own layers only, and the history of its training.

    Raises:
      FileNotFoundError, ValueError: the file cannot be started from, see `start_from`.
    """
    classes = examples.source.classes
    examples = examples.rejoined()
    with runtime.strategy.scope():
        if supernet is None or recipe.init:
            keras.utils.set_random_seed(examples.seed)
            network = build_network(architecture, space.input_shape, classes, fused_batch_norm=True)
        else:
            network = extract_network(supernet, architecture, examples, batch_norm_images)
    plain = build_network(architecture, space.input_shape, classes)
    if recipe.init:
        plain.set_weights(network.get_weights())  # for a classifier that repeats by seed
        start_from(recipe.init, plain, reset_classifier=recipe.reset_classifier)
        network.set_weights(plain.get_weights())
    stage = "train" if supernet is None and not recipe.init else "finetune"
    history = train_classifier(stage, network, examples, recipe, runtime, teacher=heaviest)
    plain.set_weights(network.get_weights())
    return plain, history


def extract_network(
    supernet: OneShot, architecture: Architecture, examples: Examples, batch_norm_images: int
) -> keras.Model:
    """The stand-alone network with the supernet's weights and its own batch-norm statistics."""
    network = supernet.extract(architecture, fused_batch_norm=True)
    images = examples.sample(batch_norm_images)
    with clear_memory_errors("Re-estimating batch norm", None, "config.batch_norm_images"):
        reestimate_batch_norm(
            network, lambda batch: network(batch, training=True), batch_norm_batches(images)
        )
    return network
