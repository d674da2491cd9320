"""MobileNets, MnasNets, EfficientNets and MixNet-S as data: what the papers compare with."""

from __future__ import annotations

from keras_nas.space.architecture import Head, Stem
from keras_nas.space.published_record import (
    PublishedNetwork,
    PublishedResult,
    hardcore_nas_row,
    image_models,
    network,
    single_path_row,
    tf_nas_row,
)
from keras_nas.space.squeeze_excite import EFFICIENT_NET, SqueezeExcite

MOBILENET_V1 = PublishedNetwork(
    network(
        "mobilenetv1_100",
        """
        dsa_k3_s1_c64
        dsa_r2_k3_s2_c128
        dsa_r2_k3_s2_c256
        dsa_r6_k3_s2_c512
        dsa_r2_k3_s2_c1024
        """,
        stem=Stem(32, activation="relu6"),
        head=Head(0, "relu6"),
        activation="relu6",
    ),
    image_models("mobilenetv1_100"),
    (tf_nas_row(70.6, 9.73, 569),),
    ("mobilenet_v1",),
)

MOBILENET_V2 = PublishedNetwork(
    network(
        "mobilenetv2_100",
        """
        ds_k3_s1_c16
        ir_r2_k3_s2_e6_c24
        ir_r3_k3_s2_e6_c32
        ir_r4_k3_s2_e6_c64
        ir_r3_k3_s1_e6_c96
        ir_r3_k3_s2_e6_c160
        ir_k3_s1_e6_c320
        """,
        stem=Stem(32, activation="relu6"),
        head=Head(1280, "relu6", before_pooling=True),
        activation="relu6",
    ),
    image_models("mobilenetv2_100"),
    (single_path_row(72.0, 75.0),),
    ("mobilenet_v2",),
)

MOBILENET_V2_WIDE = PublishedNetwork(
    network(
        "mobilenetv2_140",
        """
        ds_k3_s1_c24
        ir_r2_k3_s2_e6_c32
        ir_r3_k3_s2_e6_c48
        ir_r4_k3_s2_e6_c88
        ir_r3_k3_s1_e6_c136
        ir_r3_k3_s2_e6_c224
        ir_k3_s1_e6_c448
        """,
        stem=Stem(48, activation="relu6"),
        head=Head(1792, "relu6", before_pooling=True),
        activation="relu6",
    ),
    image_models("mobilenetv2_140"),
    (tf_nas_row(74.7, 16.18, 585), hardcore_nas_row(76.5, 70, 50, 6.1, 580)),
    ("mobilenet_v2_140",),
)

MOBILENET_V3_LARGE = PublishedNetwork(
    network(
        "mobilenetv3_large_100",
        """
        ds_k3_s1_e1_c16_nre
        ir_k3_s2_e4_c24_nre ir_k3_s1_e3_c24_nre
        ir_r3_k5_s2_e3_c40_se0.25_nre
        ir_k3_s2_e6_c80 ir_k3_s1_e2.5_c80 ir_r2_k3_s1_e2.3_c80
        ir_r2_k3_s1_e6_c112_se0.25
        ir_r3_k5_s2_e6_c160_se0.25
        cn_k1_s1_c960
        """,
        stem=Stem(16, activation="hard_swish"),
        head=Head(1280),
        activation="hard_swish",
    ),
    image_models("mobilenetv3_large_100"),
    (
        PublishedResult(
            "TensorFlow's model card of mobilenet_v3_large_100_224", 75.2, (("Pixel 1", 51.2),)
        ),
        hardcore_nas_row(75.2, 45, 28, 5.4, 220),
        tf_nas_row(75.2, 12.36, 219),
        single_path_row(75.2, 78.0),
    ),
    ("mobilenet_v3_large",),
)

MOBILENET_V3_LARGE_UNROUNDED = PublishedNetwork(
    network(
        "mobilenetv3_rw",
        """
        ds_k3_s1_e1_c16_nre_noskip
        ir_k3_s2_e4_c24_nre ir_k3_s1_e3_c24_nre
        ir_r3_k5_s2_e3_c40_se0.25_nre
        ir_k3_s2_e6_c80 ir_k3_s1_e2.5_c80 ir_r2_k3_s1_e2.3_c80
        ir_r2_k3_s1_e6_c112_se0.25
        ir_r3_k5_s2_e6_c160_se0.25
        cn_k1_s1_c960
        """,
        stem=Stem(16, activation="hard_swish"),
        head=Head(1280, bias=False),
        activation="hard_swish",
        squeeze_excite=SqueezeExcite(divisor=1, activation="own"),
        epsilon=1e-3,
    ),
    image_models("mobilenetv3_rw"),
    (),
    ("mobilenet_v3_large_rw",),
)

MOBILENET_V3_SMALL = PublishedNetwork(
    network(
        "mobilenetv3_small_100",
        """
        ds_k3_s2_e1_c16_se0.25_nre
        ir_k3_s2_e4.5_c24_nre ir_k3_s1_e3.67_c24_nre
        ir_k5_s2_e4_c40_se0.25 ir_r2_k5_s1_e6_c40_se0.25
        ir_r2_k5_s1_e3_c48_se0.25
        ir_r3_k5_s2_e6_c96_se0.25
        cn_k1_s1_c576
        """,
        stem=Stem(16, activation="hard_swish"),
        head=Head(1024),
        activation="hard_swish",
    ),
    image_models("mobilenetv3_small_100"),
    (
        PublishedResult(
            "TensorFlow's model card of mobilenet_v3_small_100_224", 67.5, (("Pixel 1", 15.8),)
        ),
    ),
    ("mobilenet_v3_small",),
)

