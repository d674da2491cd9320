"""HardCoRe-NAS on ImageNet with the settings of the paper.

Paper: HardCoRe-NAS (arXiv 2102.11646), section 4 and appendix: 250 epochs for w-bar, 100 for w*, a
search of 2 epochs over the held-out 20%, fine-tuning of 50 epochs; SGD 0.1 with cosine decay,
Nesterov momentum 0.9, weight decay 1e-4, label smoothing 0.1, mixup 0.2, augmentation policy, mixed
precision, moving average of weights. The paper's AutoAugment is RandAugment here. Its batch size is
not printed: 256, and 252 for w* because stratified sampling deals batches to 2 kernel sizes and 3
depths.
Command: python -m keras_nas --config=configs/hardcore_imagenet.py --workdir=runs/imagenet \
             --config.data.data_dir=FOLDER_OF_TFDS --config.limits.latency_ms=12
Cost: 350 epochs of 80% of ImageNet before the search, days on one GPU. Never run at full length by
this project; on a CPU it is out of reach.
Expect: the paper's networks reach 75.3% to 78.1% top-1 at 38 to 60 ms on the authors' CPU.
"""

from keras_nas.config import (
    Config,
    DataConfig,
    DeviceConfig,
    LimitsConfig,
    RecipeConfig,
    SearchConfig,
    SpaceConfig,
)


def get_config() -> Config:
    """The experiment."""
    recipe = {
        "learning_rate": 0.1,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "label_smoothing": 0.1,
        "mixup": 0.2,
        "weight_average": 0.9999,
    }
    return Config(
        name="hardcore_imagenet",
        space=SpaceConfig(name="hardcore_nas", resolution=224),
        data=DataConfig(
            source="tfds:imagenet2012",
            test_split="validation",
            crop="resized",
            flip=True,
            crop_fraction=0.875,
            rand_augment_operations=2,
            rand_augment_magnitude=9.0,
            held_out_fraction=0.2,
        ),
        device=DeviceConfig(name="host", threads=1),
        limits=LimitsConfig(latency_fraction=0.3),
        pretrain=RecipeConfig(epochs=250, batch_size=256, **recipe),
        supernet=RecipeConfig(epochs=100, batch_size=252, sampling="stratified", **recipe),
        search=SearchConfig(epochs=2, batch_size=128),
        finetune=RecipeConfig(epochs=50, batch_size=256, distillation=1.0, **recipe),
        train=RecipeConfig(epochs=250, batch_size=256, **recipe),
        precision="mixed_bfloat16",
        steps_per_loop=100,
        save_every_seconds=300.0,
        batch_norm_images=10_000,
    )
