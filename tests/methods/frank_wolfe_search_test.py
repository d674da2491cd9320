"""The search: gradients against enumeration, host against device, feasible and resumable."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

from keras_nas.config import SearchConfig
from keras_nas.experiment import staged_costs
from keras_nas.methods import frank_wolfe_iterate
from keras_nas.methods.frank_wolfe_iterate import mean_entropy
from keras_nas.methods.frank_wolfe_search import gradient_function, search
from keras_nas.methods.hardcore_nas import uniform_architecture
from keras_nas.resources import cost_model, piece_macs, piece_parameters
from keras_nas.solvers.polytope import InfeasibleError
from tpu.record import Watch

SETTINGS = SearchConfig(epochs=0.5, batch_size=12)  # 12 steps


@pytest.fixture(scope="module")
def models(space):
    """Two resources that disagree about what is cheap."""
    noise = np.random.default_rng(0)
    prices: dict[str, float] = {}

    def latency_ms(piece):
        return prices.setdefault(piece.key, noise.uniform(0.1, 1.0))

    return [
        cost_model(space, latency_ms, 10, name="latency_ms"),
        cost_model(space, piece_macs, 10, name="macs"),
    ]


@pytest.fixture
def iterates(monkeypatch):
    """[(step, alpha, beta)] after every loop of a search."""
    seen = []
    check = frank_wolfe_iterate.check_feasible

    def recorded(plan, state, step):
        seen.append((step, state.alpha.numpy()[0], state.beta.numpy()[0]))
        return check(plan, state, step)

    monkeypatch.setattr(frank_wolfe_iterate, "check_feasible", recorded)
    return seen


def between(model, share):
    return (1 - share) * model.smallest() + share * model.largest()


def check_probabilities(alpha, beta, costs):
    for rows, allowed in ((alpha, costs.allowed_alpha), (beta, costs.allowed_beta)):
        np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=0, atol=1e-12)
        assert rows.min() >= 0
        assert np.all(rows[~allowed] == 0)


@pytest.mark.parametrize("step_rule", ["paper", "constant"])
def test_host_and_device_give_the_same_feasible_iterates(
    supernet, space, models, examples, runtime, tmp_path, iterates, step_rule
):
    costs = staged_costs(space, models[:1])
    limits = np.array([between(models[0], 0.4)])
    settings = dataclasses.replace(SETTINGS, step_rule=step_rule)
    weights = [w.numpy() for w in supernet.weights]
    on_host = search(supernet, costs, limits, settings, examples, runtime)
    host_iterates, iterates[:] = list(iterates), []
    settings = dataclasses.replace(settings, solve_on_device=True)
    elsewhere = dataclasses.replace(runtime, checkpoints=tmp_path / "device")
    on_device = search(supernet, costs, limits, settings, examples, elsewhere)
    assert [i[0] for i in host_iterates] == [i[0] for i in iterates] == list(range(1, 13))
    for (_, alpha, beta), (_, device_alpha, device_beta) in zip(
        host_iterates, iterates, strict=True
    ):
        np.testing.assert_allclose(device_alpha, alpha, rtol=0, atol=1e-6)
        np.testing.assert_allclose(device_beta, beta, rtol=0, atol=1e-6)
        check_probabilities(alpha, beta, costs)
        check_probabilities(device_alpha, device_beta, costs)
        assert costs.expected_cost(alpha, beta)[0] <= limits[0] * (1 + 1e-9)
    for row, twin in zip(on_host.history, on_device.history, strict=True):
        for key in ("step_size", "updates_beta", "expected_cost", "alpha_entropy"):
            assert row[key] == pytest.approx(twin[key], abs=1e-6)
    assert {row["updates_beta"] for row in on_host.history} == {0.0, 1.0}
    moved = np.abs(on_host.alpha - on_host.start_alpha).max()
    assert moved > (0.1 if step_rule == "paper" else 0.005)
    for weight, before in zip(supernet.weights, weights, strict=True):
        np.testing.assert_array_equal(weight.numpy(), before)


def test_an_interrupted_search_ends_in_the_same(
    supernet, space, models, examples, runtime, tmp_path
):
    costs, limits = staged_costs(space, models), np.array([between(m, 0.5) for m in models])
    settings = dataclasses.replace(SETTINGS, step_rule="constant")
    whole = search(supernet, costs, limits, settings, examples, runtime)

    class PowerCut(Exception):
        pass

    def cut(progress):
        if progress.step == 5:
            raise PowerCut

    elsewhere = dataclasses.replace(
        runtime, checkpoints=tmp_path / "cut", watch=Watch(on_progress=cut)
    )
    with pytest.raises(PowerCut):
        search(supernet, costs, limits, settings, examples, elsewhere)
    elsewhere = dataclasses.replace(elsewhere, watch=Watch())
    continued = search(supernet, costs, limits, settings, examples, elsewhere)
    np.testing.assert_array_equal(continued.alpha, whole.alpha)
    np.testing.assert_array_equal(continued.beta, whole.beta)
    assert [row["loss"] for row in continued.history] == [row["loss"] for row in whole.history]
    # Both resources are kept.
    assert np.all(costs.expected_cost(whole.alpha, whole.beta) <= limits * (1 + 1e-9))


def test_the_start_is_the_lightest_where_asked(supernet, space, models, examples, runtime):
    costs = staged_costs(space, models[:1])
    limits = np.array([between(models[0], 0.5)])
    settings = dataclasses.replace(SETTINGS, start="lightest", epochs=0.01)
    result = search(supernet, costs, limits, settings, examples, runtime)
    start = costs.expected_cost(result.start_alpha, result.start_beta)[0]
    assert start == pytest.approx(models[0].smallest())
    assert len(result.history) == 1


@pytest.mark.parametrize("on_device", [False, True])
def test_what_cannot_be_kept_is_refused_before_any_step(
    supernet, space, models, examples, runtime, on_device
):
    costs = staged_costs(space, models[:1])
    settings = dataclasses.replace(SETTINGS, solve_on_device=on_device)
    with pytest.raises(InfeasibleError):
        search(supernet, costs, [0.9 * models[0].smallest()], settings, examples, runtime)
    assert not runtime.checkpoints.exists()


def test_the_device_solves_for_one_limit_only(supernet, space, models, examples, runtime):
    settings = dataclasses.replace(SETTINGS, solve_on_device=True)
    with pytest.raises(ValueError, match="one limit, received 2; solve between steps"):
        search(supernet, staged_costs(space, models), [1e9, 1e9], settings, examples, runtime)


def test_an_iterate_over_a_limit_is_refused(space, models):
    costs = staged_costs(space, models[:1])
    alpha, beta = uniform_architecture(space)
    state = frank_wolfe_iterate.State(alpha[None], beta[None])
    cost = costs.expected_cost(alpha, beta)
    for limit, fits in ((cost, True), (cost * (1 - 1e-6), False)):
        plan = frank_wolfe_iterate.Plan(costs, limit[None], np.ones(1), np.zeros(1), 0.0)
        if fits:
            checked = frank_wolfe_iterate.check_feasible(plan, state, 1)
            np.testing.assert_array_equal(checked, [cost])
        else:
            with pytest.raises(ValueError, match="step 1 left the feasible set"):
                frank_wolfe_iterate.check_feasible(plan, state, 1)


def path_gradients(loss_of, alphas, betas):
    """dL/dw at a path [B, C], [S, D] by central differences, all of them in one call of `loss_of`.

    `loss_of` takes n variants of the weights, [n, B, C] and [n, S, D], and gives n losses.
    """
    step = 1e-2
    flat = np.concatenate([alphas.ravel(), betas.ravel()])  # [B * C + S * D]
    variants = np.concatenate([flat + step * np.eye(flat.size), flat - step * np.eye(flat.size)])
    losses = loss_of(
        variants[:, : alphas.size].reshape(-1, *alphas.shape),
        variants[:, alphas.size :].reshape(-1, *betas.shape),
    )
    up, down = np.split(losses, 2)
    gradient = (up - down) / (2 * step)
    return [
        gradient[: alphas.size].reshape(alphas.shape),
        gradient[alphas.size :].reshape(betas.shape),
    ]


def losses_of_variants(supernet, images, labels):
    """Mean loss over the images of each of n variants of the weights, straight from the logits."""

    @tf.function
    def logits_of(alphas, betas):
        count = alphas.shape[0]
        every = tf.tile(images, [count, 1, 1, 1])  # [n * N, H, W, 3]
        repeated = (tf.repeat(tf.cast(w, tf.float32), len(images), 0) for w in (alphas, betas))
        return supernet(every, *repeated, training=False)

    def loss_of(alphas, betas):
        logits = logits_of(tf.constant(alphas), tf.constant(betas)).numpy().astype(np.float64)
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        logs = logs.reshape(len(alphas), len(labels), -1)  # [n, N, classes]
        return -logs[:, np.arange(len(labels)), labels].mean(axis=1)

    return loss_of


def test_gradients_are_the_expectation_over_paths(supernet, space, examples):
    """Straight through the sample: E over paths of dL/d(one-hot), here over all 4^3 * 2 of them."""
    images, labels = next(iter(examples.evaluation(4)))
    alpha = np.array([[0.5, 0.2, 0.3, 0.0], [0.25, 0.25, 0.25, 0.25], [0.1, 0.0, 0.6, 0.3]])
    beta = np.array([[0.7, 0.3], [1.0, 0.0]])
    exact = [np.zeros_like(alpha), np.zeros_like(beta)]
    loss_of = losses_of_variants(supernet, images, labels.numpy())
    for *configurations, depth in itertools.product(*[range(4)] * 3, range(2)):
        probability = np.prod(alpha[np.arange(3), configurations]) * beta[0, depth]
        if probability == 0:
            continue
        parts = path_gradients(loss_of, np.eye(4)[configurations], np.eye(2)[[depth, 0]])
        for total, part in zip(exact, parts, strict=True):
            total += probability * part
    sampled = tf.function(gradient_function(supernet))
    copies = 256
    tiled = tf.tile(images, [copies, 1, 1, 1]), tf.tile(labels, [copies])
    draws = [
        sampled(*tiled, tf.constant(alpha), tf.constant(beta), tf.constant([3, seed]))[1:]
        for seed in range(16)
    ]
    for i, expected in enumerate(exact):
        values = np.stack([draw[i].numpy() for draw in draws])
        error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
        assert np.abs(expected).max() > 0.002
        np.testing.assert_array_less(np.abs(values.mean(axis=0) - expected), 5 * error + 1e-4)


def test_gradients_at_one_path_equal_finite_differences(supernet, examples):
    images, labels = next(iter(examples.evaluation(6)))
    alpha, beta = np.eye(4)[[1, 3, 0]], np.array([[0.0, 1.0], [1.0, 0.0]])
    metrics, *found = gradient_function(supernet)(
        images, labels, tf.constant(alpha), tf.constant(beta), tf.constant([0, 1])
    )
    alphas = np.repeat(alpha[None].astype(np.float32), 6, axis=0)
    betas = np.repeat(beta[None].astype(np.float32), 6, axis=0)
    expected = path_gradients(losses_of_variants(supernet, images, labels.numpy()), alpha, beta)
    for gradient, difference in zip(found, expected, strict=True):
        np.testing.assert_allclose(gradient.numpy(), difference, rtol=1e-2, atol=2e-4)
    logits = supernet(images, alphas, betas, training=False).numpy()
    assert metrics["accuracy"] == np.mean(logits.argmax(axis=1) == labels)


def test_entropy():
    assert mean_entropy(np.eye(5)) == 0
    assert mean_entropy(np.full((3, 8), 1 / 8)) == pytest.approx(np.log(8))
    assert mean_entropy(np.array([[0.5, 0.5], [1.0, 0.0]])) == pytest.approx(np.log(2) / 2)


def test_a_second_resource_binds(supernet, space, models, examples, runtime, iterates):
    parameters = cost_model(space, piece_parameters, 10, name="parameters")
    costs = staged_costs(space, [models[0], parameters])
    limits = np.array([models[0].largest(), between(parameters, 0.3)])
    search(supernet, costs, limits, SETTINGS, examples, runtime)
    spent = [costs.expected_cost(alpha, beta) for _, alpha, beta in iterates]
    assert np.all(np.array(spent) <= limits * (1 + 1e-9))
    assert max(cost[1] for cost in spent) == pytest.approx(limits[1])
