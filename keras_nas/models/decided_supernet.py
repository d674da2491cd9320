"""A supernet of one of Single-Path NAS' formulations with its decisions made."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np

from keras_nas.models.multi_path_supernet import MultiPathSupernet
from keras_nas.models.single_path_supernet import SinglePathSupernet
from keras_nas.space import Architecture


@dataclasses.dataclass(frozen=True, eq=False)
class DecidedSupernet:
    """What the found network starts from.

    Attributes:
      supernet: the weights.
      configurations: int64 [B], or `SKIP`.
    """

    supernet: SinglePathSupernet | MultiPathSupernet
    configurations: np.ndarray

    def extract(self, architecture: Architecture, *, fused_batch_norm: bool = False) -> keras.Model:
        """The stand-alone network, as `Supernet.extract` gives it.

        Raises:
          ValueError: the architecture is not that of the decisions.
        """
        found, network = self.supernet.extract(
            self.configurations, architecture.name, fused_batch_norm=fused_batch_norm
        )
        if found != architecture:
            raise ValueError(
                f"architecture {architecture.name!r} is not the one that was projected: the gates "
                "say another one. Run stage 'project' again."
            )
        return network
