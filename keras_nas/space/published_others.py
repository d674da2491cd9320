"""Networks of other searches as data: DNA, Once-for-All, FairNAS, MoGA.

DNA is arXiv 1911.13053, Once-for-All arXiv 1908.09791, FairNAS 1907.01845, MoGA 1908.01314.
"""

from __future__ import annotations

from keras_nas.space.architecture import Head, Stem
from keras_nas.space.published_record import PublishedNetwork, PublishedResult, network
from keras_nas.space.squeeze_excite import EFFICIENT_NET, SqueezeExcite


def _dna(
    letter: str, stages: str, top1: float, macs_millions: float, parameters_millions: float
) -> PublishedNetwork:
    architecture = network(
        f"dna_{letter}",
        stages,
        stem=Stem(32, activation="swish"),
        head=Head(1280, "swish", before_pooling=True),
        activation="swish",
        squeeze_excite=EFFICIENT_NET,
    )
    source = "authors' repository, changlin31/DNA"
    result = PublishedResult(source, top1, (), macs_millions, parameters_millions)
    return PublishedNetwork(architecture, source, (result,))


DNA_A = _dna(
    "a",
    """
    ds_k3_s1_c16_se0.25
    ir_k5_s2_e3_c24_se0.25 ir_k3_s1_e3_c24_se0.25 ir_k3_s1_e6_c24_se0.25
    ir_r2_k3_s2_e3_c40_se0.25 ir_k5_s1_e3_c40_se0.25 ir_k3_s1_e6_c40_se0.25
    ir_k7_s2_e6_c80_se0.25 ir_k3_s1_e3_c80_se0.25 ir_k5_s1_e3_c80_se0.25 ir_k3_s1_e6_c80_se0.25
    ir_k5_s1_e6_c96_se0.25 ir_r2_k5_s1_e3_c96_se0.25 ir_k5_s1_e6_c96_se0.25
    ir_k5_s2_e6_c160_se0.25 ir_r3_k5_s1_e3_c160_se0.25 ir_k5_s1_e6_c160_se0.25
    ir_k3_s1_e6_c320_se0.25
    """,
    77.1,
    348,
    4.2,
)

DNA_B = _dna(
    "b",
    """
    ds_k3_s1_c16_se0.25
    ir_k3_s2_e3_c24_se0.25 ir_k5_s1_e3_c24_se0.25 ir_k7_s1_e6_c24_se0.25
    ir_k7_s2_e6_c40_se0.25 ir_k5_s1_e3_c40_se0.25 ir_k7_s1_e6_c40_se0.25
    ir_k5_s2_e6_c80_se0.25 ir_r2_k5_s1_e3_c80_se0.25 ir_k3_s1_e6_c80_se0.25
    ir_k5_s1_e6_c96_se0.25 ir_r2_k5_s1_e3_c96_se0.25 ir_k5_s1_e6_c96_se0.25
    ir_k7_s2_e6_c192_se0.25 ir_r3_k5_s1_e3_c192_se0.25 ir_k7_s1_e6_c192_se0.25
    ir_k3_s1_e6_c320_se0.25
    """,
    77.5,
    394,
    4.9,
)

# As in the repository's later version; the first one has another network, of 523 million MACs.
DNA_C = _dna(
    "c",
    """
    ds_k3_s1_c16_se0.25
    ir_k5_s2_e6_c24_se0.25 ir_k3_s1_e6_c24_se0.25
    ir_r2_k5_s2_e6_c40_se0.25 ir_k3_s1_e6_c40_se0.25 ir_k5_s1_e6_c40_se0.25
    ir_k5_s2_e6_c80_se0.25 ir_k3_s1_e6_c80_se0.25 ir_r2_k5_s1_e6_c80_se0.25
    ir_k3_s1_e6_c112_se0.25 ir_r2_k5_s1_e6_c112_se0.25 ir_k5_s1_e3_c112_se0.25
    ir_k5_s2_e6_c192_se0.25 ir_k5_s1_e3_c192_se0.25 ir_r2_k5_s1_e6_c192_se0.25
    ir_k3_s1_e6_c320_se0.25
    """,
    77.8,
    466,
    5.3,
)

DNA_D = _dna(
    "d",
    """
    ds_k3_s1_c16_se0.25
    ir_k7_s2_e6_c24_se0.25 ir_k5_s1_e6_c24_se0.25 ir_k7_s1_e6_c24_se0.25
    ir_r4_k7_s2_e6_c40_se0.25
    ir_k7_s2_e6_c80_se0.25 ir_r2_k5_s1_e6_c80_se0.25 ir_k7_s1_e6_c80_se0.25
    ir_k7_s1_e6_c112_se0.25 ir_k5_s1_e6_c112_se0.25 ir_k7_s1_e6_c112_se0.25 ir_k5_s1_e6_c112_se0.25
    ir_k7_s2_e6_c192_se0.25 ir_r3_k5_s1_e6_c192_se0.25 ir_k7_s1_e6_c192_se0.25
    ir_k3_s1_e6_c320_se0.25
    """,
    78.4,
    611,
    6.4,
)


