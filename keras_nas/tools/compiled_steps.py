"""Every step that is compiled for an accelerator, of every method, ready to be compiled alone.

One table, `STEPS`: the tests lower each of its rows and trace each under a TPU's strategy, and
`keras_nas.tools.compile_for_tpu` compiles each for real TPUs. A method adds its rows here.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_nas.config import RecipeConfig, SearchConfig
from keras_nas.config.single_path import SinglePathConfig
from keras_nas.config.tf_nas import TFNASConfig
from keras_nas.data.augmentation import Augmentation
from keras_nas.data.examples import Examples
from keras_nas.data.sources import Source, from_arrays
from keras_nas.experiment import staged_costs
from keras_nas.methods import frank_wolfe_search, hardcore_nas, multi_path, single_path, tf_nas
from keras_nas.methods.classification import evaluation_step
from keras_nas.methods.runtime import Runtime
from keras_nas.methods.superkernel_one_shot import train_one_shot
from keras_nas.methods.tf_nas_schedule import WEIGHT_STEPS
from keras_nas.models import Supernet
from keras_nas.resources import RuntimeModel, cost_model, piece_macs
from keras_nas.resources.width_latency import Curve, WidthLatency
from keras_nas.space import SearchSpace, StagedSpace, TFNASSpace
from tpu.phase import Metrics, Phase


@dataclasses.dataclass(frozen=True)
class CompiledStep:
    """The program of one replica and what it takes.

    Attributes:
      function: runs the step under its strategy.
      specs: tuple of its arguments' shapes and dtypes, nested as they are.
      phase: whose step it is; None for what runs outside of a phase.
    """

    function: Callable[..., Any]
    specs: tuple[Any, ...]
    phase: Phase | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """What steps are built for. No image is read: only shapes count.

    Attributes:
      space: the search space, of the kind that the step's method searches.
      classes: number of classes.
      batch_size: images of a global batch.
      strategy: devices; what a step sees is its replica's share of the batch.
    """

    space: StagedSpace
    classes: int
    batch_size: int
    strategy: tf.distribute.Strategy

    @property
    def share(self) -> int:
        """Images of one replica."""
        return self.batch_size // self.strategy.num_replicas_in_sync

    @functools.cached_property
    def images(self) -> tf.TensorSpec:
        """Of one replica."""
        return tf.TensorSpec((self.share, *self.space.input_shape), tf.float32)

    @functools.cached_property
    def labels(self) -> tf.TensorSpec:
        """Of one replica."""
        return tf.TensorSpec((self.share,), tf.int32)

    @functools.cached_property
    def examples(self) -> Examples:
        """One grey image under many numbers."""
        count, side = 2 * self.batch_size, self.space.resolution
        pixels = np.broadcast_to(np.uint8(128), (count, side, side, 3))
        labels = np.zeros(count, np.int32)
        split = from_arrays(pixels, labels)
        names = tuple(map(str, range(self.classes)))
        half = np.arange(self.batch_size)
        return Examples(
            Source("grey", names, split, split),
            half,
            half + self.batch_size,
            (0.5,) * 3,
            (0.25,) * 3,
            Augmentation(),
            0,
        )

    def recipe(self, **changes: Any) -> RecipeConfig:
        """The papers' recipe: momentum, decay, label smoothing, mixup, weight average."""
        return dataclasses.replace(RecipeConfig(batch_size=self.batch_size), **changes)

    def supernet(self) -> Supernet:
        """w* with fresh weights."""
        with self.strategy.scope():
            return Supernet(_configurations(self), self.classes)

    def heaviest(self) -> keras.Model:
        """w-bar with fresh weights."""
        with self.strategy.scope():
            return hardcore_nas.heaviest_network(_configurations(self), self.classes)

    def phase(self, method: Callable[[Runtime], Any]) -> Phase:
        """The phase that a method gives to its runtime, which runs nothing.

        Raises:
          ValueError: the method ended without a phase.
        """
        try:
            method(_Recorder(Path(), self.strategy))
        except _Recorded as recorded:
            return recorded.phase
        raise ValueError("the method ended without giving a phase to its runtime.")

    def step(
        self, function: Callable[..., Any], specs: tuple[Any, ...], phase: Phase | None = None
    ) -> CompiledStep:
        """What the strategy makes of a function of one replica."""

        def run(*arguments: Any) -> Any:
            return self.strategy.run(function, args=arguments)

        return CompiledStep(run, specs, phase)


class _Recorded(Exception):
    def __init__(self, phase: Phase) -> None:
        super().__init__(phase.name)
        self.phase = phase


class _Recorder(Runtime):
    """Chooses dtypes as on a TPU, and takes the first phase out of the method."""

    iterate_dtype = tf.float32

    def run(self, phase: Phase) -> list[Metrics]:
        raise _Recorded(phase)


def _of_phase(setting: Setting, method: Callable[[Runtime], Any], batches: int = 1) -> CompiledStep:
    """The step of the first phase of a method, which takes so many batches."""
    phase = setting.phase(method)
    batch = (setting.images, setting.labels)
    inputs = batch if batches == 1 else (batch,) * batches
    return setting.step(phase.step, (inputs, tf.TensorSpec((), tf.int64)), phase)


