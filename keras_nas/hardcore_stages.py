"""What the stages of HardCoRe-NAS do, up to the found architecture."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from keras_nas import files
from keras_nas.context import Context, Outputs
from keras_nas.experiment import limited_resources, staged_costs
from keras_nas.exporting_stage import check_file
from keras_nas.measured_network import best_round, limits_of_tables
from keras_nas.measured_projection import Projector, close_loop
from keras_nas.measuring_stages import measuring_everywhere
from keras_nas.methods import frank_wolfe_search, hardcore_nas
from keras_nas.methods.classification import accuracy
from keras_nas.methods.runtime import Runtime
from keras_nas.models.supernet import check_batch_size
from keras_nas.models.weights import weights_to_bytes
from keras_nas.search_record import (
    check_projection,
    chosen_architecture,
    project_all,
    projection_record,
    read_probabilities,
    search_record,
    training_record,
)
from keras_nas.solvers.projection import Choice
from keras_nas.space import SearchSpace


def pretrain(context: Context) -> Outputs:
    """w-bar and its accuracy."""
    config, space = context.config, context.space_of(SearchSpace)
    if config.supernet.sampling == "stratified":  # rather now than after hours of training
        replicas = context.strategy.num_replicas_in_sync
        check_batch_size(space, config.supernet.batch_size, replicas)
    with context.runtime("pretrain") as runtime:
        network, history = hardcore_nas.pretrain(space, context.examples, config.pretrain, runtime)
    reached = accuracy(network, context.examples, runtime, config.evaluation_batch_size)
    return {
        "heaviest.npz": weights_to_bytes(network),
        "pretrain.json": training_record(history, reached),
    }


def supernet(context: Context) -> Outputs:
    """w* and the accuracy of random paths through it."""
    config, space = context.config, context.space_of(SearchSpace)
    with context.runtime("supernet") as runtime:
        model, history = hardcore_nas.train_supernet(
            space, context.examples, config.supernet, runtime, context.heaviest()
        )
    reached = accuracy(
        hardcore_nas.random_paths(model, config.seed),
        context.examples,
        runtime,
        config.evaluation_batch_size,
    )
    return {
        "supernet.npz": weights_to_bytes(model),
        "supernet.json": training_record(history, reached),
    }


def search(context: Context) -> Outputs:
    """The search's trajectory, and the probabilities that it ended in; of each limit."""
    config, space, examples = context.config, context.space_of(SearchSpace), context.examples
    each = config.limits.each()
    table, others = context.table, context.others
    checked = [limited_resources(space, table, limits, others) for limits in each.values()]
    costs = staged_costs(space, checked[0][0])
    values = np.array([[limit.limit for limit in limits] for _, limits in checked])  # [K, R]
    with context.runtime("search") as runtime:
        results = frank_wolfe_search.search_several(
            context.supernet(), costs, values, config.search, examples, runtime
        )
    return {
        f"{name}/search.json" if len(each) > 1 else "search.json": search_record(
            config, space, costs, limits, result
        )
        for name, (_, limits), result in zip(each, checked, results, strict=True)
    }


def project(context: Context) -> Outputs:
    """The architecture that the search found, measured to keep the limit on every device.

    Raises:
      ValueError: the projection (`lp` or `argmax`) broke a limit, or no network that was measured
        keeps it.
    """
    config, space = context.config, context.space_of(SearchSpace)
    method = config.projection.method
    models, limits = limited_resources(space, context.table, config.limits, context.others)
    costs = staged_costs(space, models)
    searched = files.read_json(context.path("search.json"), "search record")
    alpha, beta = read_probabilities(searched, space)
    candidates = project_all(alpha, beta, costs, limits)
    choice, rounds, best = candidates[method], [], None
    if config.projection.rounds:
        projector = Projector(alpha, beta, costs, limits, method)
        with measuring_everywhere(context) as measures_ms:

            def on_device(number: int, choice: Choice, attempt: int) -> tuple[float, float]:
                architecture, _ = chosen_architecture(space, choice, "projected")
                return measures_ms[number](architecture, attempt)

            measures = [functools.partial(on_device, n) for n in range(len(measures_ms))]
            rounds = close_loop(projector, measures, config.projection.rounds)
        best = best_round(rounds)
        choice = best.choice()
    own = limits_of_tables(limits, best)
    check_projection(method, choice, costs, own)
    architecture, _ = chosen_architecture(space, choice, f"{config.name}_found")
    with context.strategy.scope():
        network = hardcore_nas.extract_network(
            context.supernet(), architecture, context.examples, config.batch_norm_images
        )
    check_file(context, lambda: network)
    runtime = Runtime(context.checkpoints, context.strategy)
    data = (context.examples, runtime, config.evaluation_batch_size)
    reached = [accuracy(network, *data, held_out=held_out) for held_out in (False, True)]
    record = projection_record(method, costs, limits, own, candidates, rounds, choice, *reached)
    return {"projection.json": record, "architecture.json": architecture.to_json()}


STAGES: dict[str, Callable[[Context], Outputs]] = {
    stage.__name__: stage for stage in (pretrain, supernet, search, project)
}
"""Stage name -> what it does."""
