"""Single-Path NAS on ImageNet with the settings of the paper.

Paper: Single-Path NAS (arXiv 1904.02877), section 4: a search of 8 epochs of batch 1024; RMSProp of
decay 0.9, momentum 0.9 and epsilon 1e-3 at 0.064, times 0.97 every 2.4 epochs; moving average of
0.9999; groups of weights kept with 0.6 for 6255 of 10008 steps, after which runtime counts. The
authors' lambda of 0.020 is 20 here. Unlike theirs, norms are divided by the square root of their
number of weights, and thresholds compared at a temperature of 0.1; `--config.single_path.norm=
frobenius --config.single_path.temperature=1` is their form. Training from scratch is by SGD. 4% of
the training images are held out, to know the accuracy of the supernet with its decisions.
Command: python -m keras_nas --config=configs/single_path_imagenet.py \
             --workdir=runs/single_path_imagenet --config.data.data_dir=FOLDER_OF_TFDS \
             --config.limits.latency_ms=15
      or with the authors' runtimes of a Pixel 1 and no limit: --config.limits.latency_fraction=None
             --config.single_path.runtime_table=pixel1_runtime_model.json
Cost: the paper's search takes 3.75 hours on a TPU. Never run at full length by this project; on a
CPU it is out of reach.
Expect: the paper's network reaches 75.0% top-1 at 79 ms on a Pixel 1.
"""

from keras_nas.config import (
    Config,
    DataConfig,
    DeviceConfig,
    LimitsConfig,
    RecipeConfig,
    SinglePathConfig,
    SpaceConfig,
)


def get_config() -> Config:
    """The experiment."""
    return Config(
        name="single_path_imagenet",
        method="single_path",
        space=SpaceConfig(name="single_path", resolution=224),
        data=DataConfig(
            source="tfds:imagenet2012",
            test_split="validation",
            crop="resized",
            flip=True,
            crop_fraction=0.875,
            held_out_fraction=0.04,
        ),
        device=DeviceConfig(name="host", threads=1),
        limits=LimitsConfig(latency_fraction=0.4),
        single_path=SinglePathConfig(),
        train=RecipeConfig(
            epochs=350,
            batch_size=512,
            learning_rate=0.2,
            warmup_epochs=5,
            weight_decay=1e-5,
            label_smoothing=0.1,
            mixup=0.0,
            weight_average=0.9999,
        ),
        final="train",
        steps_per_loop=100,
        save_every_seconds=300.0,
        batch_norm_images=10_000,
    )
