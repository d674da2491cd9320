"""The search in float32, as it runs on a TPU: the same way, and never over a limit in float64."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from keras_nas.config import SearchConfig
from keras_nas.experiment import staged_costs
from keras_nas.methods import frank_wolfe_iterate
from keras_nas.methods.frank_wolfe_search import search
from keras_nas.methods.runtime import Runtime
from keras_nas.resources import cost_model, piece_macs, piece_parameters


class TpuRuntime(Runtime):
    """Chooses dtypes as on a TPU."""

    on_tpu = True


@pytest.fixture
def iterates(monkeypatch):
    """[(dtype, alpha, beta)] of every iterate, the last two as the check saw them."""
    seen = []
    check = frank_wolfe_iterate.check_feasible

    def recorded(plan, state, step):
        alpha, beta = state.point()
        seen.append((state.alpha.dtype, alpha[0], beta[0]))
        return check(plan, state, step)

    monkeypatch.setattr(frank_wolfe_iterate, "check_feasible", recorded)
    return seen


@pytest.mark.parametrize("on_device", [True, False])
def test_float32_follows_float64_and_keeps_the_limit(
    supernet, space, examples, tmp_path, iterates, on_device
):
    model = cost_model(space, piece_macs, 10, name="macs")
    costs = staged_costs(space, [model])
    limit = 0.6 * model.smallest() + 0.4 * model.largest()
    settings = SearchConfig(
        epochs=0.5, batch_size=12, step_rule="constant", solve_on_device=on_device
    )
    plain = Runtime(tmp_path / "float64", steps_per_loop=1)
    exact = search(supernet, costs, [limit], settings, examples, plain)
    assert {dtype for dtype, *_ in iterates} == {tf.float64}
    iterates.clear()
    tpu = TpuRuntime(tmp_path / "float32", steps_per_loop=1)
    found = search(supernet, costs, [limit], settings, examples, tpu)
    assert len(iterates) == 12
    assert {dtype for dtype, *_ in iterates} == {tf.float32}
    for _, alpha, beta in iterates:
        assert costs.expected_cost(alpha, beta)[0] <= limit
        np.testing.assert_allclose(alpha.sum(axis=1), 1, rtol=0, atol=1e-6)
    # The balanced start is at the limit, so 1e-5 below it is where it should be.
    begin = costs.expected_cost(found.start_alpha, found.start_beta)[0]
    assert begin == pytest.approx(limit * (1 - 1e-5), rel=1e-7)
    assert found.alpha.dtype == found.beta.dtype == np.float64
    np.testing.assert_allclose(found.alpha, exact.alpha, rtol=0, atol=2e-3)
    np.testing.assert_allclose(found.beta, exact.beta, rtol=0, atol=2e-3)


def test_an_iterate_over_the_limit_is_refused_in_float32(space):
    costs = staged_costs(space, [cost_model(space, piece_macs, 10, name="macs")])
    alpha, beta = np.full((3, 4), 0.25), np.array([[0.5, 0.5], [1.0, 0.0]])
    state = frank_wolfe_iterate.State(alpha[None], beta[None], tf.float32)
    cost = costs.expected_cost(alpha, beta)
    plan = frank_wolfe_iterate.Plan(costs, cost[None], np.ones(1), np.zeros(1), 0.0)
    np.testing.assert_allclose(
        frank_wolfe_iterate.check_feasible(plan, state, 1), [cost], rtol=1e-6
    )
    plan = dataclasses.replace(plan, limits=cost[None] * (1 - 1e-4))
    with pytest.raises(ValueError, match="step 1 left the feasible set"):
        frank_wolfe_iterate.check_feasible(plan, state, 1)


def test_the_dtype_is_the_strategys(tmp_path):
    class Tpu(tf.distribute.TPUStrategy):
        def __init__(self):  # without a TPU there is nothing to connect to
            pass

    assert Runtime(tmp_path, Tpu()).iterate_dtype == tf.float32
    assert Runtime(tmp_path).iterate_dtype == tf.float64


@pytest.mark.parametrize(
    ("on_tpu", "asked", "resources", "solves_on_device"),
    [
        (True, None, 1, True),
        (True, None, 2, False),
        (True, False, 1, False),
        (False, None, 1, False),
        (False, True, 1, True),
    ],
)
def test_programs_are_solved_on_a_tpu_unless_the_configuration_says_otherwise(
    supernet, space, examples, tmp_path, on_tpu, asked, resources, solves_on_device
):
    class Caught(Exception):
        pass

    class CatchingRuntime(TpuRuntime if on_tpu else Runtime):
        def run(self, phase):
            raise Caught(phase.steps_per_loop)

    models = [cost_model(space, f, 10, name=f.__name__) for f in (piece_macs, piece_parameters)]
    costs = staged_costs(space, models[:resources])
    limits = [(model.smallest() + model.largest()) / 2 for model in models[:resources]]
    settings = SearchConfig(batch_size=12, solve_on_device=asked)
    with pytest.raises(Caught) as caught:
        search(supernet, costs, limits, settings, examples, CatchingRuntime(tmp_path))
    # The host solves after every step, so a compiled loop has only one.
    assert caught.value.args[0] == (10 if solves_on_device else 1)
