"""HardCoRe-NAS on Fashion-MNIST: the paper's space at half width and 28x28, this machine's CPU.

Paper: HardCoRe-NAS (arXiv 2102.11646), Table 3 and section 4; smaller strides, shorter training.
Command: python -m keras_nas --config=configs/hardcore_fashion_mnist.py \
             --workdir=runs/hardcore_fashion_mnist --config.data.data_dir=DIR
Cost: estimated from measured steps of 96 images (w-bar 1.5 s, w* 1.3 s of processor time): w-bar
5.2 h, w* 2.6 h, the rest about 1 h of one core, so 5 to 9 h on 2 CPU cores. GPU: not measured.
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
        name="hardcore_fashion_mnist",
        space=SpaceConfig(
            name="hardcore_nas",
            resolution=28,
            width_multiplier=0.5,
            # The paper's strides would leave a single pixel of 28x28.
            overrides={
                "stem": {"channels": 32, "kernel_size": 3, "stride": 1, "activation": "relu"},
                "stages": [
                    {"channels": 24, "stride": 2, "activation": "relu"},
                    {"channels": 40, "stride": 2, "activation": "relu"},
                    {"channels": 80, "stride": 1, "activation": "hard_swish"},
                    {"channels": 112, "stride": 1, "activation": "hard_swish"},
                    {"channels": 192, "stride": 2, "activation": "hard_swish"},
                ],
                "head": {"features": 640, "activation": "hard_swish"},
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
        pretrain=RecipeConfig(epochs=25, learning_rate=0.1, warmup_epochs=1, **recipe),
        supernet=RecipeConfig(epochs=15, learning_rate=0.05, **recipe),
        search=SearchConfig(epochs=2),
        finetune=RecipeConfig(epochs=5, learning_rate=0.05, distillation=1.0, **recipe),
        train=RecipeConfig(epochs=25, learning_rate=0.1, warmup_epochs=1, **recipe),
    )
