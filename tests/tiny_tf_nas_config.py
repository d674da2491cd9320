"""A TF-NAS experiment of seconds: digits at 16x16, one stage of two narrow blocks."""

from keras_nas.config import (
    Config,
    DeviceConfig,
    LimitsConfig,
    ProjectionConfig,
    RecipeConfig,
    SpaceConfig,
    TFNASConfig,
)


def get_config() -> Config:
    """Two epochs of a few steps."""
    return Config(
        name="tiny_tf_nas",
        method="tf_nas",
        space=SpaceConfig(
            name="tf_nas",
            resolution=16,
            overrides={
                "name": "tiny_tf_nas",
                "stem": {"channels": 8, "kernel_size": 3, "stride": 2, "activation": "relu"},
                "first_stages": [],
                "stages": [
                    {
                        "channels": 8,
                        "stride": 1,
                        "activation": "relu",
                        "min_depth": 1,
                        "max_depth": 2,
                    }
                ],
                "operations": [
                    {"kernel_size": 3, "expansion_low": 1, "expansion_high": 2, "se": 0},
                    {"kernel_size": 5, "expansion_low": 2, "expansion_high": 4, "se": 1},
                ],
                "head": {"features": 16, "activation": "relu", "before_pooling": True},
            },
        ),
        device=DeviceConfig(calibration_networks=3, target_error=1.0, max_processes=3),
        limits=LimitsConfig(latency_fraction=0.95),
        tf_nas=TFNASConfig(epochs=2, warmup_epochs=1, batch_size=256),
        projection=ProjectionConfig(rounds=0),
        train=RecipeConfig(epochs=0.03, batch_size=12, weight_average=0.9),
        final="train",
        steps_per_loop=1,
        save_every_seconds=0,
        evaluation_batch_size=180,
        batch_norm_images=64,
    )
