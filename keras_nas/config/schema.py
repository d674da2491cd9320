"""The settings of one experiment, typed and validated.

A file in `configs/` returns a `Config` from `get_config()`; any field can be overridden on the
command line (`--config.limits.latency_ms=12`).
"""

import dataclasses

from keras_nas.config.baselines import BaselinesConfig
from keras_nas.config.consistency import check_together
from keras_nas.config.device import DeviceConfig, OtherDeviceConfig
from keras_nas.config.ranges import ANY, CHOICES, RANGES, rule_of
from keras_nas.config.single_path import SinglePathConfig
from keras_nas.config.tf_nas import TFNASConfig
from keras_nas.config.types import Amount, OneOrMore, check_types, flatten

# No `from __future__ import annotations`: config_flags needs the fields' types, not their names.


@dataclasses.dataclass
class SpaceConfig:
    """The search space.

    Attributes:
      name: of a space in `keras_nas.space.SPACES`, or `file:PATH` of a space's JSON.
      resolution: height and width of the input, pixels.
      width_multiplier: scales all channels.
      overrides: fields of the space's JSON to replace, e.g. `{"kernel_sizes": [3, 5, 7]}`.
    """

    name: str = "hardcore_nas"
    resolution: int = 224
    width_multiplier: float = 1.0
    overrides: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class DataConfig:
    """The images.

    Attributes:
      source: `digits`, `tfds:NAME` or `folder:PATH` (one folder a class).
      data_dir: where TFDS sets are prepared, also on cloud storage (`gs://`); they need it.
      train_split, test_split: of a TFDS set.
      test_fraction: share of a folder without a test set of its own.
      resize: `crop`, `stretch` or `none` (images of another size are an error).
      crop_fraction: side of the centre crop / short side.
      convert_modes: accept images with transparency, CMYK or 16 bits.
      download: let TFDS download a set that is missing.
      classes: work on so many classes, drawn once at random; 0 is all. TFDS sets that do not fit
        into memory have to be given as a folder.
      held_out_fraction: share of the training set kept for the search.
      crop, flip, padding: random crop and mirror of training images, see `data.Augmentation`.
      rand_augment_operations, rand_augment_magnitude: RandAugment; 0 operations turn it off.
      mean, std: of pixels scaled to [0, 1], per channel.
    """

    source: str = "digits"
    data_dir: str = ""
    train_split: str = "train"
    test_split: str = "test"
    test_fraction: float = 0.2
    resize: str = "crop"
    crop_fraction: float = 1.0
    convert_modes: bool = False
    download: bool = False
    classes: int = 0
    held_out_fraction: float = 0.2
    crop: str = "none"
    flip: bool = False
    padding: int = 4
    rand_augment_operations: int = 0
    rand_augment_magnitude: float = 9.0
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)


@dataclasses.dataclass
class LimitsConfig:
    """What the network may cost; None is no limit. Only Single-Path NAS needs none on latency.

    Attributes:
      latency_ms: on the device. Several numbers are several limits, each searched for a network of
        its own, in one run; the other limits hold for all of these networks.
      latency_fraction: in place of `latency_ms`: between the space's smallest (0) and largest (1).
      macs: multiply-accumulates of one image.
      parameters: trainable parameters.
      tflite_bytes: size of the `.tflite` file in the precision of the device.
      peak_memory_bytes: LiteRT's arena, all that is not weights, for one image.
    """

    latency_ms: OneOrMore | None = None
    latency_fraction: OneOrMore | None = None
    macs: Amount | None = None
    parameters: Amount | None = None
    tflite_bytes: Amount | None = None
    peak_memory_bytes: Amount | None = None

    def each(self) -> "dict[str, LimitsConfig]":
        """One set of limits a latency limit, by a name for its files, e.g. `limit_8ms`."""
        way = "latency_fraction" if self.latency_ms is None else "latency_ms"
        value, unit = getattr(self, way), "ms" if way == "latency_ms" else "_of_range"
        if value is None:
            return {"no_latency_limit": self}
        values = value if isinstance(value, tuple) else (value,)
        return {f"limit_{v:g}{unit}": dataclasses.replace(self, **{way: v}) for v in values}


@dataclasses.dataclass
class RecipeConfig:
    """How weights are trained: SGD with Nesterov momentum and a cosine schedule.

    Attributes:
      epochs: over the images of the stage; fractions count.
      batch_size: images in a step.
      learning_rate: largest.
      warmup_epochs: linear rise at the start.
      momentum: of SGD.
      weight_decay: L2, not on batch norm and biases.
      label_smoothing, mixup: 0 turns them off.
      weight_average: decay of the moving average of weights; 0 turns it off.
      distillation: weight of the distance to w-bar's output, next to 1 for the labels.
      temperature: of the distillation.
      sampling: of paths, in the supernet stage only: `stratified`, `independent`, or `single_path`
        (one path for the whole batch, as most one-shot methods do).
      init: in the finetune stage only: `.keras` file of the found architecture that training starts
        from, in place of the one-shot weights; "" is none.
      reset_classifier: with `init`: start with a fresh classifier, also for other classes.
    """

    epochs: float = 1.0
    batch_size: int = 96
    learning_rate: float = 0.1
    warmup_epochs: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    label_smoothing: float = 0.1
    mixup: float = 0.2
    weight_average: float = 0.999
    distillation: float = 0.0
    temperature: float = 1.0
    sampling: str = "stratified"
    init: str = ""
    reset_classifier: bool = False


