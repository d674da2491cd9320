"""HardCoRe-NAS on your own photographs: one folder a class.

Paper: HardCoRe-NAS (arXiv 2102.11646); the paper's space at 160x160 and a shorter training.
Command: python -m keras_nas --config=configs/hardcore_folder.py --workdir=runs/mine \
             --config.data.source=folder:PATH --config.limits.latency_ms=4
Cost: not measured. On a CPU choose a smaller resolution (--config.space.resolution=96) and fewer
epochs; the paper's space is meant for a GPU.
Expect: depends on your images; a network within the limit on this machine.
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
    return Config(
        name="hardcore_folder",
        space=SpaceConfig(name="hardcore_nas", resolution=160),
        data=DataConfig(
            source="folder:images",
            crop="resized",
            flip=True,
            rand_augment_operations=2,
            rand_augment_magnitude=7.0,
        ),
        limits=LimitsConfig(latency_fraction=0.4),
        pretrain=RecipeConfig(epochs=100, batch_size=96, warmup_epochs=2),
        supernet=RecipeConfig(epochs=40, batch_size=96, learning_rate=0.05),
        search=SearchConfig(epochs=4, batch_size=96),
        finetune=RecipeConfig(epochs=30, batch_size=96, learning_rate=0.05, distillation=1.0),
        train=RecipeConfig(epochs=100, batch_size=96, warmup_epochs=2),
    )
