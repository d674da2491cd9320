"""TF-NAS on CIFAR-10: the paper's operations and channels at 32x32, this machine's CPU as device.

Paper: TF-NAS (arXiv 2008.05314), Table 1 and section 4; smaller strides.
Command: python -m keras_nas --config=configs/tf_nas_cifar10.py \
             --workdir=runs/tf_nas_cifar10 --config.data.data_dir=DIR
      prepared under another name: --config.data.source=tfds:NAME
Cost: made for a GPU, where it was not measured; weeks on 2 CPU cores (measured: 5 s a step in the
first epochs, then 53 s for two of weights and one of the architecture; latency table 10 minutes).
Expect: accuracy not measured at full length. A run of 4 short epochs (1,000 fitted images) and 40
steps of training went through all stages. `benchmarks/tf_nas_findings.py --dataset=cifar10`
measures a smaller size.
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
        name="tf_nas_cifar10",
        method="tf_nas",
        space=SpaceConfig(
            name="tf_nas",
            resolution=32,
            overrides={
                "name": "tf_nas_32x32",
                # The paper's strides would leave a single pixel of 32x32.
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
            source="tfds:cifar10",
            crop="pad",
            padding=4,
            flip=True,
            rand_augment_operations=2,
            rand_augment_magnitude=9.0,
            mean=(0.491, 0.482, 0.447),
            std=(0.247, 0.243, 0.262),
        ),
        limits=LimitsConfig(latency_fraction=0.3),
        tf_nas=TFNASConfig(epochs=90, warmup_epochs=10, batch_size=64, learning_rate=0.05),
        train=RecipeConfig(
            epochs=250,
            batch_size=128,
            learning_rate=0.1,
            warmup_epochs=5,
            weight_decay=1e-5,
            label_smoothing=0.1,
            mixup=0.0,
            weight_average=0.999,
        ),
        final="train",
    )
