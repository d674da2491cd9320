"""Single-Path NAS on Fashion-MNIST: the paper's choices, half the channels, 28x28, on this machine.

Paper: Single-Path NAS (arXiv 1904.02877), section 3; smaller strides, a shorter search.
Command: python -m keras_nas --config=configs/single_path_fashion_mnist.py \
             --workdir=runs/single_path_fashion_mnist --config.data.data_dir=DIR
Other formulations of the search, to compare with (`keras_nas/config/single_path.py`):
             --config.single_path.relaxation=straight_through
             --config.single_path.formulation=multi_path --config.single_path.relaxation=softmax
             --config.single_path.formulation=random_search
Cost: not measured at full length. Estimated from measured steps of 96 images on one core (search
2.1 s, training 1.4 s): search 5 hours, training 6 hours; the latency table took 36 s.
Expect: accuracy not measured at full length. A run of 120 steps of search and 63 of training went
through all stages; its network was measured 1.6% below its limit of 1.463 ms. So short a training
leaves test accuracy at chance: the paper's batch norm needs some hundred steps for its statistics.
"""

from keras_nas.config import (
    Config,
    DataConfig,
    LimitsConfig,
    RecipeConfig,
    SinglePathConfig,
    SpaceConfig,
)


def get_config() -> Config:
    """The experiment."""
    return Config(
        name="single_path_fashion_mnist",
        method="single_path",
        space=SpaceConfig(
            name="single_path",
            resolution=28,
            width_multiplier=0.5,
            overrides={
                "name": "single_path_28x28",
                # The paper's strides would leave a single pixel of 28x28.
                "stem": {"channels": 32, "kernel_size": 3, "stride": 1, "activation": "relu"},
                "stages": [
                    {
                        "channels": channels,
                        "stride": stride,
                        "activation": "relu",
                        "min_depth": 1,
                        "max_depth": 4,
                    }
                    for channels, stride in ((24, 2), (40, 2), (80, 1), (96, 1), (192, 2))
                ],
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
        limits=LimitsConfig(latency_fraction=0.4),
        single_path=SinglePathConfig(
            epochs=16,
            batch_size=96,
            runtime_weight=0.5,
            learning_rate=0.016,
            learning_rate_warmup_epochs=0.5,
            weight_average=0.999,
        ),
        train=RecipeConfig(
            epochs=25,
            batch_size=96,
            learning_rate=0.1,
            warmup_epochs=1,
            weight_decay=1e-4,
            label_smoothing=0.1,
            mixup=0.0,
            weight_average=0.999,
        ),
        final="train",
    )
