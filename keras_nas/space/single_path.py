"""The search spaces of Single-Path NAS (arXiv 1904.02877, section 3.2) as data.

Five stages of four blocks, each with kernel size 3 or 5 and expansion ratio 3 or 6. A block that
has a residual, that is each but the first of its stage, may be skipped; a stage is then shorter, so
that what can be found is a `SearchSpace` whose stages have 1 to 4 blocks.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from keras_nas.space.architecture import BatchNorm, Head, Stem
from keras_nas.space.blocks import Block
from keras_nas.space.elastic_stage import ElasticStage
from keras_nas.space.search_space import SearchSpace

SINGLE_PATH = SearchSpace(
    name="single_path",
    stem=Stem(32),
    first_stages=((Block("ds", 3, 1, 16, skip=False),),),
    stages=(
        ElasticStage(24, 2, min_depth=1, max_depth=4),
        ElasticStage(40, 2, min_depth=1, max_depth=4),
        ElasticStage(80, 2, min_depth=1, max_depth=4),
        ElasticStage(96, 1, min_depth=1, max_depth=4),
        ElasticStage(192, 2, min_depth=1, max_depth=4),
    ),
    final_stages=((Block("ir", 3, 1, 320, expansion_ratio=6, skip=False),),),
    head=Head(1280, "relu", before_pooling=True),
    kernel_sizes=(3, 5),
    expansion_ratios=(3, 6),
    se_ratios=(0,),
    batch_norm=BatchNorm(momentum=0.99, epsilon=1e-3),
)
"""The first version's: 20 blocks of 4 configurations, or skipped."""

SINGLE_PATH_SE = dataclasses.replace(SINGLE_PATH, name="single_path_se", se_ratios=(0, 0.25, 0.5))
"""With searchable squeeze-and-excitation, as in the later version (arXiv 1907.00959)."""


def single_path(**overrides: Any) -> SearchSpace:
    """The paper's space with some fields replaced.

    Raises:
      TypeError: a space has no such field.
      ValueError: see `SearchSpace`.
    """
    return dataclasses.replace(SINGLE_PATH, **overrides)
