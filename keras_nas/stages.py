"""What each stage of the pipeline does: reads its files, calls the method, returns its files."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_nas import measuring_stages
from keras_nas.config import RecipeConfig
from keras_nas.context import Context, Outputs
from keras_nas.experiment import limited_resources, staged_costs
from keras_nas.export import check_operations, check_outputs, convert
from keras_nas.export.check import TOLERANCE
from keras_nas.methods import frank_wolfe_search, hardcore_nas
from keras_nas.methods.classification import accuracy
from keras_nas.models import Supernet
from keras_nas.models.saved_network import network_to_bytes
from keras_nas.models.supernet import check_batch_size
from keras_nas.models.weights import weights_to_bytes
from keras_nas.report import render, summary
from keras_nas.report_files import gather
from keras_nas.search_record import (
    search_record,
)
from tpu.phase import Metrics

CHECKED_IMAGES = 64
"""Real images that an export's outputs are compared on."""


def training_record(history: list[Metrics], reached: float) -> dict[str, Any]:
    """A training stage's history and test accuracy."""
    seconds = history[-1]["seconds"] if history else 0.0
    return {"history": history, "accuracy": reached, "seconds": seconds}


def pretrain(context: Context) -> Outputs:
    """w-bar and its accuracy."""
    config = context.config
    if config.supernet.sampling == "stratified":  # rather now than after hours of training
        check_batch_size(context.space, config.supernet.batch_size)
    with context.runtime("pretrain") as runtime:
        network, history = hardcore_nas.pretrain(
            context.space, context.examples, config.pretrain, runtime
        )
    reached = accuracy(network, context.examples, runtime, config.evaluation_batch_size)
    return {
        "heaviest.npz": weights_to_bytes(network),
        "pretrain.json": training_record(history, reached),
    }


def supernet(context: Context) -> Outputs:
    """w* and the accuracy of random paths through it."""
    config = context.config
    with context.runtime("supernet") as runtime:
        model, history = hardcore_nas.train_supernet(
            context.space, context.examples, config.supernet, runtime, context.heaviest()
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
    """The search's trajectory, and the probabilities that it ended in."""
    config, space, examples = context.config, context.space, context.examples
    models, limits = limited_resources(space, context.table, config.limits)
    costs = staged_costs(space, models)
    values = np.array([limit.limit for limit in limits])
    with context.runtime("search") as runtime:
        result = frank_wolfe_search.search(
            context.supernet(), costs, values, config.search, examples, runtime
        )
    return {"search.json": search_record(config, space, costs, limits, result)}


def _final(context: Context, stage: str, recipe: RecipeConfig, start: Supernet | None) -> Outputs:
    """The trained network."""
    config = context.config
    with context.runtime(stage) as runtime:
        network, history = hardcore_nas.final_network(
            context.architecture,
            context.space,
            context.examples,
            recipe,
            runtime,
            batch_norm_images=config.batch_norm_images,
            supernet=start,
            heaviest=context.heaviest() if recipe.distillation else None,
        )
    reached = accuracy(network, context.examples, runtime, config.evaluation_batch_size)
    return {
        "network.keras": network_to_bytes(network),
        f"{stage}.json": training_record(history, reached),
    }


def finetune(context: Context) -> Outputs:
    """The network fine-tuned from w*, or from a file."""
    recipe = context.config.finetune
    return _final(context, "finetune", recipe, None if recipe.init else context.supernet())


def train(context: Context) -> Outputs:
    """The network trained from scratch."""
    return _final(context, "train", context.config.train, None)


def export(context: Context) -> Outputs:
    """`.tflite` files whose outputs equal the network's on real test images."""
    network = context.final_network()
    images = next(iter(context.examples.evaluation(CHECKED_IMAGES)))[0].numpy()
    outputs: Outputs = {"export.json": {}}
    for precision, name in (("float32", "network.tflite"), ("float16", "network_float16.tflite")):
        data = convert(network, precision)
        operations = check_operations(data)
        difference = check_outputs(network, data, images, TOLERANCE[precision])
        outputs[name] = data
        outputs["export.json"][name] = {
            "bytes": len(data),
            "largest_relative_difference": float(difference),
            "checked_images": len(images),
            "operations": dict(operations),
        }
    return outputs


def report(context: Context) -> Outputs:
    """`report.html` and `summary.txt`."""
    data = gather(context.config, context.folder, context.examples.source.class_names)
    page = render(data)
    listed = [*data.files, ("report.html", len(page.encode()))]
    return {"report.html": page, "summary.txt": summary(dataclasses.replace(data, files=listed))}


RUN: dict[str, Callable[[Context], Outputs]] = {
    stage.__name__: stage
    for stage in (
        measuring_stages.profile, pretrain, supernet, search, measuring_stages.project, finetune,
        train, export, measuring_stages.measure, report
    )
}  # fmt: skip
"""Stage name -> what it does."""


def run(name: str, context: Context) -> Outputs:
    """Runs one stage.

    Raises:
      RuntimeError: TensorFlow failed; the message is that of the image or file behind it.
      ValueError, OSError: see the stages.
    """
    try:
        return RUN[name](context)
    except tf.errors.OpError as error:
        raise RuntimeError(f"stage {name!r}: {reason(error)}") from error


def reason(error: tf.errors.OpError) -> str:
    """One line. What Python raised in a data pipeline arrives as text, with its traceback."""
    pattern = r"^(?:\{\{.*\}\} )?\w*Error: (.+)\n(?=Traceback)"
    raised = re.search(pattern, error.message, re.MULTILINE)
    if raised:
        return raised[1]
    return f"TensorFlow failed: {error.message.strip().splitlines()[0]} (--debug shows more)."
