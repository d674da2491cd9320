"""Checks on four logical CPU devices, in a process of their own: devices are set up only once.

    python tests/tpu/four_devices.py

Runs every function `check_*`; the first that fails ends the program with its error.
"""

import os
import sys
import tempfile
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas.config import DataConfig, RecipeConfig
from keras_nas.data.examples import load_examples
from keras_nas.devices.arena import activation_arena_bytes
from keras_nas.export import convert
from keras_nas.layers.batch_norm import FusedBatchNormalization, normalize_batch
from keras_nas.layers.sampling import deal, gumbel_one_hot, shared_gumbel_one_hot
from keras_nas.layers.tf_nas_updates import Update
from keras_nas.methods.classification import train_classifier
from keras_nas.methods.runtime import Runtime
from keras_nas.methods.tf_nas_weights import PathSGD
from keras_nas.models import build_network
from keras_nas.models.batch_norm_statistics import reestimate_batch_norm
from keras_nas.space import ElasticStage, Head, SearchSpace, Stem
from keras_nas.training.mixup import mixup
from tpu.distribution import divided
from tpu.evaluation import evaluate, predict
from tpu.replicas import mean_over_replicas, own_rows, replica_count
from tpu.strategy import DeviceError, strategy_for

FOUR, ONE = strategy_for("cpu", num_devices=4), strategy_for("cpu")
SEED = tf.constant([3, 4])


def on_four(function, *batches):
    """Runs a function on shares of batches; returns the replicas' results."""
    shares = [tf.split(batch, 4) for batch in batches]

    def own(context):
        return tuple(share[context.replica_id_in_sync_group] for share in shares)

    values = FOUR.experimental_distribute_values_from_function(own)
    results = tf.function(lambda v: FOUR.run(function, args=v), autograph=False)(values)
    return [np.stack(FOUR.experimental_local_results(r)) for r in tf.nest.flatten(results)]


def joined(result):
    """[R, n, ...] -> [R * n, ...]"""
    return result.reshape(-1, *result.shape[2:])


def check_batch_norm_is_reestimated():
    images = np.random.default_rng(0).normal(2.0, 3.0, (8, 4, 4, 3)).astype(np.float32)
    found = []
    for strategy in (ONE, FOUR):
        with strategy.scope():
            layer = FusedBatchNormalization(epsilon=1e-3)
            model = keras.Sequential([keras.Input((4, 4, 3)), layer])
            reestimate_batch_norm(model, lambda x, model=model: model(x, training=True), [images])
        found.append([layer.moving_mean.numpy(), layer.moving_variance.numpy()])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)
    np.testing.assert_allclose(found[0][0], images.mean(axis=(0, 1, 2)), rtol=1e-5)


def check_the_strategy_is_shared_and_checked():
    assert FOUR.num_replicas_in_sync == 4
    assert strategy_for("cpu", num_devices=4) is FOUR
    assert strategy_for("cpu", num_devices=2).num_replicas_in_sync == 2
    with pytest.raises(DeviceError, match="cannot be cut into 5 devices"):
        strategy_for("cpu", num_devices=5)


def check_rows_are_those_of_the_global_batch():
    def draw(rows):
        return tf.random.stateless_uniform([rows, 3], SEED)

    (rows,) = on_four(lambda x: own_rows(draw, x.shape[0]), tf.zeros([8]))
    np.testing.assert_array_equal(joined(rows), draw(8))
    assert replica_count() == 1
    with FOUR.scope():
        np.testing.assert_array_equal(own_rows(draw, 8), draw(8))
    means, counts = on_four(
        lambda x: (mean_over_replicas(tf.reduce_sum(x)), tf.constant(replica_count())),
        tf.range(8.0),
    )
    np.testing.assert_array_equal(means, [7.0] * 4)
    np.testing.assert_array_equal(counts, [4] * 4)


