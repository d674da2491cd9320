import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from keras_nas.layers import elastic_strata
from keras_nas.layers.sampling import gumbel_one_hot
from keras_nas.models import Supernet, build_network
from keras_nas.models.supernet import check_batch_size, strata_group
from keras_nas.space import ElasticStage, Head, SearchSpace, Stem

CLASSES = 4


def images(count, resolution=24, seed=0):
    shape = (count, resolution, resolution, 3)
    return np.random.default_rng(seed).normal(size=shape).astype("f4")


def one_hot(space, architectures):
    """alpha [N, B, C] and beta [N, S, D] that choose one architecture an image."""
    alpha = np.zeros((len(architectures), len(space.stage_of_block), len(space.configurations)))
    beta = np.zeros((len(architectures), *np.array(space.depths).shape))
    for n, architecture in enumerate(architectures):
        depths, configurations = space.encode(architecture)
        alpha[n, np.arange(alpha.shape[1]), configurations] = 1.0
        for s, stage in enumerate(space.stages):
            beta[n, s, depths[s] - stage.min_depth] = 1.0
    return alpha.astype("f4"), beta.astype("f4")


@pytest.fixture(scope="module")
def supernet(space, randomized):
    return randomized(Supernet(space, CLASSES))


def test_one_hot_is_the_extracted_network(space, supernet):
    x = images(4)
    architectures = [space.random(seed) for seed in range(20)]
    architectures += [space.heaviest(), space.lightest()]
    for architecture in architectures:
        network = supernet.extract(architecture)
        expected = network(x, training=False).numpy()
        found = supernet(x, *one_hot(space, [architecture] * 4), training=False).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_every_image_takes_its_own_path(space, supernet):
    architectures = [space.random(seed) for seed in range(6)]
    x = images(6)
    together = supernet(x, *one_hot(space, architectures), training=False)
    for i, architecture in enumerate(architectures):
        alone = supernet(x[i : i + 1], *one_hot(space, [architecture]), training=False)
        np.testing.assert_allclose(together[i], alone[0], rtol=1e-3, atol=1e-4)


def test_depths_mix_in_proportion(space, randomized):
    """With a linear end, the mixture's logits are the mixture of the logits."""
    stage = dataclasses.replace(space.stages[0], stride=1)
    linear = dataclasses.replace(space, stages=(stage,), final_stages=(), head=Head(0))
    supernet = randomized(Supernet(linear, CLASSES))
    x, share = images(3), np.array([[0.5, 0.2, 0.3]], "f4")
    alpha, _ = one_hot(linear, [linear.random(2)] * 3)
    every = [supernet(x, alpha, np.tile(row, (3, 1, 1))) for row in np.eye(3, dtype="f4")[:, None]]
    found = supernet(x, alpha, np.tile(share, (3, 1, 1)))
    expected = np.einsum("d,dnc->nc", share[0], np.array(every))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_gradients_reach_every_choice_and_no_padding(space, supernet):
    alpha, beta = (tf.constant(v) for v in one_hot(space, [space.heaviest()] * 2))
    with tf.GradientTape() as tape:
        tape.watch([alpha, beta])
        loss = tf.reduce_sum(supernet(images(2), alpha, beta, training=False)[:, 0])
    to_alpha, to_beta = tape.gradient(loss, [alpha, beta])
    assert np.all(to_alpha.numpy() != 0)
    exists = np.array(space.depths) > 0
    assert np.all(to_beta.numpy()[:, exists] != 0) and np.all(to_beta.numpy()[:, ~exists] == 0)


