"""Networks of TF-NAS, Single-Path NAS, FBNet and ProxylessNAS as data."""

from __future__ import annotations

from keras_nas.space.architecture import Architecture, Head, Stem
from keras_nas.space.published_record import (
    SINGLE_PATH_PAPER,
    PublishedNetwork,
    PublishedResult,
    hardcore_nas_row,
    image_models,
    network,
    tf_nas_row,
)
from keras_nas.space.squeeze_excite import EFFICIENT_NET

TF_NAS_A = PublishedNetwork(
    network(
        "tf_nas_a",
        """
        ds_k3_s1_c16_nre_se0.25
        ir_k3_s2_m83_c24_nre_se2 ir_k5_s1_m128_c24_nre
        ir_k3_s2_m138_c40_se2 ir_k3_s1_m297_c40 ir_k5_s1_m170_c40_se2
        ir_k5_s2_m248_c80_se2 ir_k3_s1_m500_c80 ir_k3_s1_m424_c80 ir_k3_s1_m477_c80
        ir_k3_s1_m504_c112_se2 ir_k3_s1_m796_c112 ir_k3_s1_m723_c112_se2 ir_k3_s1_m555_c112_se2
        ir_k3_s2_m813_c192 ir_k3_s1_m1370_c192 ir_k3_s1_m1138_c192_se2 ir_k3_s1_m1359_c192_se2
        ir_k5_s1_m1203_c320_se2
        """,
        stem=Stem(32),
        head=Head(1280, "swish", before_pooling=True),
        activation="swish",
        squeeze_excite=EFFICIENT_NET,
    ),
    "authors' repository, AberHu/TF-NAS",
    (
        PublishedResult(
            "authors' repository, AberHu/TF-NAS",
            76.87,
            (("NVIDIA Titan RTX, batch 32", 18.03), ("Intel Xeon Gold 6130", 80.14)),
            457,
        ),
    ),
)

_SINGLE_PATH_STAGES = """
    ds_k3_s1_c16_noskip
    ir_r3_k3_s2_e3_c24
    ir_k5_s2_e6_c40 ir_r3_k3_s1_e3_c40
    ir_k5_s2_e6_c80 ir_r3_k3_s1_e3_c80
    ir_k5_s1_e6_c96 ir_r3_k5_s1_e3_c96
    ir_r4_k5_s2_e6_c192
    ir_k3_s1_e6_c320_noskip
    """

SINGLE_PATH_NAS_V1 = PublishedNetwork(
    network(
        "single_path_nas_v1",
        _SINGLE_PATH_STAGES,
        stem=Stem(32),
        head=Head(1280, "relu", before_pooling=True),
        epsilon=1e-3,
        momentum=0.99,
        padding="same",
    ),
    f"blocks of {image_models('spnasnet_100')}; padding and batch norm of the authors' code",
    (PublishedResult(SINGLE_PATH_PAPER, 74.96, (("Pixel 1", 79.48),)),),
    ("single_path_nas",),
)

SPNASNET = PublishedNetwork(
    network(
        "spnasnet_100",
        _SINGLE_PATH_STAGES,
        stem=Stem(32),
        head=Head(1280, "relu", before_pooling=True),
    ),
    image_models("spnasnet_100"),
    (hardcore_nas_row(74.1, 41, 36, 4.4, 330),),
    ("spnasnet",),
)

FBNET_C = PublishedNetwork(
    network(
        "fbnetc_100",
        """
        ir_k3_s1_e1_c16
        ir_k3_s2_e6_c24 ir_r2_k3_s1_e1_c24
        ir_k5_s2_e6_c32 ir_k5_s1_e3_c32 ir_k5_s1_e6_c32 ir_k3_s1_e6_c32
        ir_k5_s2_e6_c64 ir_k5_s1_e3_c64 ir_r2_k5_s1_e6_c64
        ir_r3_k5_s1_e6_c112 ir_k5_s1_e3_c112
        ir_r4_k5_s2_e6_c184
        ir_k3_s1_e6_c352
        """,
        stem=Stem(16),
        head=Head(1984, "relu", before_pooling=True),
    ),
    image_models("fbnetc_100"),
    (tf_nas_row(74.9, 12.86, 375), hardcore_nas_row(75.1, 47, 41, 5.5, 380)),
    ("fbnet_c",),
)

