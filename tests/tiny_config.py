"""An experiment of seconds: digits at 16x16, one elastic stage of one or two narrow blocks."""

from keras_nas.config import (
    Config,
    DeviceConfig,
    LimitsConfig,
    ProjectionConfig,
    RecipeConfig,
    SearchConfig,
    SpaceConfig,
)


def get_config() -> Config:
    """Three steps of each training, eight of the search."""
    recipe = {"epochs": 0.03, "batch_size": 12, "weight_average": 0.9}
    return Config(
        name="tiny",
        space=SpaceConfig(
            resolution=16,
            overrides={
                "name": "tiny",
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
            },
        ),
        device=DeviceConfig(calibration_networks=3, target_error=1.0, max_processes=3),
        limits=LimitsConfig(latency_fraction=0.5),
        pretrain=RecipeConfig(**recipe),
        supernet=RecipeConfig(**recipe),
        search=SearchConfig(epochs=0.3, batch_size=12),
        projection=ProjectionConfig(rounds=0),
        finetune=RecipeConfig(distillation=1.0, **recipe),
        train=RecipeConfig(**recipe),
        steps_per_loop=1,
        save_every_seconds=0,
        evaluation_batch_size=180,
        batch_norm_images=64,
    )