@dataclasses.dataclass
class SearchConfig:
    """Block-coordinate stochastic Frank-Wolfe.

    Attributes:
      epochs: over the held-out images.
      batch_size: images in a step.
      step_rule: `paper` (gamma = 4 / (t + 4)) or `constant` (the authors' code: 0.002).
      start: `balanced` (HC eqs. 27 and 28) or `lightest`.
      solve_on_device: solve the linear program inside the compiled loop (one limit only) instead of
        by SciPy between steps. None is yes on a TPU, which would wait for every SciPy program, as
        far as one limit allows it, else no.
    """

    epochs: float = 2.0
    batch_size: int = 128
    step_rule: str = "paper"
    start: str = "balanced"
    solve_on_device: bool | None = None


@dataclasses.dataclass
class ProjectionConfig:
    """From the search's probabilities to one network that keeps the limits.

    Attributes:
      method: `exact`, `lp` or `argmax`.
      rounds: at most so many networks are measured on the device, and the table's calibration
        refitted with them, until one is measured to keep the latency limit and to use it; 0 trusts
        the table.
    """

    method: str = "exact"
    rounds: int = 6


@dataclasses.dataclass
class Config:
    """One experiment.

    Attributes:
      name: for the report.
      seed: of everything random.
      method: of the search, `hardcore_nas` (stages pretrain, supernet, search, project), `tf_nas`
        or `single_path` (both search, project).
      space, data, device, limits, search, projection, tf_nas, single_path: see their classes.
      other_devices: further devices, by a name, each with a latency limit that holds as well.
      baselines: what several limits are compared with.
      pretrain, supernet, finetune, train: recipes of these stages.
      final: `finetune` (start from the one-shot weights) or `train` (from scratch).
      precision: of training, `float32` or `mixed_bfloat16`.
      accelerator: `auto`, `cpu`, `gpu` or `tpu`.
      tpu: `local` for the TPU of this machine, or the hosts of a slice, `grpc://ADDRESS,...`, or
        its name; "" is none.
      num_devices: devices that share each batch; 0 is all GPUs, all cores of a TPU, or one CPU.
        Results are the same up to rounding, so a run goes on when this or `tpu` is changed.
      steps_per_loop: training steps inside one compiled call.
      save_every_seconds: between checkpoints.
      keep_checkpoints: how many of the newest stay while a stage trains, next to the best one.
      evaluation_batch_size: images in a step of evaluation.
      batch_norm_images: training images that batch-norm statistics are re-estimated on.
    """

    name: str = "experiment"
    seed: int = 0
    method: str = "hardcore_nas"
    space: SpaceConfig = dataclasses.field(default_factory=SpaceConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    device: DeviceConfig = dataclasses.field(default_factory=DeviceConfig)
    other_devices: dict[str, OtherDeviceConfig] = dataclasses.field(default_factory=dict)
    limits: LimitsConfig = dataclasses.field(default_factory=LimitsConfig)
    pretrain: RecipeConfig = dataclasses.field(default_factory=RecipeConfig)
    supernet: RecipeConfig = dataclasses.field(default_factory=RecipeConfig)
    search: SearchConfig = dataclasses.field(default_factory=SearchConfig)
    projection: ProjectionConfig = dataclasses.field(default_factory=ProjectionConfig)
    tf_nas: TFNASConfig = dataclasses.field(default_factory=TFNASConfig)
    single_path: SinglePathConfig = dataclasses.field(default_factory=SinglePathConfig)
    baselines: BaselinesConfig = dataclasses.field(default_factory=BaselinesConfig)
    finetune: RecipeConfig = dataclasses.field(default_factory=RecipeConfig)
    train: RecipeConfig = dataclasses.field(default_factory=RecipeConfig)
    final: str = "finetune"
    precision: str = "float32"
    accelerator: str = "auto"
    tpu: str = ""
    num_devices: int = 0
    steps_per_loop: int = 10
    save_every_seconds: float = 60.0
    keep_checkpoints: int = 2
    evaluation_batch_size: int = 256
    batch_norm_images: int = 2000

    def devices(self) -> dict[str, DeviceConfig]:
        """All devices by name; that of `device` is ""."""
        others = {name: other.device for name, other in self.other_devices.items()}
        return {"": self.device, **others}

    def validate(self) -> None:
        """Checks types and ranges.

        Raises:
          ValueError: naming the field, what it holds, and what it may hold.
        """
        check_types(self, "config")
        for path, value in flatten(self).items():
            rule = rule_of(path)
            choices = CHOICES.get(rule, (value,))
            if value not in choices:
                raise ValueError(
                    f"config.{path} should be one of {', '.join(choices)}; received {value!r}."
                )
            holds, what = RANGES.get(rule, ANY)
            values = value if isinstance(value, tuple) else (value,)
            if not all(v is None or holds(v) for v in values):
                raise ValueError(f"config.{path} should be {what}; received {value!r}.")
        for field, values in (("mean", self.data.mean), ("std", self.data.std)):
            if len(values) != 3 or (field == "std" and min(values) <= 0):
                raise ValueError(
                    f"config.data.{field} should be three numbers, std above 0; received {values}."
                )
        check_together(self)
