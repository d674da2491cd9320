"""The stage that trains the found network."""

from __future__ import annotations

from keras_nas.config import RecipeConfig
from keras_nas.context import Context, Outputs
from keras_nas.methods.classification import accuracy
from keras_nas.methods.hardcore_nas import OneShot, final_network
from keras_nas.models.saved_network import network_to_bytes
from keras_nas.search_record import training_record


def trained(context: Context, stage: str, recipe: RecipeConfig, start: OneShot | None) -> Outputs:
    """The found network, trained.

    Args:
      context: of the stage.
      stage: its name.
      recipe: how it trains.
      start: where weights come from; None starts from a file of the recipe, or from scratch.
    """
    config = context.config
    with context.runtime(stage) as runtime:
        network, history = final_network(
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
    return trained(context, "finetune", recipe, None if recipe.init else context.supernet())


def train(context: Context) -> Outputs:
    """The network trained from scratch."""
    return trained(context, "train", context.config.train, None)
