"""Single-Path NAS on CIFAR-10: the paper's choices and channels at 32x32, on this machine's CPU.

Paper: Single-Path NAS (arXiv 1904.02877), section 3; smaller strides, a longer search.
Command: python -m keras_nas --config=configs/single_path_cifar10.py \
             --workdir=runs/single_path_cifar10 --config.data.data_dir=DIR
      prepared under another name: --config.data.source=tfds:NAME
Cost: made for a GPU, where it was not measured. Estimated from measured steps on one core (search
7.8 s of 128 images, training 3 s of 96): search 27 hours, training 43 hours; the latency table took
a minute.
Expect: accuracy not measured at full length. A run of 75 steps of search and 53 of training went
through all stages; its network was measured 2.5% below its limit of 5.112 ms.
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
        name="single_path_cifar10",
        method="single_path",
        space=SpaceConfig(
            name="single_path",
            resolution=32,
            overrides={
                "name": "single_path_32x32",
                # The paper's strides would leave a single pixel of 32x32.
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
            source="tfds:cifar10",
            crop="pad",
            padding=4,
            flip=True,
            mean=(0.491, 0.482, 0.447),
            std=(0.247, 0.243, 0.262),
        ),
        limits=LimitsConfig(latency_fraction=0.4),
        single_path=SinglePathConfig(
            epochs=40,
            batch_size=128,
            runtime_weight=0.5,
            learning_rate=0.016,
            learning_rate_warmup_epochs=1,
            weight_average=0.999,
        ),
        train=RecipeConfig(
            epochs=100,
            batch_size=96,
            learning_rate=0.1,
            warmup_epochs=2,
            weight_decay=1e-4,
            label_smoothing=0.1,
            mixup=0.0,
            weight_average=0.999,
        ),
        final="train",
    )
