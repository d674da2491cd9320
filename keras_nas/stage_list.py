"""The stages of an experiment: what each reads, writes and depends on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from keras_nas.config import Config


@dataclasses.dataclass(frozen=True)
class Stage:
    """One step from data set and limits to report.

    Attributes:
      name: as in `--stages`.
      does: one line for the terminal.
      settings: prefixes of the settings that its outputs depend on.
      reads, writes: file names in the work directory.
      limit: the one of several latency limits that it works for; also the folder of its files.
      device: the one of several devices that it measures on; "" is the first.
    """

    name: str
    does: str
    settings: tuple[str, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    limit: str = ""
    device: str = ""

    @property
    def key(self) -> str:
        """Name that no other stage of an experiment has."""
        return "/".join(filter(None, (self.limit, of_device(self.name, self.device))))

    def config(self, config: Config) -> Config:
        """An experiment as this stage sees it: under one limit where it works for one."""
        if not self.limit:
            return config
        limits = config.limits.each()[self.limit]
        return dataclasses.replace(config, name=f"{config.name}_{self.limit}", limits=limits)


def of_device(name: str, device: str) -> str:
    """Name of a file or stage as it is called for one of several devices; "" is the first."""
    if not device:
        return name
    stem, dot, extension = name.partition(".")
    return f"{stem}_{device}{dot}{extension}"


TABLE = "latency_table.json"
TFLITE_FILES = {
    "float32": "network.tflite",
    "float16": "network_float16.tflite",
    "int8": "network_int8.tflite",
}
"""Precision -> exported file."""
TRAINING = ("seed", "space.", "data.", "precision", "accelerator", "steps_per_loop")

PROFILE = Stage(
    "profile",
    "measures every block of the search space on the device",
    ("space.", "device.", "data.source", "data.data_dir"),
    (),
    (TABLE,),
)
PRETRAIN = Stage(
    "pretrain",
    "trains the heaviest network (w-bar)",
    (*TRAINING, "pretrain.", "evaluation_batch_size"),
    (),
    ("heaviest.npz", "pretrain.json"),
)
SUPERNET = Stage(
    "supernet",
    "trains the one-shot weights (w*) by multi-path sampling",
    (*TRAINING, "supernet.", "evaluation_batch_size"),
    ("heaviest.npz",),
    ("supernet.npz", "supernet.json"),
)
SEARCH = Stage(
    "search",
    "searches the architecture under the limits",
    (*TRAINING, "search.", "limits."),
    (TABLE, "supernet.npz"),
    ("search.json",),
)
PROJECT = Stage(
    "project",
    "projects to one network, measures it, and projects again until it keeps the limit",
    (*TRAINING, "projection.", "device.", "limits.", "evaluation_batch_size", "batch_norm_images"),
    (TABLE, "supernet.npz", "search.json"),
    ("projection.json", "architecture.json"),
)
TF_NAS_SEARCH = Stage(
    "search",
    "searches operations, depths and widths, weights and architecture in turn",
    (*TRAINING, "tf_nas.", "limits."),
    (TABLE,),
    ("search.json",),
)
TF_NAS_PROJECT = Stage(
    "project",
    "scales the found network's widths, measures it, and scales again until it keeps the limit",
    (*TRAINING, "projection.rounds", "device.", "limits."),
    (TABLE, "search.json"),
    ("projection.json", "architecture.json"),
)
SINGLE_PATH_SEARCH = Stage(
    "search",
    "trains one path's weights together with their decisions",
    (*TRAINING, "single_path.", "evaluation_batch_size", "batch_norm_images"),
    ("latency_table.json",),
    ("search.json", "supernet.npz"),
)
SINGLE_PATH_PROJECT = dataclasses.replace(
    PROJECT,
    does="reads the gates, projects them to the limits, measures, and projects again",
)
FINETUNE = Stage(
    "finetune",
    "fine-tunes the found network with distillation",
    (*TRAINING, "finetune.", "evaluation_batch_size", "batch_norm_images"),
    ("architecture.json", "supernet.npz", "heaviest.npz"),
    ("network.keras", "finetune.json"),
)
TRAIN = Stage(
    "train",
    "trains the found network from scratch",
    (*TRAINING, "train.", "evaluation_batch_size"),
    ("architecture.json",),
    ("network.keras", "train.json"),
)
EXPORT = Stage(
    "export",
    "exports to TFLite and checks that it computes the same",
    ("data.", "seed"),
    ("network.keras",),
    (*TFLITE_FILES.values(), "export.json"),
)
MEASURE = Stage(
    "measure",
    "measures the exported network on the device",
    ("device.",),
    (TABLE, "network.keras", *TFLITE_FILES.values()),
    ("measurement.json",),
)
BASELINES = Stage(
    "baselines",
    "searches at random and by evolution under the same limits",
    (
        *TRAINING,
        "baselines.",
        "limits.",
        "device.",
        "projection.rounds",
        "evaluation_batch_size",
        "batch_norm_images",
    ),
    (TABLE, "supernet.npz"),
    ("baselines.json",),
)


SINGLE_PATH_SEARCHES = {
    "single_path": SINGLE_PATH_SEARCH,
    "multi_path": dataclasses.replace(
        SINGLE_PATH_SEARCH, does="trains all configurations' weights together with their shares"
    ),
    "random_search": dataclasses.replace(
        SINGLE_PATH_SEARCH,
        does="trains one-shot weights, and evaluates random networks that keep the limits",
        settings=(*SINGLE_PATH_SEARCH.settings, "limits."),
    ),
}
"""By formulation."""
SEARCHES = {
    "hardcore_nas": (PRETRAIN, SUPERNET, SEARCH, PROJECT),
    "tf_nas": (TF_NAS_SEARCH, TF_NAS_PROJECT),
    "single_path": (SINGLE_PATH_SEARCH, SINGLE_PATH_PROJECT),
}
"""Method -> its own stages, from the latency table to the found architecture."""
SINGLE_PATH_FINETUNE = dataclasses.replace(
    FINETUNE,
    does="fine-tunes the found network from the supernet's weights",
    reads=("architecture.json", "projection.json", "supernet.npz"),
)


def final_stage(config: Config) -> Stage:
    """The stage that trains the found network; what it reads depends on what it starts from."""
    recipe = getattr(config, config.final)
    teacher = ("heaviest.npz",) if recipe.distillation else ()
    if config.final == "train":
        return dataclasses.replace(TRAIN, reads=(*TRAIN.reads, *teacher))
    if not recipe.init:
        return SINGLE_PATH_FINETUNE if config.method == "single_path" else FINETUNE
    fresh = ", its classifier re-initialised" if recipe.reset_classifier else ""
    return dataclasses.replace(
        FINETUNE,
        does=f"fine-tunes the found network from {recipe.init}{fresh}",
        reads=("architecture.json", *teacher),
    )


SHARED_FILES = frozenset(name for stage in (PROFILE, PRETRAIN, SUPERNET) for name in stage.writes)


def is_shared(name: str) -> bool:
    """Whether the stages for several latency limits have a file in common."""
    return name in SHARED_FILES or name.startswith(TABLE.removesuffix(".json"))


def stages_of(config: Config) -> tuple[Stage, ...]:
    """The stages of an experiment in order: the method's, then what every method ends with.

    Of several latency limits, what follows the search is done for each, in a folder of its own.
    """
    searches = SEARCHES[config.method]
    if config.method == "single_path":
        searches = (SINGLE_PATH_SEARCHES[config.single_path.formulation], *searches[1:])
    methods_own = [_on_all_devices(stage, config) for stage in searches]
    stages = (
        *_on_each_device(PROFILE, config),
        *methods_own,
        final_stage(config),
        EXPORT,
        *_on_each_device(MEASURE, config),
    )
    report = Stage(
        "report",
        "draws and writes up the result",
        ("",),
        _records(stages),
        ("report.html", "summary.txt"),
    )
    limits = tuple(config.limits.each())
    if len(limits) == 1:
        return (*stages, report)
    own = [stage.name for stage in stages].index(SEARCH.name)
    several = [
        _for_limit(stage, limit) for limit in limits for stage in (*stages[own + 1 :], report)
    ]
    search = dataclasses.replace(
        stages[own],
        does=f"searches {len(limits)} architectures, one a latency limit",
        writes=tuple(f"{limit}/{name}" for limit in limits for name in SEARCH.writes),
    )
    baselines = (_on_all_devices(BASELINES, config),) if config.baselines.evaluations else ()
    front = Stage(
        "front",
        "draws accuracy over latency for all limits",
        ("",),
        _records((*_on_each_device(PROFILE, config), search, *several, *baselines)),
        ("report.html", "summary.txt"),
    )
    return (*stages[:own], search, *several, *baselines, front)


def _records(stages: Sequence[Stage]) -> tuple[str, ...]:
    return tuple(name for stage in stages for name in stage.writes if name.endswith(".json"))


def _on_each_device(stage: Stage, config: Config) -> tuple[Stage, ...]:
    """A stage that measures, once a device."""

    def placed(names: tuple[str, ...], device: str) -> tuple[str, ...]:
        of_one = (*PROFILE.writes, *MEASURE.writes)
        return tuple(of_device(name, device) if name in of_one else name for name in names)

    others = [
        dataclasses.replace(
            stage,
            device=device,
            does=f"{stage.does} {device!r}",
            settings=tuple(
                f"other_devices.{device}.{path}" if path == "device." else path
                for path in stage.settings
            ),
            reads=placed(stage.reads, device),
            writes=placed(stage.writes, device),
        )
        for device in config.other_devices
    ]
    return (stage, *others)


def _on_all_devices(stage: Stage, config: Config) -> Stage:
    """A stage that keeps the limits of all devices."""
    if TABLE not in stage.reads or not config.other_devices:
        return stage
    tables = [of_device(TABLE, device) for device in config.other_devices]
    return dataclasses.replace(
        stage, settings=(*stage.settings, "other_devices."), reads=(*stage.reads, *tables)
    )


def _for_limit(stage: Stage, limit: str) -> Stage:
    """A stage of a single limit as one for this of several."""

    def placed(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name if is_shared(name) else f"{limit}/{name}" for name in names)

    return dataclasses.replace(
        stage, limit=limit, reads=placed(stage.reads), writes=placed(stage.writes)
    )
