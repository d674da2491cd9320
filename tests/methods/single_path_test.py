"""The search of Single-Path NAS: its step in parts, what is decoded, and a run that was cut off."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas.config.single_path import SinglePathConfig
from keras_nas.layers.superkernel import Formulation
from keras_nas.methods.runtime import Runtime
from keras_nas.methods.single_path import search, subset_mask, training_step
from keras_nas.models.single_path_supernet import SinglePathSupernet
from keras_nas.resources.runtime_model import RuntimeModel
from keras_nas.space import ElasticStage, Head, Stem
from keras_nas.space import single_path as single_path_space
from keras_nas.space.single_path_gates import SKIP, gates_of
from keras_nas.training.rmsprop import rmsprop
from tpu.record import Watch

SPACE = single_path_space(
    name="small",
    stem=Stem(8, stride=1),
    first_stages=(),
    stages=(ElasticStage(8, 2, min_depth=1, max_depth=2),),
    final_stages=(),
    head=Head(0),
    expansion_ratios=(2, 3),
    resolution=8,
)
TIMES = np.array([[1.0, 1.5, 1.4, 2.0], [1.1, 1.7, 1.2, 2.5]])
MODEL = RuntimeModel(SPACE, 0.5, TIMES)
# Six steps, three of them with subset dropout.
SETTINGS = SinglePathConfig(
    epochs=0.05, warmup_share=0.5, batch_size=12, weight_average=0.9, runtime_weight=3.0
)


class PowerCut(Exception):
    pass


@pytest.fixture(scope="module")
def found(examples, tmp_path_factory):
    """A search that was cut off in its third step and continued, and one that was not."""

    def cut(progress):
        if progress.step == 3:
            raise PowerCut

    folder = tmp_path_factory.mktemp("search")
    runtime = Runtime(folder / "whole", steps_per_loop=1, save_every_seconds=0)
    whole = search(SPACE, MODEL, examples, SETTINGS, runtime)
    elsewhere = dataclasses.replace(
        runtime, checkpoints=folder / "cut", watch=Watch(on_progress=cut)
    )
    with pytest.raises(PowerCut):
        search(SPACE, MODEL, examples, SETTINGS, elsewhere)
    elsewhere = dataclasses.replace(elsewhere, watch=Watch())
    return whole, search(SPACE, MODEL, examples, SETTINGS, elsewhere)


def test_a_search_that_was_cut_off_ends_in_the_same(found):
    (supernet, result), (again, continued) = found
    for own, other in zip(supernet.variables, again.variables, strict=True):
        np.testing.assert_array_equal(own, other, own.path)
    keys = set(result.history[0]) - {"seconds"}
    assert [[row[k] for k in keys] for row in continued.history] == [
        [row[k] for k in keys] for row in result.history
    ]


def test_history(found):
    (_, result), _ = found
    assert [row["step"] for row in result.history] == [1, 2, 3, 4, 5, 6, 7][: len(result.history)]
    for index, row in enumerate(result.history):
        runtime_counts = index >= round(0.5 * len(result.history))
        expected = row["cross_entropy"] + 3.0 * runtime_counts * np.log(row["sampled_ms"])
        assert row["loss"] == pytest.approx(expected, rel=1e-5)
        chosen = [int(row[f"block_{b}_configuration"]) for b in range(2)]
        assert row["skipped_blocks"] == chosen.count(SKIP)
        runtimes = MODEL.expected_ms(gates_of(SPACE, SPACE.heaviest()))
        assert chosen == [3, 3]
        assert row["runtime_ms"] == pytest.approx(runtimes)
        for gate in ("kernel_0", "expansion_0", "expansion_1"):
            assert row[f"block_1_{gate}_norm"] >= row[f"block_1_{gate}_threshold"]
    # With subset dropout a step runs less than the weights decide; without it, just that.
    sampled = [row["sampled_ms"] for row in result.history]
    assert min(sampled[:3]) < MODEL.expected_ms(gates_of(SPACE, SPACE.heaviest())) - 0.1
    assert sampled[-1] == pytest.approx(result.history[-1]["runtime_ms"], rel=1e-6)


def test_what_is_decoded_is_what_computes(found, examples):
    (supernet, result), _ = found
    images = examples.sample(4)
    np.testing.assert_array_equal(result.configurations, supernet.configurations())
    _, network = supernet.extract(result.configurations)
    np.testing.assert_allclose(
        network(images, training=False), supernet(images), rtol=1e-4, atol=1e-4
    )
    assert result.margins.expansion.shape == (2, 2)
    assert np.array_equal(result.margins.kernel, supernet.margins().kernel)


def test_subset_mask():
    masks = [
        subset_mask(SPACE, 0.6, tf.constant(True), tf.constant([1, step])) for step in range(200)
    ]
    for part in range(2):
        values = np.stack([mask[part] for mask in masks])
        assert set(np.unique(values)) == {0, 1}
        np.testing.assert_allclose(values.mean(0), 0.6, atol=0.15)
    assert abs(np.stack([mask.expansion for mask in masks]).mean() - 0.6) < 0.05
    again = subset_mask(SPACE, 0.6, tf.constant(True), tf.constant([1, 7]))
    tf.nest.map_structure(np.testing.assert_array_equal, again, masks[7])
    after = subset_mask(SPACE, 0.6, tf.constant(False), tf.constant([1, 7]))
    assert all(np.all(np.array(part) == 1) for part in after)
    assert after.squeeze_excite.shape == (2, 0)


def test_runtime_moves_thresholds_only_after_the_warm_up():
    """One step of each kind from the same weights, with labels that teach nothing."""
    images, labels = tf.zeros((4, 8, 8, 3)), tf.constant([0, 1, 2, 3])
    moved = []
    for first_step in (0, 5):
        keras.utils.set_random_seed(0)
        supernet = SinglePathSupernet(SPACE, 4, Formulation(temperature=1.0))
        optimizer = rmsprop(0.01, supernet.trainable_variables)
        settings = SinglePathConfig(subset_keep=1.0, weight_decay=0.0)
        step = training_step(
            supernet, optimizer, 5, tf.constant([0, 0]), model=MODEL, settings=settings
        )
        metrics = step((images, labels), tf.constant(first_step, tf.int64))
        assert float(metrics["sampled_ms"]) == pytest.approx(5.0)
        moved.append([layer.thresholds.numpy() for layer in supernet.superkernels])
    # All images are equal, so that only runtime tells networks apart.
    np.testing.assert_allclose(moved[0], 0, atol=1e-6)
    gates = np.array(moved[1]) > 1e-3
    np.testing.assert_array_equal(gates, [[True, False, True], [True, True, True]])


def test_unknown_formulation(examples, runtime):
    settings = dataclasses.replace(SETTINGS, relaxation="gumbel")
    with pytest.raises(ValueError, match="relaxation of a formulation should be one of"):
        search(SPACE, MODEL, examples, settings, runtime)