MNASNET_A1 = PublishedNetwork(
    network(
        "semnasnet_100",
        """
        ds_k3_s1_e1_c16_noskip
        ir_r2_k3_s2_e6_c24
        ir_r3_k5_s2_e3_c40_se0.25
        ir_r4_k3_s2_e6_c80
        ir_r2_k3_s1_e6_c112_se0.25
        ir_r3_k5_s2_e6_c160_se0.25
        ir_k3_s1_e6_c320
        """,
        stem=Stem(32),
        head=Head(1280, "relu", before_pooling=True),
        squeeze_excite=EFFICIENT_NET,
    ),
    image_models("semnasnet_100"),
    (
        single_path_row(75.2, 78.0),
        hardcore_nas_row(75.2, 55, 37, 3.9, 310),
        tf_nas_row(75.2, 11.98, 312),
    ),
    ("mnasnet_a1",),
)

MNASNET_B1 = PublishedNetwork(
    network(
        "mnasnet_100",
        """
        ds_k3_s1_c16_noskip
        ir_r3_k3_s2_e3_c24
        ir_r3_k5_s2_e3_c40
        ir_r3_k5_s2_e6_c80
        ir_r2_k3_s1_e6_c96
        ir_r4_k5_s2_e6_c192
        ir_k3_s1_e6_c320_noskip
        """,
        stem=Stem(32),
        head=Head(1280, "relu", before_pooling=True),
    ),
    image_models("mnasnet_100"),
    (single_path_row(74.0, 76.0), hardcore_nas_row(74.5, 39, 34, 4.4, 310)),
    ("mnasnet_b1",),
)

EFFICIENTNET_B0 = PublishedNetwork(
    network(
        "efficientnet_b0",
        """
        ds_k3_s1_e1_c16_se0.25
        ir_r2_k3_s2_e6_c24_se0.25
        ir_r2_k5_s2_e6_c40_se0.25
        ir_r3_k3_s2_e6_c80_se0.25
        ir_r3_k5_s1_e6_c112_se0.25
        ir_r4_k5_s2_e6_c192_se0.25
        ir_k3_s1_e6_c320_se0.25
        """,
        stem=Stem(32, activation="swish"),
        head=Head(1280, "swish", before_pooling=True),
        activation="swish",
        squeeze_excite=EFFICIENT_NET,
    ),
    image_models("efficientnet_b0"),
    (hardcore_nas_row(77.3, 85, 48, 5.3, 390), tf_nas_row(76.3, 19.26, 390)),
)

EFFICIENTNET_EDGE_S = PublishedNetwork(
    network(
        "efficientnet_es",
        """
        er_k3_s1_m96_c24_noskip
        er_r2_k3_s2_e8_c32
        er_r4_k3_s2_e8_c48
        ir_r5_k5_s2_e8_c96
        ir_r4_k5_s1_e8_c144
        ir_r2_k5_s2_e8_c192
        """,
        stem=Stem(32),
        head=Head(1280, "relu", before_pooling=True),
    ),
    image_models("efficientnet_es"),
    (PublishedResult("coral.ai, models of the Edge TPU", latencies_ms=(("Edge TPU, int8", 5.0),)),),
    ("efficientnet_edgetpu_s",),
)

MIXNET_S = PublishedNetwork(
    network(
        "mixnet_s",
        """
        ds_k3_s1_e1_c16
        ir_k3_a1.1_p1.1_s2_e6_c24 ir_k3_a1.1_p1.1_s1_e3_c24
        ir_k3.5.7_s2_e6_c40_se0.5_nsw ir_r3_k3.5_a1.1_p1.1_s1_e6_c40_se0.5_nsw
        ir_k3.5.7_p1.1_s2_e6_c80_se0.25_nsw ir_r2_k3.5_p1.1_s1_e6_c80_se0.25_nsw
        ir_k3.5.7_a1.1_p1.1_s1_e6_c120_se0.5_nsw ir_r2_k3.5.7.9_a1.1_p1.1_s1_e3_c120_se0.5_nsw
        ir_k3.5.7.9.11_s2_e6_c200_se0.5_nsw ir_r2_k3.5.7.9_p1.1_s1_e6_c200_se0.5_nsw
        """,
        stem=Stem(16),
        head=Head(1536, "relu", before_pooling=True),
        squeeze_excite=EFFICIENT_NET,
    ),
    image_models("mixnet_s"),
    (tf_nas_row(75.8, 19.86, 256),),
)

NETWORKS = (
    MOBILENET_V1,
    MOBILENET_V2,
    MOBILENET_V2_WIDE,
    MOBILENET_V3_LARGE,
    MOBILENET_V3_LARGE_UNROUNDED,
    MOBILENET_V3_SMALL,
    MNASNET_A1,
    MNASNET_B1,
    EFFICIENTNET_B0,
    EFFICIENTNET_EDGE_S,
    MIXNET_S,
)
