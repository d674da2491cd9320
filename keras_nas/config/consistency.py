"""What the settings of one experiment have to be together, beyond each one's own range."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keras_nas.config.ranges import SUMS

if TYPE_CHECKING:
    from keras_nas.config.device import OtherDeviceConfig
    from keras_nas.config.schema import Config, LimitsConfig


def check_together(config: Config) -> None:
    """Raises ValueError where two settings contradict each other, naming both."""
    if config.pretrain.distillation:
        raise ValueError(
            "config.pretrain.distillation should be 0, since the heaviest network is the "
            f"teacher of the others and has none; received {config.pretrain.distillation}."
        )
    _check_init(config)
    _check_limits(config)
    if config.method == "tf_nas":
        _check_tf_nas(config)
    if config.method == "single_path":
        _check_single_path(config)


def _check_init(config: Config) -> None:
    for stage in ("pretrain", "supernet", "train"):
        recipe = getattr(config, stage)
        if recipe.init or recipe.reset_classifier:
            raise ValueError(
                f"config.{stage}.init and config.{stage}.reset_classifier should be left out: "
                f"only the finetune stage starts from a file; received {recipe.init!r} and "
                f"{recipe.reset_classifier}."
            )
    if config.finetune.reset_classifier and not config.finetune.init:
        raise ValueError(
            "config.finetune.reset_classifier belongs to config.finetune.init, which is empty; "
            "the one-shot weights have a classifier for these classes."
        )


def _check_limits(config: Config) -> None:
    everywhere: dict[str, LimitsConfig | OtherDeviceConfig] = {"limits": config.limits}
    everywhere |= {f"other_devices.{name}": other for name, other in config.other_devices.items()}
    for path, limits in everywhere.items():
        given = [x for x in (limits.latency_ms, limits.latency_fraction) if x is not None]
        # The trade-off of Single-Path NAS needs no limit.
        if len(given) > 1 or (not given and config.method != "single_path"):
            raise ValueError(
                f"set exactly one of config.{path}.latency_ms and config.{path}.latency_fraction, "
                f"and leave out the other; received {limits.latency_ms} and "
                f"{limits.latency_fraction}."
            )
    _check_several(config)
    others = [path for path in everywhere if path != "limits"]
    more = [*(f"limits.{name}" for name in SUMS if getattr(config.limits, name)), *others]
    if config.search.solve_on_device and more:
        raise ValueError(
            f"config.search.solve_on_device works with one limit; leave out {more[0]}, or "
            "solve between steps."
        )
    if others and config.method != "hardcore_nas":
        raise ValueError(
            f"config.method={config.method!r} searches under one limit, on one device; leave out "
            f"{others[0]}, or use config.method='hardcore_nas'."
        )


def _check_several(config: Config) -> None:
    """Several latency limits."""
    way = "latency_fraction" if config.limits.latency_ms is None else "latency_ms"
    values = getattr(config.limits, way)
    if not isinstance(values, tuple):
        return
    if config.method != "hardcore_nas":
        raise ValueError(
            f"config.method={config.method!r} searches under one limit; give limits.{way} one "
            f"number, or use config.method='hardcore_nas'; received {values}."
        )
    if len(config.limits.each()) < len(values):
        raise ValueError(
            f"config.limits.{way} should be limits that differ in their first 6 digits; received "
            f"{values}."
        )
    if 0 < config.baselines.evaluations < config.baselines.population:
        raise ValueError(
            "config.baselines.evaluations should be 0, or at least config.baselines.population; "
            f"received {config.baselines.evaluations} and {config.baselines.population}."
        )
    if config.search.batch_size % len(values):
        raise ValueError(
            f"config.search.batch_size is {config.search.batch_size}, which {len(values)} latency "
            f"limits cannot share evenly; choose a multiple of {len(values)}."
        )


def _check_tf_nas(config: Config) -> None:
    if config.tf_nas.warmup_epochs >= config.tf_nas.epochs:
        raise ValueError(
            "config.tf_nas.warmup_epochs should be less than config.tf_nas.epochs, to leave "
            f"epochs for the search; received {config.tf_nas.warmup_epochs} and "
            f"{config.tf_nas.epochs}."
        )
    more = [name for name in (*SUMS, "peak_memory_bytes") if getattr(config.limits, name)]
    if more:
        raise ValueError(
            "config.method='tf_nas' scales widths to one limit, on latency; leave out "
            f"limits.{more[0]}, or use config.method='hardcore_nas'."
        )
    if getattr(config, config.final).distillation or (
        config.final == "finetune" and not config.finetune.init
    ):
        raise ValueError(
            "config.method='tf_nas' has neither one-shot weights nor a heaviest network to "
            "fine-tune from: set config.final='train' without distillation, or "
            "config.finetune.init."
        )


def _check_single_path(config: Config) -> None:
    if config.projection.method != "exact":
        raise ValueError(
            "config.method='single_path' reads its gates as they are and, under limits, by the "
            "exact projection; leave config.projection.method at 'exact', received "
            f"{config.projection.method!r}."
        )
    if getattr(config, config.final).distillation:
        raise ValueError(
            "config.method='single_path' has no heaviest network to distil from: set "
            f"config.{config.final}.distillation to 0, received "
            f"{getattr(config, config.final).distillation}."
        )
    settings = config.single_path
    if settings.formulation == "multi_path" and settings.relaxation == "straight_through":
        raise ValueError(
            "config.single_path.formulation='multi_path' mixes operations: choose "
            "config.single_path.relaxation 'softmax' or 'sigmoid', received 'straight_through'."
        )
