"""Random and evolutionary search under limits, by brute force; one-shot accuracy by one-hot."""

import dataclasses
import itertools

import numpy as np
import pytest

from keras_nas.experiment import staged_costs
from keras_nas.methods.classification import accuracy
from keras_nas.methods.evolution import evolution
from keras_nas.methods.hardcore_nas import extract_network
from keras_nas.methods.one_shot_accuracy import one_shot_accuracy
from keras_nas.methods.random_search import random_search
from keras_nas.methods.runtime import Runtime
from keras_nas.methods.sampled_search import Evaluated, best, remembered
from keras_nas.models import Supernet
from keras_nas.resources import cost_model, piece_macs
from keras_nas.solvers.polytope import InfeasibleError
from keras_nas.solvers.staged_costs import StagedCosts

EVOLUTION = {"population": 10, "tournament": 4, "crossover": 0.3}


@pytest.fixture(scope="module")
def costs():
    generator = np.random.default_rng(0)
    return StagedCosts(
        generator.uniform(0.2, 1, (1, 6, 4)), [0.5], [0, 0, 0, 1, 1, 1], [[1, 2, 3]] * 2
    )


LIMITS = np.array([3.0])
WORTH = np.random.default_rng(1).uniform(0, 1, (6, 4))


def fitness(costs):
    """A sum over the blocks that run, which keep within a limit is a knapsack."""

    def of(choice):
        reached = costs.reached(choice[0])
        return float(WORTH[np.arange(6), choice[1]] @ reached)

    return of


def best_possible(costs):
    choices = itertools.product(
        map(np.array, itertools.product(range(3), repeat=2)),
        map(np.array, itertools.product(range(4), repeat=6)),
    )
    return max(fitness(costs)(c) for c in choices if costs.exact_cost(*c)[0] <= LIMITS[0])


def searches(costs, evaluations, seed):
    return {
        "random": random_search(fitness(costs), costs, LIMITS, evaluations, seed=seed),
        "evolution": evolution(fitness(costs), costs, LIMITS, evaluations, seed=seed, **EVOLUTION),
    }


def test_every_individual_keeps_the_limit_and_evolution_finds_the_best(costs):
    optimum, found = best_possible(costs), {"random": [], "evolution": []}
    for seed in range(5):
        for name, history in searches(costs, 150, seed).items():
            assert len(history) == 150
            assert all(costs.exact_cost(*one.choice)[0] <= LIMITS[0] for one in history)
            found[name].append(best(history).fitness)
    assert max(found["evolution"]) <= optimum + 1e-12
    assert np.sum(np.array(found["evolution"]) > 0.98 * optimum) >= 4
    assert np.median(found["evolution"]) > np.median(found["random"]) + 0.02 * optimum


def test_a_seed_repeats(costs):
    for name, history in searches(costs, 30, 3).items():
        again = searches(costs, 30, 3)[name]
        other = searches(costs, 30, 4)[name]
        assert [one.fitness for one in history] == [one.fitness for one in again]
        assert [one.fitness for one in history] != [one.fitness for one in other]


def test_aging_forgets_the_best(costs):
    """In a population of one each child is one change away from the network before it."""
    settings = {"population": 1, "tournament": 1, "crossover": 0.0}
    history = evolution(fitness(costs), costs, LIMITS, 40, seed=0, **settings)
    for before, after in itertools.pairwise(history):
        changes = [np.sum(a != b) for a, b in zip(before.choice, after.choice, strict=True)]
        assert sum(changes) == 1
    values = [one.fitness for one in history]
    assert any(after < before for before, after in itertools.pairwise(values))


def test_crossover_takes_whole_stages(costs):
    settings = {"population": 6, "tournament": 2, "crossover": 1.0}
    history = evolution(fitness(costs), costs, [100.0], 60, seed=0, **settings)

    def stages(choice):
        return [(s, int(choice[0][s]), *map(int, choice[1][3 * s : 3 * s + 3])) for s in (0, 1)]

    def is_crossed(number):
        alive = [set(stages(one.choice)) for one in history[number - 6 : number]]
        return set(stages(history[number].choice)) <= set.union(*alive)

    assert sum(is_crossed(number) for number in range(6, 60)) > 5


def test_of_equals_the_first_is_best():
    networks = [
        Evaluated((np.array([k]), np.array([k])), value) for k, value in enumerate((1, 2, 2))
    ]
    assert best(networks) is networks[1]


def test_a_search_that_is_run_again_evaluates_nothing(costs, tmp_path):
    calls = []

    def counted(choice):
        calls.append(choice)
        if len(calls) == 20:
            raise InterruptedError
        return fitness(costs)(choice)

    path = tmp_path / "evaluated.json"
    with pytest.raises(InterruptedError):
        random_search(remembered(counted, path), costs, LIMITS, 40, seed=0)
    continued = random_search(remembered(counted, path), costs, LIMITS, 40, seed=0)
    whole = random_search(fitness(costs), costs, LIMITS, 40, seed=0)
    assert [one.fitness for one in continued] == [one.fitness for one in whole]
    done = len(calls)
    assert done <= 41
    random_search(remembered(counted, path), costs, LIMITS, 40, seed=0)
    assert len(calls) == done
    other = tmp_path / "other.json"
    random_search(remembered(fitness(costs), other, writes=False), costs, LIMITS, 2, seed=0)
    assert not other.exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"population": 31}, "population should be between 1 and the 30 evaluations; received 31"),
        ({"population": 0}, "population should be between 1"),
        ({"tournament": 0}, "tournament should be at least 1; received 0"),
        ({"crossover": 1.5}, "crossover should be between 0 and 1; received 1.5"),
    ],
)
def test_settings_out_of_range_are_refused(costs, settings, message):
    with pytest.raises(ValueError, match=message):
        evolution(fitness(costs), costs, LIMITS, 30, seed=0, **EVOLUTION | settings)


def test_what_no_network_keeps_is_refused(costs):
    for search in (random_search, lambda *a, **k: evolution(*a, **k, **EVOLUTION)):
        with pytest.raises(InfeasibleError):
            search(fitness(costs), costs, [0.1], 20, seed=0)


def test_one_shot_accuracy_is_that_of_the_extracted_network(supernet, space, examples, tmp_path):
    copy = Supernet(space, 10)
    copy.set_weights(supernet.get_weights())
    runtime, traced = Runtime(tmp_path), []
    call = copy.call

    def counted(*arguments, **options):
        traced.append(options.get("training"))
        return call(*arguments, **options)

    copy.call = counted
    evaluate = one_shot_accuracy(
        copy, examples, runtime, 120, batch_norm_images=256, held_out_images=130
    )
    few = dataclasses.replace(examples, held_out=examples.held_out[:130])
    costs = staged_costs(space, [cost_model(space, piece_macs, 10, name="macs")])
    drawn = random_search(evaluate, costs, [np.inf], 3, seed=0)
    assert len(traced) <= 3  # nothing is traced again for the second network
    for one in drawn[:2]:
        depths = [space.depths[s][entry] for s, entry in enumerate(one.choice[0])]
        architecture = space.architecture(depths, one.choice[1].tolist(), "drawn")
        network = extract_network(supernet, architecture, examples, 256)
        alone = accuracy(network, few, runtime, 120, held_out=True)
        assert one.fitness == pytest.approx(alone, abs=1.5 / 130)  # rounding may turn one image
