"""Width multipliers: a network with all its channels scaled (MobileNet, arXiv 1704.04861)."""

from __future__ import annotations

import dataclasses

from keras_nas.space.architecture import Architecture
from keras_nas.space.blocks import Block
from keras_nas.space.values import make_divisible

HEADS = ("fixed", "grows")


def widened(architecture: Architecture, multiplier: float, *, head: str = "fixed") -> Architecture:
    """The network with channels `make_divisible(multiplier * channels, 8)`, as published ones are.

    Widths inside a block follow from its ratios; where they are fixed numbers they are scaled as
    well.

    Args:
      architecture: the network at multiplier 1.
      multiplier: above 0.
      head: features in front of the classifier: `fixed` (MnasNet: always those of the network), or
        `grows` (MobileNetV2 and V3: scaled by multipliers above 1).

    Raises:
      ValueError: the multiplier is not above 0, the rule for the head is unknown, or mixed kernels
        or groups cannot deal the channels evenly.
    """
    if not 0 < multiplier < float("inf"):
        raise ValueError(f"a width multiplier should be a number above 0, received {multiplier}.")
    if head not in HEADS:
        raise ValueError(f"unknown rule for the head {head!r}; one of {', '.join(HEADS)}.")
    if multiplier == 1:
        return architecture
    features = architecture.head.features
    if head == "grows" and multiplier > 1 and features:
        features = make_divisible(multiplier * features)
    stem = make_divisible(multiplier * architecture.stem.channels)
    wider = dataclasses.replace(
        architecture,
        name=f"{architecture.name}_x{multiplier:g}",
        stem=dataclasses.replace(architecture.stem, channels=stem),
        stages=tuple(
            tuple(_widened_block(block, multiplier) for block in stage)
            for stage in architecture.stages
        ),
        head=dataclasses.replace(architecture.head, features=features),
    )
    channels = stem
    for block in wider.blocks():
        block.middle_channels(channels)
        channels = block.channels
    return wider


def _widened_block(block: Block, multiplier: float) -> Block:
    middle = block.fixed_middle_channels
    return dataclasses.replace(
        block,
        channels=make_divisible(multiplier * block.channels),
        fixed_middle_channels=make_divisible(multiplier * middle) if middle else 0,
    )