def _configurations(setting: Setting) -> SearchSpace:
    """HardCoRe-NAS' kind of space."""
    if not isinstance(setting.space, SearchSpace):
        raise ValueError(
            f"the steps of HardCoRe-NAS need a space of configurations; {setting.space.name!r} is "
            "of another kind."
        )
    return setting.space


def _pretrain(setting: Setting) -> CompiledStep:
    return _of_phase(
        setting,
        lambda runtime: hardcore_nas.pretrain(
            _configurations(setting), setting.examples, setting.recipe(), runtime
        ),
    )


def _supernet(sampling: str, setting: Setting) -> CompiledStep:
    return _of_phase(
        setting,
        lambda runtime: hardcore_nas.train_supernet(
            _configurations(setting),
            setting.examples,
            setting.recipe(sampling=sampling),
            runtime,
        ),
    )


def _finetune(setting: Setting) -> CompiledStep:
    """Of the largest network there is: the found one is smaller."""
    space = _configurations(setting)
    return _of_phase(
        setting,
        lambda runtime: hardcore_nas.final_network(
            space.heaviest(),
            space,
            setting.examples,
            setting.recipe(distillation=1.0),
            runtime,
            batch_norm_images=0,
            heaviest=setting.heaviest(),
        ),
    )


def _search(setting: Setting) -> CompiledStep:
    space = _configurations(setting)
    model = cost_model(space, piece_macs, setting.classes, name="macs")
    limits = np.array([(model.smallest() + model.largest()) / 2])
    costs = staged_costs(space, [model])
    settings = SearchConfig(batch_size=setting.batch_size, solve_on_device=True)
    supernet = setting.supernet()
    return _of_phase(
        setting,
        lambda runtime: frank_wolfe_search.search(
            supernet, costs, limits, settings, setting.examples, runtime
        ),
    )


def _single_path(
    search: Callable[..., Any], changes: dict[str, Any], setting: Setting
) -> CompiledStep:
    """Of a formulation of Single-Path NAS."""
    space = _configurations(setting)
    costs = cost_model(space, piece_macs, setting.classes, name="macs")
    model = RuntimeModel(space, costs.fixed, costs.block_costs)
    settings = SinglePathConfig(batch_size=setting.batch_size, **changes)
    return _of_phase(
        setting, lambda runtime: search(space, model, setting.examples, settings, runtime)
    )


def _one_shot(space: SearchSpace, _: RuntimeModel, *arguments: Any) -> Any:
    return train_one_shot(space, *arguments)


def _tf_nas(changes: dict[str, Any], setting: Setting) -> CompiledStep:
    space = setting.space
    if not isinstance(space, TFNASSpace):
        raise ValueError(
            f"the steps of TF-NAS need a space of operations with widths; {space.name!r} is of "
            "another kind."
        )
    settings = TFNASConfig(batch_size=setting.batch_size, **changes)
    # The program is the same for any latency: here a width takes its own number of milliseconds.
    curves = tuple(
        tuple(
            Curve(*[np.array(space.knots(block, operation), np.float64)] * 2)
            for operation in range(len(space.operations))
        )
        for block in range(len(space.blocks))
    )
    latency = WidthLatency(space, 1.0, curves)
    target_ms = sum(latency.range_ms()) / 2
    return _of_phase(
        setting,
        lambda runtime: tf_nas.search_tf_nas(
            space, latency, target_ms, settings, setting.examples, runtime
        ),
        batches=1 if settings.warmup_epochs else WEIGHT_STEPS + 1,
    )


def _evaluation(setting: Setting) -> CompiledStep:
    step = evaluation_step(setting.heaviest())
    return setting.step(step, ((setting.images, setting.labels),))


def _batch_norm(setting: Setting) -> CompiledStep:
    network = setting.heaviest()
    return setting.step(lambda images: network(images, training=True), (setting.images,))


STEPS: dict[str, Callable[[Setting], CompiledStep]] = {
    "hardcore_nas/pretrain": _pretrain,
    "hardcore_nas/supernet/stratified": functools.partial(_supernet, "stratified"),
    "hardcore_nas/supernet/independent": functools.partial(_supernet, "independent"),
    "hardcore_nas/supernet/single_path": functools.partial(_supernet, "single_path"),
    "hardcore_nas/search": _search,
    "hardcore_nas/finetune": _finetune,
    "single_path/search": functools.partial(_single_path, single_path.search, {}),
    # With a softmax the step has less in it.
    "single_path/search/multi_path": functools.partial(
        _single_path, multi_path.search, {"relaxation": "sigmoid"}
    ),
    "single_path/search/random_search": functools.partial(_single_path, _one_shot, {}),
    "tf_nas/warmup": functools.partial(_tf_nas, {}),
    "tf_nas/search": functools.partial(_tf_nas, {"warmup_epochs": 0}),
    "tf_nas/search/share_weights": functools.partial(
        _tf_nas, {"warmup_epochs": 0, "share_weights": True}
    ),
    "evaluation": _evaluation,
    "batch_norm_statistics": _batch_norm,
}
"""METHOD/STAGE[/VARIANT] -> how to build that step; names without a method are of all methods."""
