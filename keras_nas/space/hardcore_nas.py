"""The search space of HardCoRe-NAS (arXiv 2102.11646, section 3.1 and Table 3) as data.

Five elastic stages of 2 to 4 blocks; each block takes one of 12 configurations: expansion ratio
{3, 4, 6} x kernel size {3, 5} x squeeze-and-excitation {off, on}.
"""

from __future__ import annotations

import dataclasses

from keras_nas.space.architecture import BatchNorm, Head, Stem
from keras_nas.space.blocks import Block
from keras_nas.space.elastic_stage import ElasticStage
from keras_nas.space.search_space import SearchSpace

HARDCORE_NAS = SearchSpace(
    name="hardcore_nas",
    stem=Stem(channels=32, kernel_size=3, stride=2, activation="hard_swish"),
    first_stages=((Block("ds", 3, 1, 16, activation="relu"),),),
    stages=(
        ElasticStage(channels=24, stride=2, activation="relu"),
        ElasticStage(channels=40, stride=2, activation="relu"),
        ElasticStage(channels=80, stride=2, activation="hard_swish"),
        ElasticStage(channels=112, stride=1, activation="hard_swish"),
        ElasticStage(channels=192, stride=2, activation="hard_swish"),
    ),
    final_stages=((Block("cn", 1, 1, 960, activation="hard_swish"),),),
    head=Head(features=1280, activation="hard_swish"),
    kernel_sizes=(3, 5),
    expansion_ratios=(3, 4, 6),
    se_ratios=(0, 0.25),
    batch_norm=BatchNorm(momentum=0.9, epsilon=1e-5),
    resolution=224,
)
"""The space of the published networks A to F."""

HARDCORE_NAS_TABLE_3 = dataclasses.replace(
    HARDCORE_NAS,
    name="hardcore_nas_table_3",
    stem=dataclasses.replace(HARDCORE_NAS.stem, activation="relu"),
    stages=tuple(
        dataclasses.replace(stage, activation="relu" if stage.channels == 24 else "swish")
        for stage in HARDCORE_NAS.stages
    ),
    final_stages=((Block("cn", 1, 1, 960, activation="swish"),),),
    head=Head(features=1280, activation="swish", before_pooling=True),
)
"""The variant printed in the paper's Table 3: Swish from the 40-channel stage on, and the 1280
features computed before pooling."""
