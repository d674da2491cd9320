"""The settings of a TF-NAS search."""

import dataclasses

# No `from __future__ import annotations`: config_flags needs the fields' types, not their names.


@dataclasses.dataclass
class TFNASConfig:
    """A search by TF-NAS (arXiv 2008.05314); the defaults are the paper's.

    Attributes:
      epochs: over the fitted images, those before the architecture moves included.
      warmup_epochs: first epochs, in which only weights are trained, on one sampled path a step.
      batch_size: images in a step.
      learning_rate: of the weights at the start; half a cosine by epoch.
      momentum, weight_decay: of the weights; only what a step sampled has either.
      clip: largest norm of the gradient.
      second_sampler: of the second path of a step: `random`, `gumbel`, `minimum`, `maximum`, or
        `none` for a single path.
      depth_space: `sink` (sink-connecting), `skip_in` (skip is a candidate) or `skip_out` (skip is
        a choice of its own).
      share_weights: operations of a block share weights; else they share nothing, as in the paper.
      objective: of latency LAT with target T and weight l: `absolute`, l * |LAT / T - 1| (authors'
        code); `hinge`, l * max(LAT / T - 1, 0) (paper); or without a target `log`,
        l * log(LAT)^e (C1), and `linear`, l * LAT (C2).
      latency_weight: l.
      latency_exponent: e.
      architecture_learning_rate, architecture_weight_decay: of Adam on the architecture.
      temperature: of the Gumbel softmax after the first epochs.
      temperature_decay: factor of each later epoch.
      elasticity_scaling: scale the widths of the most probable network to the target after every
        epoch that moved the architecture.
    """

    epochs: int = 90
    warmup_epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 0.025
    momentum: float = 0.9
    weight_decay: float = 1e-5
    clip: float = 5.0
    second_sampler: str = "random"
    depth_space: str = "sink"
    share_weights: bool = False
    objective: str = "absolute"
    latency_weight: float = 0.1
    latency_exponent: float = 0.6
    architecture_learning_rate: float = 0.01
    architecture_weight_decay: float = 5e-4
    temperature: float = 5.0
    temperature_decay: float = 0.96
    elasticity_scaling: bool = True