def test_initialize_reproduces_the_heaviest_network(space, randomized):
    heaviest = randomized(build_network(space.heaviest(), space.input_shape, CLASSES), seed=3)
    supernet = randomized(Supernet(space, CLASSES), seed=4)
    supernet.initialize(heaviest)
    x = images(4)
    expected = heaviest(x, training=False).numpy()
    found = supernet(x, *one_hot(space, [space.heaviest()] * 4), training=False).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    extracted = supernet.extract(space.heaviest())
    for one, other in zip(extracted.get_weights(), heaviest.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_extract_refuses_other_spaces(supernet, space):
    other = dataclasses.replace(space.lightest(), stem=Stem(16))
    with pytest.raises(ValueError, match="is not in space 'tiny': stem is"):
        supernet.extract(other)


@pytest.mark.parametrize("name", ["mixed_bfloat16", "float64"])
def test_precision(space, supernet, randomized, policy, name):
    x = images(36)
    shape = (len(space.stage_of_block), len(space.configurations))
    alpha = gumbel_one_hot(tf.ones(shape) / shape[1], 36, tf.constant([0, 1]))
    _, beta = one_hot(space, [space.random(seed) for seed in range(36)])
    expected = supernet(x, alpha, beta), supernet(x, seed=(0, 1))
    policy(name)
    other = randomized(Supernet(space, CLASSES))
    found = other(x, alpha, beta), other(x, seed=(0, 1))
    tolerance = 1e-4 if name == "float64" else 0.15
    for one, logits in zip(found, expected, strict=True):
        assert one.dtype == tf.float32
        np.testing.assert_allclose(one, logits, atol=tolerance * np.abs(logits).max())
    for arguments in ({"alpha": alpha, "beta": beta}, {"seed": (0, 1)}):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(other(x, **arguments, training=True) ** 2)
        gradients = tape.gradient(loss, [w.value for w in other.trainable_weights])
        assert all(np.all(np.isfinite(np.asarray(g, "f4"))) for g in gradients)


# Stratified sampling: which path did every image take?

ONE_STAGE = SearchSpace(
    name="one_stage",
    stem=Stem(8),
    stages=(ElasticStage(8, 1, "swish", 1, 2),),
    expansion_ratios=(2, 4),
    head=Head(0),
    resolution=8,
)
TWO_STAGES = dataclasses.replace(
    ONE_STAGE,
    name="two_stages",
    stages=(ElasticStage(8, 1, "swish", 1, 2), ElasticStage(16, 2, "swish", 1, 2)),
    expansion_ratios=(2,),
    se_ratios=(0,),
)


def every_path(space):
    """All depths [P, S] and configurations [P, B] of a space (0 beyond the depth)."""
    size, found, seed = space.size(), {}, 0
    while len(found) < size:
        architecture = space.random(seed)
        found[space.encode(architecture)] = architecture
        seed += 1
    return list(found), list(found.values())


def drawn_paths(space, count, draws, randomized):
    """Depths [draws, N, S] and configurations [draws, N, B] read off every image's logits."""
    supernet = randomized(Supernet(space, 8), seed=1)
    paths, architectures = every_path(space)
    x = images(count, space.resolution)
    alpha, beta = one_hot(space, architectures)
    logits = supernet(
        np.repeat(x, len(paths), axis=0),
        np.tile(alpha, (count, 1, 1)),
        np.tile(beta, (count, 1, 1)),
    )
    every = logits.numpy().reshape(count, len(paths), 8)

    @tf.function(autograph=False)
    def run(seed):
        return supernet(x, seed=seed, training=False)

    choices = []
    for draw in range(draws):
        y = run(tf.constant([draw, 3])).numpy()
        distances = np.abs(every - y[:, None]).max(2)  # [N, P]
        nearest = np.sort(distances, axis=1)
        assert nearest[:, 0].max() < 1e-4 and np.all(nearest[:, 1] > 5 * nearest[:, 0])
        choices.append(distances.argmin(1))
    depths, configurations = (np.array(part) for part in zip(*paths, strict=True))
    return depths[choices], configurations[choices]


def check_uniform(values, choices, where=None):
    """Every image's values [draws, N] are uniform over `choices`, to 5 standard deviations."""
    where = np.ones_like(values, bool) if where is None else where
    for n in range(values.shape[1]):
        sample = values[where[:, n], n]
        p = 1 / choices
        frequencies = np.bincount(sample, minlength=choices) / len(sample)
        assert len(frequencies) == choices
        assert np.all(np.abs(frequencies - p) <= 5 * np.sqrt(p * (1 - p) / len(sample)))


@pytest.mark.parametrize("count", [16, 12])  # with 12, the six images of depth 2 do not divide by 4
def test_stratified_paths_of_one_stage(count, randomized, monkeypatch):
    monkeypatch.setattr(elastic_strata, "BANDED_PIXELS", 0)
    depths, configurations = drawn_paths(ONE_STAGE, count, 400, randomized)
    deep = depths[:, :, 0] == 2  # [draws, N]
    np.testing.assert_array_equal(deep.sum(1), count // 2)
    e, k, s = np.unravel_index(configurations, (2, 2, 2))  # each [draws, N, 2]
    np.testing.assert_array_equal((k[:, :, 0] == 0).sum(1), count // 2)
    np.testing.assert_array_equal(((k[:, :, 1] == 0) & deep).sum(1), count // 4)
    np.testing.assert_array_equal((configurations[:, :, 0] // 2 == 3).sum(1), count // 4)
    check_uniform(deep.astype(int), 2)
    check_uniform(configurations[:, :, 0], 8)
    check_uniform(configurations[:, :, 1], 8, where=deep)
    check_uniform(2 * configurations[:, :, 0] + deep, 16)
    for one, other in ((e, e), (k, k), (s, s), (e, k), (k, s), (s, e)):
        check_uniform(2 * one[:, :, 0] + other[:, :, 1], 4, where=deep)


def test_stratified_stages_are_independent(randomized):
    depths, kernels = drawn_paths(TWO_STAGES, 8, 400, randomized)
    deep = depths == 2  # [draws, N, S]
    check_uniform(2 * deep[:, :, 0] + deep[:, :, 1], 4)
    check_uniform(2 * deep[:, :, 0] + kernels[:, :, 2], 4)
    check_uniform(2 * kernels[:, :, 0] + kernels[:, :, 2], 4)
    check_uniform(2 * kernels[:, :, 0] + deep[:, :, 1], 4)
    check_uniform(2 * kernels[:, :, 1] + kernels[:, :, 3], 4, where=deep.all(2))


def test_stratified_is_repeatable_and_static(space, supernet):
    x = images(36)
    run = tf.function(lambda seed: supernet(x, seed=seed, training=False), autograph=False)
    assert run.get_concrete_function(tf.constant([0, 0])).output_shapes == (36, CLASSES)
    first = run(tf.constant([4, 5])).numpy()
    np.testing.assert_array_equal(run(tf.constant([4, 5])), first)
    np.testing.assert_allclose(supernet(x, seed=(4, 5)), first, rtol=1e-3, atol=1e-4)
    assert np.any(run(tf.constant([4, 6])).numpy() != first)


def test_stratified_training_changes_running_statistics_only(space, randomized):
    supernet = randomized(Supernet(space, CLASSES))
    before = {w.path: w.numpy() for w in supernet.weights}
    logits = supernet(images(36), seed=(1, 2), training=True)
    assert np.all(np.isfinite(logits))
    changed = {w.path for w in supernet.weights if np.any(w.numpy() != before[w.path])}
    assert changed == {path for path in before if "moving_" in path}


@pytest.mark.parametrize(("count", "unit"), [(8, 12), (18, 12), (6, 4)])
def test_stratified_batch_size(space, supernet, count, unit):
    used = supernet
    if unit == 4:
        used = Supernet(ONE_STAGE, 2)
    message = f"needs a batch size that divides by {unit} .kernel sizes times depths., received"
    with pytest.raises(ValueError, match=message):
        used(images(count, used.space.resolution), seed=(0, 0))


def test_groups_depend_on_space_and_batch_alone(space):
    """Kernel sizes 2, depths 3 and 2: 12 deal evenly; with the 3 expansions of the space, 36."""
    assert [strata_group(space, images) for images in (12, 24, 36, 144)] == [12, 12, 36, 36]
    assert check_batch_size(space, 144, replicas=4) == 36
    with pytest.raises(ValueError, match=r"divides by 48 .*, on each of 4 replicas\), received 60"):
        check_batch_size(space, 60, replicas=4)


def test_paths_are_needed(space, supernet):
    x, alpha = images(6), np.zeros((6, 1, 1))
    for paths in (
        {},
        {"alpha": alpha},
        {"beta": alpha},
        {"alpha": alpha, "beta": alpha, "seed": 1},
    ):
        with pytest.raises(ValueError, match="either alpha and beta, or seed"):
            supernet(x, **paths)
