"""What the values of a configuration may be, by their path."""

from collections.abc import Callable

STEP_RULES = ("paper", "constant")
STARTS = ("balanced", "lightest")
PROJECTIONS = ("exact", "lp", "argmax")
SUMS = ("macs", "parameters", "tflite_bytes")
"""Limited resources that are sums over the parts of a network, by formula."""
SAMPLINGS = ("stratified", "independent", "single_path")
PRECISIONS = ("float32", "mixed_bfloat16")
FINAL_STAGES = ("finetune", "train")
METHODS = ("hardcore_nas", "tf_nas", "single_path")
LARGEST_SEED = 2**31 - 1

Range = tuple[Callable[[float], bool], str]
ANY: Range = (lambda v: True, "anything")
POSITIVE: Range = (lambda v: v > 0, "above 0")
NOT_NEGATIVE: Range = (lambda v: v >= 0, "at least 0")
AT_LEAST_1: Range = (lambda v: v >= 1, "at least 1")
BELOW_1: Range = (lambda v: 0 <= v < 1, "at least 0 and below 1")
SHARE: Range = (lambda v: 0 < v < 1, "between 0 and 1")
UP_TO_1: Range = (lambda v: 0 < v <= 1, "above 0 and at most 1")

RECIPE_RANGES: dict[str, Range] = {
    "epochs": POSITIVE,
    "batch_size": AT_LEAST_1,
    "learning_rate": POSITIVE,
    "warmup_epochs": NOT_NEGATIVE,
    "momentum": BELOW_1,
    "weight_decay": NOT_NEGATIVE,
    "label_smoothing": BELOW_1,
    "mixup": NOT_NEGATIVE,
    "weight_average": BELOW_1,
    "distillation": NOT_NEGATIVE,
    "temperature": POSITIVE,
}
RANGES: dict[str, Range] = {
    "seed": (lambda v: 0 <= v <= LARGEST_SEED, f"0 to {LARGEST_SEED}"),
    "num_devices": NOT_NEGATIVE,
    "steps_per_loop": AT_LEAST_1,
    "save_every_seconds": NOT_NEGATIVE,
    "keep_checkpoints": AT_LEAST_1,
    "evaluation_batch_size": AT_LEAST_1,
    "batch_norm_images": AT_LEAST_1,
    "space.resolution": AT_LEAST_1,
    "space.width_multiplier": POSITIVE,
    "data.test_fraction": SHARE,
    "data.crop_fraction": UP_TO_1,
    "data.held_out_fraction": SHARE,
    "data.classes": NOT_NEGATIVE,
    "data.padding": NOT_NEGATIVE,
    "data.rand_augment_operations": NOT_NEGATIVE,
    "data.rand_augment_magnitude": (lambda v: 0 <= v <= 10, "0 to 10"),
    "device.threads": AT_LEAST_1,
    "device.batch": AT_LEAST_1,
    "device.android.highest_celsius": POSITIVE,
    "device.android.wait_seconds": POSITIVE,
    "device.calibration_networks": (lambda v: v >= 3, "at least 3"),
    "device.target_error": POSITIVE,
    "device.max_processes": (lambda v: v >= 3, "at least 3"),
    "limits.latency_ms": POSITIVE,
    "limits.latency_fraction": UP_TO_1,
    "limits.macs": POSITIVE,
    "limits.parameters": POSITIVE,
    "limits.tflite_bytes": POSITIVE,
    "limits.peak_memory_bytes": POSITIVE,
    "projection.rounds": NOT_NEGATIVE,
    "baselines.evaluations": NOT_NEGATIVE,
    "baselines.images": AT_LEAST_1,
    "baselines.population": AT_LEAST_1,
    "baselines.tournament": AT_LEAST_1,
    "baselines.crossover": (lambda v: 0 <= v <= 1, "0 to 1"),
    "search.epochs": POSITIVE,
    "search.batch_size": AT_LEAST_1,
    "tf_nas.epochs": AT_LEAST_1,
    "tf_nas.warmup_epochs": NOT_NEGATIVE,
    "tf_nas.batch_size": AT_LEAST_1,
    "tf_nas.learning_rate": POSITIVE,
    "tf_nas.momentum": BELOW_1,
    "tf_nas.weight_decay": NOT_NEGATIVE,
    "tf_nas.clip": POSITIVE,
    "tf_nas.architecture_learning_rate": POSITIVE,
    "tf_nas.architecture_weight_decay": NOT_NEGATIVE,
    "tf_nas.temperature": POSITIVE,
    "tf_nas.temperature_decay": UP_TO_1,
    "tf_nas.latency_weight": NOT_NEGATIVE,
    "tf_nas.latency_exponent": POSITIVE,
    "single_path.epochs": POSITIVE,
    "single_path.warmup_share": BELOW_1,
    "single_path.subset_keep": UP_TO_1,
    "single_path.runtime_weight": NOT_NEGATIVE,
    "single_path.batch_size": AT_LEAST_1,
    "single_path.learning_rate": POSITIVE,
    "single_path.learning_rate_warmup_epochs": NOT_NEGATIVE,
    "single_path.learning_rate_decay": UP_TO_1,
    "single_path.decay_epochs": POSITIVE,
    "single_path.rho": BELOW_1,
    "single_path.momentum": SHARE,
    "single_path.epsilon": POSITIVE,
    "single_path.weight_decay": NOT_NEGATIVE,
    "single_path.label_smoothing": BELOW_1,
    "single_path.weight_average": BELOW_1,
    "single_path.temperature": POSITIVE,
    "single_path.random_networks": AT_LEAST_1,
    "single_path.random_images": AT_LEAST_1,
} | {
    f"{stage}.{field}": allowed
    for stage in ("pretrain", "supernet", "finetune", "train")
    for field, allowed in RECIPE_RANGES.items()
}
"""What numbers may be, beyond their type; None passes."""
CHOICES: dict[str, tuple[str, ...]] = {
    "method": METHODS,
    "final": FINAL_STAGES,
    "precision": PRECISIONS,
    "accelerator": ("auto", "cpu", "gpu", "tpu"),
    "data.resize": ("crop", "stretch", "none"),
    "data.crop": ("none", "pad", "resized"),
    "device.precision": ("float32", "float16", "int8", "mixed_float16", "mixed_bfloat16"),
    "supernet.sampling": SAMPLINGS,
    "search.step_rule": STEP_RULES,
    "search.start": STARTS,
    "projection.method": PROJECTIONS,
    "tf_nas.second_sampler": ("random", "gumbel", "minimum", "maximum", "none"),
    "tf_nas.depth_space": ("sink", "skip_in", "skip_out"),
    "tf_nas.objective": ("absolute", "hinge", "log", "linear"),
    "single_path.runtime_form": ("paper", "exact"),
    "single_path.formulation": ("single_path", "multi_path", "random_search"),
    "single_path.relaxation": ("sigmoid", "straight_through", "softmax"),
    "single_path.norm": ("rms", "frobenius"),
}


def rule_of(path: str) -> str:
    """The path in `RANGES` and `CHOICES` for a setting's path: other devices obey the same."""
    group, *rest = path.split(".")
    if group != "other_devices":
        return path
    own = rest[1:]  # without the device's name
    return ".".join(own if own[0] == "device" else ("limits", *own))
