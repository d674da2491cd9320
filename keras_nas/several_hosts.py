"""One run on several hosts: the chief decides and writes, the others take part in what trains.

Every host starts the same command, with TF_CONFIG naming all of them, on a work directory that all
of them see. Stages that measure or write up run on the chief alone, while the others wait for the
next stage.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from keras_nas.config import Config
from keras_nas.stage_list import Stage

if TYPE_CHECKING:
    import tensorflow as tf

    from tpu.storage import AnyPath

ALONE = frozenset({"profile", "export", "measure", "report", "front"})
"""Stages that the chief runs without the others."""


class Team:
    """The hosts of a run, of which there may be one.

    On one host it does nothing, and does not import TensorFlow.

    Args:
      config: names the devices.

    Raises:
      ValueError, DeviceError: see `tpu.strategy.strategy_for`.
    """

    def __init__(self, config: Config) -> None:
        self._strategy: tf.distribute.Strategy | None = None
        self.is_chief = True
        if not os.environ.get("TF_CONFIG"):
            return
        from tpu.hosts import host_count, is_chief
        from tpu.strategy import strategy_for

        strategy = strategy_for(config.accelerator, tpu=config.tpu, num_devices=config.num_devices)
        if host_count(strategy) > 1:
            self._strategy, self.is_chief = strategy, is_chief(strategy)

    def agree(self, value: bool = False) -> bool:
        """The chief's value on every host; waits until all of them have come here."""
        if self._strategy is None:
            return value
        from tpu.hosts import from_chief

        return bool(from_chief(self._strategy, int(value)))

    def follow(
        self,
        config: Config,
        folder: AnyPath,
        stages: Sequence[Stage],
        checkpoints: Callable[[Stage], AnyPath],
        log: Callable[[str], None],
    ) -> None:
        """Takes part in the stages that the chief runs, and writes nothing.

        Args:
          config, folder: as on the chief.
          stages: those that were asked for, in order.
          checkpoints: stage -> folder of its checkpoints, once what it reads is there.
          log: receives a line for every stage that this host takes part in.
        """
        from keras_nas import stages as implementations

        context = implementations.Context(config, folder)
        for stage in stages:
            if self.agree() and stage.name not in ALONE:
                log(f"{stage.key}: takes part")
                context.begin(stage, config, checkpoints(stage))
                implementations.run(stage.name, context)
        self.agree()