def _once_for_all(
    stages: str,
    resolution: int,
    latency_ms: float,
    top1: float,
    macs_millions: float,
    parameters_millions: float,
) -> PublishedNetwork:
    """A specialised network of the authors, which they name by its latency on a Galaxy Note8."""
    architecture = network(
        f"ofa_note8_{latency_ms:g}ms",
        f"ds_k3_s1_c16_nre\n{stages.strip()}\ncn_k1_s1_c960",
        stem=Stem(16, activation="hard_swish"),
        head=Head(1280, bias=False),
        activation="hard_swish",
    )
    result = PublishedResult(
        "Once-for-All, arXiv 1908.09791; MACs and parameters from open-mmlab/mmrazor",
        top1,
        (("Samsung Galaxy Note8", latency_ms),),
        macs_millions,
        parameters_millions,
    )
    return PublishedNetwork(
        architecture, "open-mmlab/mmrazor, onceforall", (result,), resolution=resolution
    )


OFA_NOTE8_22MS = _once_for_all(
    """
    ir_r2_k3_s2_e3_c24_nre
    ir_r2_k5_s2_e3_c40_nre_se0.25
    ir_k7_s2_e4_c80 ir_k3_s1_e3_c80
    ir_k5_s1_e3_c112_se0.25 ir_k3_s1_e4_c112_se0.25
    ir_k3_s2_e6_c160_se0.25 ir_k7_s1_e6_c160_se0.25
    """,
    140,
    22,
    70.4,
    70.9,
    4.3,
)

OFA_NOTE8_31MS = _once_for_all(
    """
    ir_k5_s2_e3_c24_nre ir_k3_s1_e3_c24_nre
    ir_k5_s2_e4_c40_nre_se0.25 ir_k5_s1_e3_c40_nre_se0.25
    ir_r2_k3_s2_e4_c80 ir_k5_s1_e4_c80
    ir_k3_s1_e4_c112_se0.25 ir_k5_s1_e3_c112_se0.25 ir_k7_s1_e4_c112_se0.25
    ir_k3_s2_e6_c160_se0.25 ir_k3_s1_e3_c160_se0.25 ir_r2_k5_s1_e3_c160_se0.25
    """,
    152,
    31,
    72.8,
    105.4,
    4.6,
)


def _fairnas(
    letter: str,
    stages: str,
    top1: float,
    macs_millions: float | None = None,
    parameters_millions: float | None = None,
) -> PublishedNetwork:
    architecture = network(
        f"fairnas_{letter}",
        stages,
        stem=Stem(32, activation="relu6"),
        head=Head(1280, "relu6", before_pooling=True),
        activation="relu6",
    )
    result = PublishedResult(
        "FairNAS, arXiv 1907.01845", top1, (), macs_millions, parameters_millions
    )
    return PublishedNetwork(architecture, "a copy of the authors' PyTorch models", (result,))


FAIRNAS_B = _fairnas(
    "b",
    """
    ds_k3_s1_c16
    ir_k5_s2_e3_c32 ir_k3_s1_e3_c32
    ir_k5_s2_e3_c40 ir_k3_s1_e3_c40 ir_k3_s1_e6_c40 ir_k5_s1_e3_c40
    ir_k7_s2_e3_c80 ir_k3_s1_e3_c80 ir_k3_s1_e6_c80 ir_k5_s1_e3_c80
    ir_k3_s1_e3_c96 ir_k3_s1_e6_c96 ir_k7_s1_e3_c96 ir_k3_s1_e3_c96
    ir_k7_s2_e6_c192 ir_k5_s1_e6_c192 ir_k7_s1_e6_c192 ir_k3_s1_e6_c192
    ir_k5_s1_e6_c320
    """,
    75.10,
)

FAIRNAS_C = _fairnas(
    "c",
    """
    ds_k3_s1_c16
    ir_k5_s2_e3_c32 ir_k3_s1_e3_c32
    ir_k7_s2_e3_c40 ir_r3_k3_s1_e3_c40
    ir_k3_s2_e3_c80 ir_r2_k3_s1_e3_c80 ir_k3_s1_e6_c80
    ir_r4_k3_s1_e3_c96
    ir_r2_k7_s2_e6_c192 ir_r2_k3_s1_e6_c192
    ir_k5_s1_e6_c320
    """,
    74.69,
    321,
    4.4,
)

MOGA_A = PublishedNetwork(
    network(
        "moga_a",
        """
        ds_k3_s1_c16_nre_noskip
        ir_k5_s2_e6_c24_nre ir_k7_s1_e6_c24_nre
        ir_k3_s2_e6_c40_nre ir_k3_s1_e6_c40_nre_se0.25 ir_k3_s1_e3_c40_nre_se0.25
        ir_k3_s2_e6_c80_se0.25 ir_k3_s1_e6_c80 ir_k7_s1_e6_c80 ir_k7_s1_e3_c80_se0.25
        ir_k7_s1_e6_c112 ir_k3_s1_e6_c112
        ir_k3_s2_e6_c160 ir_r2_k5_s1_e6_c160_se0.25
        cn_k1_s1_c960
        """,
        stem=Stem(16, activation="hard_swish"),
        head=Head(1280, bias=False, dropout_rate=0.2),
        activation="hard_swish",
        squeeze_excite=SqueezeExcite(divisor=1, activation="own"),
    ),
    "authors' repository, xiaomi-automl/MoGA",
    (PublishedResult("MoGA, arXiv 1908.01314", 75.9),),
)

NETWORKS = (
    DNA_A,
    DNA_B,
    DNA_C,
    DNA_D,
    OFA_NOTE8_22MS,
    OFA_NOTE8_31MS,
    FAIRNAS_B,
    FAIRNAS_C,
    MOGA_A,
)
