"""TF-NAS on Fashion-MNIST: the paper's operations, half the channels, 28x28, this machine's CPU.

Paper: TF-NAS (arXiv 2008.05314), Table 1 and section 4; smaller strides, a shorter search.
Command: python -m keras_nas --config=configs/tf_nas_fashion_mnist.py \
             --workdir=runs/tf_nas_fashion_mnist --config.data.data_dir=DIR
Cost: made for a GPU, where it was not measured. Estimated from measured steps on one core (2.3 s in
the first epochs, then 17 s for two of weights and one of the architecture): search 48 hours,
training 7 hours; the latency table took 4 minutes.
Expect: accuracy not measured at full length. A run of 4 short epochs (1,200 fitted images) and 47
steps of training went through all stages. `benchmarks/tf_nas_findings.py` measures a smaller size.
"""

from keras_nas.config import (
    Config,
    DataConfig,
    LimitsConfig,
    RecipeConfig,
    SpaceConfig,
    TFNASConfig,
)


def get_config() -> Config:
    """The experiment."""
    return Config(
        name="tf_nas_fashion_mnist",
        method="tf_nas",
        space=SpaceConfig(
            name="tf_nas",
            resolution=28,
            width_multiplier=0.5,
            overrides={
                "name": "tf_nas_28x28",
                # The paper's strides would leave a single pixel of 28x28.
                "stem": {"channels": 32, "kernel_size": 3, "stride": 1, "activation": "relu"},
                "stages": [
                    {
                        "channels": channels,
                        "stride": stride,
                        "activation": activation,
                        "min_depth": 1,
                        "max_depth": depth,
                    }
                    for channels, stride, activation, depth in (
                        (24, 2, "relu", 2),
                        (40, 2, "swish", 3),
                        (80, 1, "swish", 4),
                        (112, 1, "swish", 4),
                        (192, 2, "swish", 4),
                        (320, 1, "swish", 1),
                    )
                ],
                # The runtime computes channels in groups of 16 on processors with AVX-512.
                "width_divisor": 16,
                "knot_spacing": 64,
            },
        ),
        data=DataConfig(
            source="tfds:fashion_mnist",
            crop="pad",
            padding=2,
            flip=True,
            mean=(0.286,) * 3,
            std=(0.353,) * 3,
        ),
        limits=LimitsConfig(latency_fraction=0.3),
        tf_nas=TFNASConfig(epochs=30, warmup_epochs=5, batch_size=64, learning_rate=0.05),
        train=RecipeConfig(
            epochs=30,
            batch_size=128,
            learning_rate=0.1,
            warmup_epochs=1,
            weight_decay=1e-5,
            label_smoothing=0.1,
            mixup=0.0,
            weight_average=0.999,
        ),
        final="train",
    )
