"""A Single-Path NAS experiment of seconds: digits at 16x16, one stage of two narrow blocks."""

from keras_nas.config import (
    Config,
    DeviceConfig,
    LimitsConfig,
    ProjectionConfig,
    RecipeConfig,
    SinglePathConfig,
    SpaceConfig,
)


def get_config() -> Config:
    """Six steps of search, three of them with runtime."""
    return Config(
        name="tiny_single_path",
        method="single_path",
        space=SpaceConfig(
            name="single_path",
            resolution=16,
            overrides={
                "name": "tiny_single_path",
                "stem": {"channels": 8, "kernel_size": 3, "stride": 2, "activation": "relu"},
                "first_stages": [],
                "stages": [
                    {
                        "channels": 8,
                        "stride": 2,
                        "activation": "relu",
                        "min_depth": 1,
                        "max_depth": 2,
                    }
                ],
                "final_stages": [],
                "head": {"features": 16, "activation": "relu"},
                "expansion_ratios": [2, 3],
                "se_ratios": [0, 0.5],
            },
        ),
        device=DeviceConfig(calibration_networks=3, target_error=1.0, max_processes=3),
        limits=LimitsConfig(latency_fraction=0.5),
        single_path=SinglePathConfig(
            epochs=0.05, warmup_share=0.5, batch_size=12, weight_average=0.9
        ),
        projection=ProjectionConfig(rounds=0),
        finetune=RecipeConfig(epochs=0.03, batch_size=12, weight_average=0.9),
        train=RecipeConfig(epochs=0.03, batch_size=12, weight_average=0.9),
        final="train",
        steps_per_loop=1,
        save_every_seconds=0,
        evaluation_batch_size=180,
        batch_norm_images=64,
    )