def check_samples_do_not_depend_on_replicas():
    probabilities = tf.fill([2, 5], 0.2)

    def sample(x):
        members = np.arange(6, dtype=np.int32).reshape(1, 6)
        drawn = gumbel_one_hot(probabilities, x.shape[0], SEED)
        return drawn, shared_gumbel_one_hot(probabilities, SEED), deal(members, 2, 2, SEED)[0]

    each, shared, order = on_four(sample, tf.zeros([24]))
    np.testing.assert_array_equal(joined(each), gumbel_one_hot(probabilities, 24, SEED))
    assert len(np.unique(joined(each), axis=0)) > 5
    np.testing.assert_array_equal(shared, [shared_gumbel_one_hot(probabilities, SEED)] * 4)
    whole, _ = deal(np.arange(24, dtype=np.int32).reshape(4, 6), 2, 2, SEED)
    groups = [[place % 6 for place in whole.numpy() if place // 6 == g] for g in range(4)]
    np.testing.assert_array_equal(order, groups)


def check_mixup_does_not_depend_on_replicas():
    images = tf.random.stateless_normal([8, 2, 2, 3], SEED)
    expected = mixup(images, tf.eye(8), alpha=0.5, seed=SEED)
    found = on_four(lambda x, y: mixup(x, y, alpha=0.5, seed=SEED), images, tf.eye(8))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(joined(one), other, rtol=1e-6)
    with pytest.raises(ValueError, match="groups of 2, which 1 images a replica cut apart"):
        on_four(lambda x, y: mixup(x, y, alpha=0.5, seed=SEED), images[:4], tf.eye(4))


def check_batch_norm_sees_the_global_batch():
    """Values, gradients and running statistics; means far from 0 cost digits."""
    for dtype, tolerance in (("float32", 2e-5), ("mixed_bfloat16", 2e-2)):
        x = 3.0 + tf.random.stateless_normal([8, 3, 3, 5], SEED)
        slopes = tf.random.stateless_normal([8, 3, 3, 5], SEED + 1)
        results = []
        for strategy in (FOUR, ONE):
            with strategy.scope():
                layer = FusedBatchNormalization(momentum=0.5, dtype=dtype)
                layer.build((None, 3, 3, 5))

            def run(x, slopes, layer=layer):
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    y = tf.cast(layer(x, training=True), tf.float32)
                    loss = tf.reduce_sum(y * slopes)
                running = (layer.moving_mean.value, layer.moving_variance.value)
                return y, tape.gradient(loss, x), *(tf.identity(value) for value in running)

            if strategy is FOUR:
                y, gradient, *statistics = on_four(run, x, slopes)
                for values in statistics:
                    np.testing.assert_array_equal(values, values[:1].repeat(4, 0))
                results.append([joined(y), joined(gradient), *(s[0] for s in statistics)])
            else:
                results.append([np.asarray(value) for value in run(x, slopes)])
        for one, other in zip(*results, strict=True):
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def check_training_in_bfloat16_is_within_its_precision():
    """Four devices differ from one by no more than one in bfloat16 from one in float32."""
    examples = load_examples(DataConfig(mean=(0.3,) * 3, std=(0.35,) * 3), 8, 0)
    recipe = RecipeConfig(epochs=10 * 16 / len(examples.fitted), batch_size=16)
    found = []
    for strategy, policy in ((FOUR, "mixed_bfloat16"), (ONE, "mixed_bfloat16"), (ONE, "float32")):
        keras.config.set_dtype_policy(policy)
        with strategy.scope():
            keras.utils.set_random_seed(0)
            layers = [
                keras.layers.Conv2D(4, 3, use_bias=False),
                FusedBatchNormalization(momentum=0.9),
                keras.layers.Flatten(),
                keras.layers.Dense(10, dtype="float32"),
            ]
            model = keras.Sequential([keras.Input((8, 8, 3)), *layers])
        with tempfile.TemporaryDirectory() as folder:
            train_classifier("tiny", model, examples, recipe, Runtime(Path(folder), strategy))
        found.append(np.concatenate([np.ravel(weight) for weight in model.get_weights()]))
    keras.config.set_dtype_policy("float32")
    several, one, exact = found
    precision = np.linalg.norm(one - exact)
    assert 0 < np.linalg.norm(several - one) < 1.5 * precision
    assert 0 < precision < 0.05 * np.linalg.norm(exact)


def check_variance_keeps_its_digits():
    """Where the mean is 100 deviations from 0, and about known or not."""
    x = 100.0 + tf.random.stateless_normal([32, 6, 6, 5], SEED)
    exact = x.numpy().astype("f8")
    for near, tolerance in ((None, 1e-2), (tf.fill([5], 99.0), 1e-5)):
        _, means, variances = on_four(
            lambda x, near=near: normalize_batch(x, tf.ones(5), tf.zeros(5), 1e-3, near), x
        )
        np.testing.assert_allclose(means[0], exact.mean((0, 1, 2)), rtol=1e-6)
        np.testing.assert_allclose(variances[0], exact.var((0, 1, 2)), rtol=tolerance)


def check_a_network_is_exported_from_several_devices_as_from_one():
    """As the stage `project` does, to hold the file against limits on its size and memory."""
    space = SearchSpace(
        name="small",
        stem=Stem(channels=8, stride=2),
        stages=(ElasticStage(8, 1, min_depth=1, max_depth=1),),
        head=Head(features=16),
        resolution=8,
    )
    found = []
    for strategy in (FOUR, ONE):
        with strategy.scope():
            keras.utils.set_random_seed(0)
            network = build_network(space.heaviest(), (8, 8, 3), 10, fused_batch_norm=True)
        file = convert(network)
        found.append((len(file), activation_arena_bytes(file)))
    assert found[0] == found[1]


def check_every_example_counts_once():
    """With shares that are full, partly filled and empty."""
    for examples in (32, 27, 17, 3):
        numbers = np.random.default_rng(0).normal(size=(examples, 2)).astype(np.float32)
        dataset = tf.data.Dataset.from_tensor_slices((numbers, numbers[:, 0])).batch(8)
        totals = evaluate(lambda inputs: {"sum": inputs[1]}, dataset, FOUR, 8)
        assert totals["examples"] == examples
        np.testing.assert_allclose(totals["sum"], numbers[:, 0].sum(dtype=float), rtol=1e-5)
    predicted = list(predict(lambda inputs: inputs[0] * 2.0, dataset, FOUR, 8))
    np.testing.assert_array_equal(np.concatenate(predicted), numbers * 2.0)
    odd = tf.data.Dataset.range(10).batch(7)
    assert evaluate(lambda x: {"sum": x}, odd, FOUR, 7) == {"sum": 45.0, "examples": 10.0}


def check_shares_are_equal_and_in_order():
    dataset = tf.data.Dataset.range(16).batch(8, drop_remainder=True)
    found = [np.stack(FOUR.experimental_local_results(x)) for x in divided(dataset, FOUR)]
    np.testing.assert_array_equal(np.ravel(found), range(16))
    for batch, message in ((6, "of 6 examples"), (8, "of unknown examples")):
        bad = tf.data.Dataset.range(16).batch(batch, drop_remainder=batch == 6)
        with pytest.raises(ValueError, match=f"{message} cannot be divided evenly among 4 repl"):
            divided(bad, FOUR)


def check_a_batch_that_does_not_divide_names_the_setting():
    runtime = Runtime(Path("unused"), FOUR)
    runtime.check_batch_size("config.search.batch_size", 12)
    with pytest.raises(ValueError, match=r"config.search.batch_size is 10, .*a multiple of 4, or"):
        runtime.check_batch_size("config.search.batch_size", 10)
    with pytest.raises(ValueError, match=r"in whole groups .* a multiple of 8, or fewer devices"):
        runtime.check_batch_size("config.train.batch_size", 12, mixup=0.2)


def check_rows_of_equal_stacks_move_as_on_one_device():
    """Weights and velocities of TF-NAS' optimizer, where two variables have the same shape."""
    gradients = tf.random.stateless_normal([8, 2, 3], SEED)
    results = []
    for strategy in (FOUR, ONE):
        with strategy.scope():
            stacks = [
                keras.Variable(np.full((2, 3), value, np.float32), aggregation="only_first_replica")
                for value in (1.0, 2.0)
            ]
            optimizer = PathSGD(stacks, momentum=0.9, weight_decay=0.1, clip=0.5)

        def step(own, stacks=stacks, optimizer=optimizer):
            means = tf.reduce_mean(own, 0)  # [2, 3]
            updates = [
                Update(stack, tf.constant(row), means[row] * (1.0 + number), tf.ones(3))
                for number, stack in enumerate(stacks)
                for row in (0, 1)
            ]
            return optimizer.apply(updates, tf.constant(0.1))

        for _ in range(3):
            on_four(step, gradients) if strategy is FOUR else step(gradients)
        variables = [v.value for v in (*stacks, *optimizer.variables)]
        results.append([strategy.experimental_local_results(v) for v in variables])
    for several, (alone,) in zip(*results, strict=True):
        for value in several:
            np.testing.assert_allclose(value, alone, rtol=1e-5, atol=1e-6)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print(name.removeprefix("check_"), flush=True)