# The authors' code adds biases in front of batch norm; they change no output and are left out.
FBNET_B = PublishedNetwork(
    network(
        "fbnet_b",
        """
        ds_k3_s1_c16
        ir_k3_s2_e6_c24 ds_k5_s1_c24 ds_r2_k3_s1_c24
        ir_k5_s2_e6_c32 ir_k5_s1_e3_c32 ir_k3_s1_e6_c32 ir_k5_s1_e6_c32
        ir_r2_k5_s2_e6_c64 ir_k5_s1_e3_c64
        ir_k5_s1_e6_c112 ds_k3_s1_c112 ds_k5_s1_c112 ir_k5_s1_e3_c112
        ir_k5_s2_e6_c184 ds_k5_s1_c184 ir_r2_k5_s1_e6_c184
        ir_k3_s1_e6_c352
        """,
        stem=Stem(16),
        head=Head(1984, "relu", before_pooling=True),
    ),
    "authors' repository, facebookresearch/mobile-vision",
    (
        PublishedResult("FBNet, arXiv 1812.03443", 74.1, (("Samsung Galaxy S8", 23.1),), 295),
        PublishedResult("FBNet's repository", 74.5, (), 291.1, 4.8),
    ),
)


def _proxyless(name: str, stages: str, stem: int, features: int) -> Architecture:
    return network(
        name,
        stages,
        stem=Stem(stem, activation="relu6"),
        head=Head(features, "relu6", before_pooling=True),
        activation="relu6",
        epsilon=1e-3,
    )


_PROXYLESS = "authors' repository, mit-han-lab/proxylessnas, and pytorchcv 0.0.74"

PROXYLESS_MOBILE = PublishedNetwork(
    _proxyless(
        "proxylessnas_mobile",
        """
        ds_k3_s1_c16
        ir_k5_s2_e3_c32 ir_k3_s1_e3_c32
        ir_k7_s2_e3_c40 ir_k3_s1_e3_c40 ir_r2_k5_s1_e3_c40
        ir_k7_s2_e6_c80 ir_r3_k5_s1_e3_c80
        ir_k5_s1_e6_c96 ir_r3_k5_s1_e3_c96
        ir_r2_k7_s2_e6_c192 ir_r2_k7_s1_e3_c192
        ir_k7_s1_e6_c320
        """,
        32,
        1280,
    ),
    _PROXYLESS,
    (PublishedResult("ProxylessNAS' repository", 74.6),),
    ("proxyless_mobile",),
)

PROXYLESS_MOBILE_WIDE = PublishedNetwork(
    _proxyless(
        "proxylessnas_mobile_140",
        """
        ds_k3_s1_c24
        ir_k5_s2_e3_c40 ir_k3_s1_e3_c40
        ir_k7_s2_e3_c56 ir_k3_s1_e3_c56 ir_r2_k5_s1_e3_c56
        ir_k7_s2_e6_c112 ir_r3_k5_s1_e3_c112
        ir_k5_s1_e6_c136 ir_r3_k5_s1_e3_c136
        ir_r2_k7_s2_e6_c256 ir_r2_k7_s1_e3_c256
        ir_k7_s1_e6_c448
        """,
        48,
        1792,
    ),
    _PROXYLESS,
    (),
    ("proxyless_mobile_14",),
)

PROXYLESS_CPU = PublishedNetwork(
    _proxyless(
        "proxylessnas_cpu",
        """
        ds_k3_s1_c24
        ir_k3_s2_e6_c32 ir_r3_k3_s1_e3_c32
        ir_k3_s2_e6_c48 ir_r2_k3_s1_e3_c48 ir_k5_s1_e3_c48
        ir_k3_s2_e6_c88 ir_k3_s1_e3_c88
        ir_k5_s1_e6_c104 ir_r3_k3_s1_e3_c104
        ir_k5_s2_e6_c216 ir_r2_k5_s1_e3_c216 ir_k3_s1_e3_c216
        ir_k5_s1_e6_c360
        """,
        40,
        1432,
    ),
    _PROXYLESS,
    (PublishedResult("ProxylessNAS' repository", 75.3),),
    ("proxyless_cpu",),
)

PROXYLESS_GPU = PublishedNetwork(
    _proxyless(
        "proxylessnas_gpu",
        """
        ds_k3_s1_c24
        ir_k5_s2_e3_c32
        ir_k7_s2_e3_c56 ir_k3_s1_e3_c56
        ir_k7_s2_e6_c112 ir_k5_s1_e3_c112
        ir_k5_s1_e6_c128 ir_k3_s1_e3_c128 ir_k5_s1_e3_c128
        ir_r3_k7_s2_e6_c256 ir_k5_s1_e6_c256
        ir_k7_s1_e6_c432
        """,
        40,
        1728,
    ),
    _PROXYLESS,
    (PublishedResult("ProxylessNAS' repository", 75.1, (("GPU", 5.1),), 465, 7.1),),
    ("proxyless_gpu",),
)


NETWORKS = (
    TF_NAS_A,
    SINGLE_PATH_NAS_V1,
    SPNASNET,
    FBNET_B,
    FBNET_C,
    PROXYLESS_MOBILE,
    PROXYLESS_MOBILE_WIDE,
    PROXYLESS_CPU,
    PROXYLESS_GPU,
)
