"""The search space of TF-NAS (arXiv 2008.05314, section 3.1 and Table 1) as data.

Every block takes one of 8 operations: kernel size {3, 5} x expansion ratio {3 in [2, 4], 6 in
[4, 8]} x squeeze-and-excitation {off, on}. Within the bounds of its expansion ratio the width of an
operation, the channels of its depthwise convolution, is free: elasticity-scaling decides it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from keras_nas.space.architecture import Head, Stem
from keras_nas.space.blocks import Block
from keras_nas.space.elastic_stage import ElasticStage
from keras_nas.space.squeeze_excite import EFFICIENT_NET
from keras_nas.space.tf_nas_block import TFNASOperation
from keras_nas.space.tf_nas_space import TFNASSpace

OPERATIONS = tuple(
    TFNASOperation(kernel_size, low, high, se * low / 2)
    for se in (0, 1)
    for kernel_size in (3, 5)
    for low, high in ((2, 4), (4, 8))
)
"""The paper's, in the order of the authors' code. Squeeze-and-excitation is as wide as the block's
input, and twice that in the wider operations."""

TF_NAS = TFNASSpace(
    name="tf_nas",
    stem=Stem(32, 3, 2, "relu"),
    first_stages=((Block("ds", 3, 1, 16, se_ratio=0.25, squeeze_excite=EFFICIENT_NET),),),
    stages=(
        ElasticStage(24, 2, "relu", 1, 2),
        ElasticStage(40, 2, "swish", 1, 3),
        ElasticStage(80, 2, "swish", 1, 4),
        ElasticStage(112, 1, "swish", 1, 4),
        ElasticStage(192, 2, "swish", 1, 4),
        ElasticStage(320, 1, "swish", 1, 1),
    ),
    operations=OPERATIONS,
    head=Head(1280, "swish", before_pooling=True),
)
"""The paper's space: 18 blocks, 8 operations."""

TF_NAS_WITHOUT_SE = dataclasses.replace(
    TF_NAS, name="tf_nas_without_se", operations=tuple(o for o in OPERATIONS if not o.se)
)
"""The variant without squeeze-and-excitation in searched blocks: 4 operations."""


def tf_nas(**overrides: Any) -> TFNASSpace:
    """The paper's space with some fields replaced.

    Raises:
      TypeError: a space has no such field.
      ValueError: see `TFNASSpace`.
    """
    return dataclasses.replace(TF_NAS, **overrides)
