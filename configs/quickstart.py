"""The whole job in minutes: handwritten digits, a small space, this machine.

Paper: HardCoRe-NAS (arXiv 2102.11646), scaled down to two elastic stages of one to three
blocks, at 32x32.
Command: make quickstart
      or python -m keras_nas --config=configs/quickstart.py --workdir=runs/quickstart
Cost: at most 5 minutes on 2 CPU cores.
Expect: about 98% of the test digits right, within a latency limit at 40% of the way from the
smallest to the largest of the space.
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
    recipe = {"batch_size": 96, "mixup": 0.0, "label_smoothing": 0.1, "weight_decay": 1e-4}
    depths = {"min_depth": 1, "max_depth": 3}
    return Config(
        name="quickstart",
        space=SpaceConfig(
            resolution=32,
            overrides={
                "name": "quickstart",
                "stem": {"channels": 16, "kernel_size": 3, "stride": 2, "activation": "relu"},
                "first_stages": [],
                "stages": [
                    {"channels": 24, "stride": 2, "activation": "relu", **depths},
                    {"channels": 40, "stride": 2, "activation": "hard_swish", **depths},
                ],
                "final_stages": [["cn_r1_k1_s1_e1_c128_nhs"]],
                "head": {"features": 128, "activation": "hard_swish"},
            },
        ),
        # Digits are neither mirrored nor in colour; all channels are the same.
        data=DataConfig(source="digits", crop="pad", padding=2, mean=(0.3,) * 3, std=(0.35,) * 3),
        device=DeviceConfig(calibration_networks=6, target_error=0.02, max_processes=4),
        limits=LimitsConfig(latency_fraction=0.4),
        pretrain=RecipeConfig(epochs=5, learning_rate=0.1, warmup_epochs=1, **recipe),
        supernet=RecipeConfig(epochs=6, learning_rate=0.05, weight_average=0.99, **recipe),
        search=SearchConfig(epochs=6, batch_size=96),
        finetune=RecipeConfig(
            epochs=3, learning_rate=0.05, weight_average=0.99, distillation=1.0, **recipe
        ),
        train=RecipeConfig(epochs=16, learning_rate=0.1, warmup_epochs=1, **recipe),
        steps_per_loop=4,
    )
