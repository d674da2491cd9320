"""HardCoRe-NAS A to F (arXiv 2102.11646) as data.

Blocks as its authors published them in PyTorch Image Models, where the stem has a hard-swish too.
Accuracies are from training the found network from scratch, and, second, with knowledge
distillation (the repository's README).
"""

from __future__ import annotations

from keras_nas.space.architecture import Head, Stem
from keras_nas.space.published_record import (
    HARDCORE_NAS_PAPER,
    PublishedNetwork,
    PublishedResult,
    image_models,
    network,
)

_STAGES = {
    "a": """
    ds_k3_s1_e1_c16_nre
    ir_k5_s2_e3_c24_nre ir_k5_s1_e3_c24_nre_se0.25
    ir_k5_s2_e3_c40_nre ir_k5_s1_e6_c40_nre_se0.25
    ir_k5_s2_e6_c80_se0.25 ir_k5_s1_e6_c80_se0.25
    ir_k5_s1_e6_c112_se0.25 ir_k5_s1_e6_c112_se0.25
    ir_k5_s2_e6_c192_se0.25 ir_k5_s1_e6_c192_se0.25
    cn_k1_s1_c960
    """,
    "b": """
    ds_k3_s1_e1_c16_nre
    ir_k5_s2_e3_c24_nre ir_k5_s1_e3_c24_nre_se0.25 ir_k3_s1_e3_c24_nre
    ir_k5_s2_e3_c40_nre ir_k5_s1_e3_c40_nre ir_k5_s1_e3_c40_nre
    ir_k5_s2_e3_c80 ir_k5_s1_e3_c80 ir_k3_s1_e3_c80 ir_k3_s1_e3_c80
    ir_k5_s1_e3_c112 ir_k3_s1_e3_c112 ir_k3_s1_e3_c112 ir_k3_s1_e3_c112
    ir_k5_s2_e6_c192_se0.25 ir_k5_s1_e6_c192_se0.25 ir_k3_s1_e3_c192_se0.25
    cn_k1_s1_c960
    """,
    "c": """
    ds_k3_s1_e1_c16_nre
    ir_k5_s2_e3_c24_nre ir_k5_s1_e3_c24_nre_se0.25
    ir_k5_s2_e3_c40_nre ir_k5_s1_e3_c40_nre ir_k5_s1_e3_c40_nre ir_k5_s1_e3_c40_nre
    ir_k5_s2_e4_c80 ir_k5_s1_e6_c80_se0.25 ir_k3_s1_e3_c80 ir_k3_s1_e3_c80
    ir_k5_s1_e6_c112_se0.25 ir_k3_s1_e3_c112 ir_k3_s1_e3_c112 ir_k3_s1_e3_c112
    ir_k5_s2_e6_c192_se0.25 ir_k5_s1_e6_c192_se0.25 ir_k3_s1_e3_c192_se0.25
    cn_k1_s1_c960
    """,
    "d": """
    ds_k3_s1_e1_c16_nre
    ir_k5_s2_e3_c24_nre_se0.25 ir_k5_s1_e3_c24_nre_se0.25
    ir_k5_s2_e3_c40_nre_se0.25 ir_k5_s1_e4_c40_nre_se0.25 ir_k3_s1_e3_c40_nre_se0.25
    ir_k5_s2_e4_c80_se0.25 ir_r3_k3_s1_e3_c80_se0.25
    ir_k3_s1_e4_c112_se0.25 ir_k5_s1_e4_c112_se0.25 ir_k3_s1_e3_c112_se0.25 ir_k5_s1_e3_c112_se0.25
    ir_k5_s2_e6_c192_se0.25 ir_r2_k5_s1_e6_c192_se0.25 ir_k3_s1_e6_c192_se0.25
    cn_k1_s1_c960
    """,
    "e": """
    ds_k3_s1_e1_c16_nre
    ir_k5_s2_e3_c24_nre_se0.25 ir_k5_s1_e3_c24_nre_se0.25
    ir_k5_s2_e6_c40_nre_se0.25 ir_r2_k5_s1_e4_c40_nre_se0.25 ir_k3_s1_e3_c40_nre_se0.25
    ir_k5_s2_e4_c80_se0.25 ir_k3_s1_e6_c80_se0.25
    ir_r3_k5_s1_e6_c112_se0.25 ir_k5_s1_e3_c112_se0.25
    ir_k5_s2_e6_c192_se0.25 ir_r2_k5_s1_e6_c192_se0.25 ir_k3_s1_e6_c192_se0.25
    cn_k1_s1_c960
    """,
    "f": """
    ds_k3_s1_e1_c16_nre
    ir_k5_s2_e3_c24_nre_se0.25 ir_k5_s1_e3_c24_nre_se0.25
    ir_k5_s2_e6_c40_nre_se0.25 ir_k5_s1_e6_c40_nre_se0.25
    ir_k5_s2_e6_c80_se0.25 ir_k5_s1_e6_c80_se0.25 ir_r2_k3_s1_e3_c80_se0.25
    ir_k3_s1_e6_c112_se0.25 ir_r2_k5_s1_e6_c112_se0.25 ir_k3_s1_e3_c112_se0.25
    ir_k5_s2_e6_c192_se0.25 ir_k5_s1_e6_c192_se0.25 ir_r2_k3_s1_e6_c192_se0.25
    cn_k1_s1_c960
    """,
}

# From scratch and distilled top-1, measured CPU ms, millions of MACs and of parameters. The paper's
# table gives A's size in B's row and B's in C's; these are left out.
_FIGURES = {
    "a": (75.3, 78.3, 38, None, None),
    "b": (75.8, 78.8, 40, 250, None),
    "c": (76.4, 78.9, 44, 270, None),
    "d": (77.1, 79.5, 50, 290, 7.5),
    "e": (77.6, 80.1, 55, 330, 8.1),
    "f": (78.0, None, 61, 340, 8.2),
}


def _published(letter: str) -> PublishedNetwork:
    name = f"hardcorenas_{letter}"
    scratch, distilled, cpu_ms, macs_millions, parameters_millions = _FIGURES[letter]
    results = [
        PublishedResult(
            HARDCORE_NAS_PAPER, scratch, (("CPU", cpu_ms),), macs_millions, parameters_millions
        )
    ]
    if distilled:
        results.append(
            PublishedResult("HardCoRe-NAS' README, with knowledge distillation", distilled)
        )
    return PublishedNetwork(
        network(
            name,
            _STAGES[letter],
            stem=Stem(32, activation="hard_swish"),
            head=Head(1280),
            activation="hard_swish",
        ),
        image_models(name),
        tuple(results),
        (f"hardcore_nas_{letter}",),
    )


NETWORKS = tuple(map(_published, _STAGES))
