"""HardCoRe-NAS on CIFAR-10: the paper's space and recipe at 32x32, this machine's CPU as device.

Paper: HardCoRe-NAS (arXiv 2102.11646), Table 3 and section 4; smaller strides, shorter training.
Command: python -m keras_nas --config=configs/hardcore_cifar10.py \
             --workdir=runs/hardcore_cifar10 --config.data.data_dir=DIR
      prepared under another name: --config.data.source=tfds:NAME
Cost: made for a GPU, where it was not measured. Estimated from measured steps of 96 images (w-bar
3.8 s, w* 2.5 s of processor time): w-bar 44 h, w* 14 h, fine-tuning 8 h of one core, so 1.5 to 3
days on 2 CPU cores.
Expect: not measured at full length. `benchmarks/search_against_random.py` measures a smaller size.
"""

from keras_nas.config import (
    Config,
    DataConfig,
    LimitsConfig,
    RecipeConfig,
    SearchConfig,
    SpaceConfig,
)


def get_config() -> Config:
    """The experiment."""
    recipe = {"batch_size": 96, "weight_average": 0.999}
    return Config(
        name="hardcore_cifar10",
        space=SpaceConfig(
            name="hardcore_nas",
            resolution=32,
            # The paper's strides would leave a single pixel of 32x32.
            overrides={
                "stem": {"channels": 32, "kernel_size": 3, "stride": 1, "activation": "relu"},
                "stages": [
                    {"channels": 24, "stride": 2, "activation": "relu"},
                    {"channels": 40, "stride": 2, "activation": "relu"},
                    {"channels": 80, "stride": 1, "activation": "hard_swish"},
                    {"channels": 112, "stride": 1, "activation": "hard_swish"},
                    {"channels": 192, "stride": 2, "activation": "hard_swish"},
                ],
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
        limits=LimitsConfig(latency_fraction=0.4),
        pretrain=RecipeConfig(epochs=100, learning_rate=0.1, warmup_epochs=2, **recipe),
        supernet=RecipeConfig(epochs=50, learning_rate=0.05, **recipe),
        search=SearchConfig(epochs=4),
        finetune=RecipeConfig(epochs=15, learning_rate=0.05, distillation=1.0, **recipe),
        train=RecipeConfig(epochs=100, learning_rate=0.1, warmup_epochs=2, **recipe),
    )
