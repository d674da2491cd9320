"""Single-Path NAS in minutes: handwritten digits, a small space, this machine.

Paper: Single-Path NAS (arXiv 1904.02877), scaled down to two stages of at most two and three
blocks, at 32x32; kernel sizes 3 and 5, expansion ratios 3 and 6, skipping.
Command: python -m keras_nas --config=configs/single_path_quickstart.py \
             --workdir=runs/single_path_quickstart
Cost: 2 minutes on one core, measured (108 s of processor time, of which 45 s for 192 steps of
search; tests ran on the other core).
Expect: the gates as they are give a network near the limit, which is 40% of the way from the
smallest to the largest latency of the space (by the table 8% above, 0.7% and 6.8% below it);
the projection keeps the limit (measured 1.9% and 8.3% below). The supernet with its decisions gets
99% of held-out and test digits right, the network trained from scratch 99.4% and 99.7%.
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
        name="single_path_quickstart",
        method="single_path",
        space=SpaceConfig(
            name="single_path",
            resolution=32,
            overrides={
                "name": "single_path_quickstart",
                "stem": {"channels": 16, "kernel_size": 3, "stride": 2, "activation": "relu"},
                "first_stages": [],
                "stages": [
                    {
                        "channels": channels,
                        "stride": 2,
                        "activation": "relu",
                        "min_depth": 1,
                        "max_depth": depth,
                    }
                    for channels, depth in ((24, 2), (40, 3))
                ],
                "final_stages": [],
                "head": {"features": 128, "activation": "relu", "before_pooling": True},
                # The paper's 0.99 is for thousands of steps.
                "batch_norm": {"momentum": 0.9, "epsilon": 1e-3},
            },
        ),
        # Digits are neither mirrored nor in colour; all channels are the same.
        data=DataConfig(source="digits", crop="pad", padding=2, mean=(0.3,) * 3, std=(0.35,) * 3),
        device=DeviceConfig(calibration_networks=6, target_error=0.02, max_processes=4),
        limits=LimitsConfig(latency_fraction=0.4),
        single_path=SinglePathConfig(
            epochs=8,
            batch_size=48,
            warmup_share=0.4,
            runtime_weight=3.0,
            learning_rate=0.016,
            learning_rate_warmup_epochs=1,
            weight_average=0.99,
        ),
        train=RecipeConfig(
            epochs=12,
            batch_size=96,
            learning_rate=0.1,
            warmup_epochs=1,
            weight_average=0.99,
            mixup=0.0,
        ),
        final="train",
        steps_per_loop=4,
    )
