"""Several limits in one search: each has its own images, programs, iterates and history."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from keras_nas.config import SearchConfig
from keras_nas.experiment import staged_costs
from keras_nas.methods.frank_wolfe_iterate import metric_name, own_metrics
from keras_nas.methods.frank_wolfe_search import gradient_function, search, search_several
from keras_nas.resources import cost_model, piece_macs, piece_parameters

SETTINGS = SearchConfig(epochs=0.5, batch_size=12)  # 12 steps
ALPHAS = np.stack([np.eye(4)[[1, 3, 0]], np.eye(4)[[2, 0, 1]], np.eye(4)[[0, 0, 3]]])
BETAS = np.array([[[0.0, 1.0], [1.0, 0.0]], [[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]])


@pytest.fixture(scope="module")
def costs(space):
    return staged_costs(space, [cost_model(space, piece_macs, 10, name="macs")])


def limits_at(costs, *shares):
    smallest, largest = costs.smallest_cost(), costs.largest_cost()
    return np.stack([(1 - share) * smallest + share * largest for share in shares])


def test_every_set_gets_the_gradient_of_its_own_images(supernet, examples):
    """Paths are certain here, so that each set can be run by itself on every third image."""
    images, labels = next(iter(examples.evaluation(12)))
    gradients, seed = gradient_function(supernet), tf.constant([0, 1])
    metrics, *found = gradients(images, labels, tf.constant(ALPHAS), tf.constant(BETAS), seed)
    for k in range(3):
        own, *expected = gradients(
            images[k::3], labels[k::3], tf.constant(ALPHAS[k]), tf.constant(BETAS[k]), seed
        )
        for several, alone in zip(found, expected, strict=True):
            scale = np.abs(alone).max()
            assert scale > 0
            np.testing.assert_allclose(several[k], alone, rtol=0, atol=1e-4 * scale)
        for name in ("loss", "accuracy"):
            assert float(metrics[f"limit_{k}/{name}"]) == pytest.approx(float(own[name]), rel=1e-5)
    losses = [float(metrics[f"limit_{k}/loss"]) for k in range(3)]
    assert float(metrics["loss"]) == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.fixture(scope="module")
def found(supernet, costs, examples, tmp_path_factory):
    """Two limits searched at once: on the host, and inside the compiled loop."""
    from keras_nas.methods.runtime import Runtime

    limits, results = limits_at(costs, 0.2, 0.6), []
    for on_device in (False, True):
        runtime = Runtime(tmp_path_factory.mktemp("several"), steps_per_loop=1)
        settings = dataclasses.replace(SETTINGS, solve_on_device=on_device)
        results.append(search_several(supernet, costs, limits, settings, examples, runtime))
    return limits, results


def test_each_iterate_keeps_its_own_limit(found, costs):
    limits, results = found
    for result in results:
        for own, limit in zip(result, limits[:, 0], strict=True):
            assert {row["cost_limit"] for row in own.history} == {limit}
            spent = [row["expected_cost"] for row in own.history]
            assert len(spent) == 12
            assert max(spent) <= limit * (1 + 1e-9)
            assert costs.expected_cost(own.alpha, own.beta)[0] == pytest.approx(spent[-1])
        # The larger limit is used: neither iterate follows the other's limit.
        assert max(row["expected_cost"] for row in result[1].history) > limits[0, 0]


def test_the_device_moves_all_iterates_as_the_host_does(found):
    _, (on_host, on_device) = found
    for host, device in zip(on_host, on_device, strict=True):
        np.testing.assert_allclose(device.alpha, host.alpha, rtol=0, atol=1e-6)
        np.testing.assert_allclose(device.beta, host.beta, rtol=0, atol=1e-6)
        for row, twin in zip(host.history, device.history, strict=True):
            for name in ("expected_cost", "alpha_entropy", "loss"):
                assert row[name] == pytest.approx(twin[name], abs=1e-6, rel=1e-6)


def test_histories_are_separate(found):
    _, (on_host, _) = found
    assert set(on_host[0].history[0]) == set(on_host[1].history[0])
    assert not any("/" in name for name in on_host[0].history[0])
    first, second = ([row["loss"] for row in own.history] for own in on_host)
    assert first != second


def test_each_set_may_limit_several_resources(supernet, space, examples, runtime):
    models = [
        cost_model(space, formula, 10, name=name)
        for name, formula in (("macs", piece_macs), ("parameters", piece_parameters))
    ]
    costs = staged_costs(space, models)
    limits = np.concatenate([limits_at(costs, 0.7, 0.3)])
    limits[0, 1] = limits[1, 1]
    settings = dataclasses.replace(SETTINGS, epochs=0.1)
    for own, values in zip(
        search_several(supernet, costs, limits, settings, examples, runtime), limits, strict=True
    ):
        assert np.all(costs.expected_cost(own.alpha, own.beta) <= values * (1 + 1e-9))


def test_a_batch_that_cannot_be_dealt_is_refused(supernet, costs, examples, runtime):
    limits = limits_at(costs, 0.2, 0.4, 0.5, 0.6, 0.8)
    message = r"config.search.batch_size is 12, which 5 latency limits cannot .* multiple of 5\."
    with pytest.raises(ValueError, match=message):
        search_several(supernet, costs, limits, SETTINGS, examples, runtime)
    assert not runtime.checkpoints.exists()


def test_one_set_is_named_as_before(supernet, costs, examples, runtime):
    limits = limits_at(costs, 0.5)
    settings = dataclasses.replace(SETTINGS, epochs=0.01)
    result = search(supernet, costs, limits[0], settings, examples, runtime)
    assert result.alpha.shape == (3, 4)
    assert not any("/" in name for name in result.history[0])


def test_names_of_metrics_come_back():
    rows = {metric_name("loss", k, 12): float(k) for k in range(12)} | {"step": 3.0, "loss": 5.5}
    assert own_metrics(rows, 1, 12) == {"step": 3.0, "loss": 1.0}
    assert own_metrics(rows, 11, 12) == {"step": 3.0, "loss": 11.0}
    assert metric_name("loss", 0, 1) == "loss"
    assert own_metrics({"loss": 2.0, "step": 1.0}, 0, 1) == {"loss": 2.0, "step": 1.0}
