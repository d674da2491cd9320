"""The settings of TF-NAS' search (arXiv 2008.05314); the defaults are the paper's."""

import dataclasses

# No `from __future__ import annotations`: config_flags needs the fields' types, not their names.


@dataclasses.dataclass
class TFNASConfig:
    """Weights and architecture in turn; after each epoch widths are scaled to the latency limit.

    Attributes:
      epochs: over the training images.
      warmup_epochs: of these, so many first ones train weights only, on one sampled path.
      batch_size: images in a step.
      learning_rate: of the weights' SGD, which falls along a cosine to 0.
      momentum, weight_decay: of that SGD.
      gradient_clip: largest global norm of the weights' gradient.
      architecture_learning_rate, architecture_weight_decay: of the architecture's Adam.
      temperature: of the Gumbel softmax until the architecture is searched; after that it is
        multiplied by `temperature_decay` after every epoch.
      second_path: how the second path of a weight step is sampled: `random` (uniform over the
        operations that the first did not take), `gumbel`, `minimum`, `maximum`, or `none`.
      depth_space: `sink_connecting`, or with an operation that skips the block:
        `skip_in_candidates` (sampled like the others) or `skip_out_of_candidates` (a choice of its
        own).
      latency_loss: `absolute` (weight * |LAT / T - 1|, as in the authors' code), `hinge` (weight *
        max(LAT / T - 1, 0), as in the paper), `logarithm` (C1: weight * log(LAT)^exponent) or
        `linear` (C2: weight * LAT).
      latency_weight: weight in that loss.
      latency_exponent: exponent in `logarithm`.
      elasticity_scaling: scale the widths after each epoch, not only those of the found network.
      share_weights: one elastic block in place of the operations of a block.
    """

    epochs: int = 90
    warmup_epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 0.025
    momentum: float = 0.9
    weight_decay: float = 1e-5
    gradient_clip: float = 5.0
    architecture_learning_rate: float = 0.01
    architecture_weight_decay: float = 5e-4
    temperature: float = 5.0
    temperature_decay: float = 0.96
    second_path: str = "random"
    depth_space: str = "sink_connecting"
    latency_loss: str = "absolute"
    latency_weight: float = 0.1
    latency_exponent: float = 0.6
    elasticity_scaling: bool = True
    share_weights: bool = False
