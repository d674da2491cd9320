"""The settings of a Single-Path NAS search."""

import dataclasses

# No `from __future__ import annotations`: config_flags needs the fields' types, not their names.


@dataclasses.dataclass
class SinglePathConfig:
    """A search by Single-Path NAS (arXiv 1904.02877); the defaults are the paper's.

    The loss is CE + L2 + runtime_weight * log(R), with R in milliseconds and the natural logarithm.
    The authors' code multiplies its lambda by 1000: their 0.020 is a `runtime_weight` of 20.

    Attributes:
      epochs: over the fitted images.
      warmup_share: of the steps, the first ones: groups of weights are dropped at random, and
        runtime does not count (paper: 6255 of 10008 steps).
      subset_keep: probability that a group is not dropped there.
      runtime_weight: lambda, see above.
      runtime_form: of the runtime model, `paper` (eqs. 11 to 17) or `exact`.
      runtime_table: file of runtimes in the authors' form that R is computed from, in place of the
        device's latency table; see `resources.pixel1_runtime`. Limits stay those of the device.
      batch_size: images in a step.
      learning_rate: of weights and thresholds, for this batch size.
      learning_rate_warmup_epochs: linear rise at the start, while RMSProp's average of squares,
        which begins at 0, is too small.
      learning_rate_decay, decay_epochs: factor, and after how many epochs each.
      rho, momentum, epsilon: of RMSProp.
      weight_decay: L2 of kernels, the superkernels among them.
      label_smoothing: 0 turns it off.
      weight_average: decay of the moving average of weights, thresholds and batch-norm statistics,
        which are decoded and kept together; 0 turns it off.
      formulation: `single_path`, the method's; or, to compare with, `multi_path`, where every
        configuration has its own weights and all are mixed, and `random_search`, the best by
        one-shot accuracy of networks drawn uniformly among those that keep the latency limit.
      relaxation: of a single path `sigmoid`, `straight_through` or `softmax`, see
        `layers.superkernel.Formulation`; of a multi-path `softmax` or `sigmoid`, see
        `models.multi_path_supernet`.
      norm: `rms`, or `frobenius` as in the paper.
      temperature: norms are divided by it; the paper's is 1.
      random_networks: how many random search evaluates.
      random_images: held-out images, at most, that it evaluates each on.
    """

    epochs: float = 8.0
    warmup_share: float = 0.625
    subset_keep: float = 0.6
    runtime_weight: float = 20.0
    runtime_form: str = "paper"
    runtime_table: str = ""
    batch_size: int = 1024
    learning_rate: float = 0.064
    learning_rate_warmup_epochs: float = 0.4
    learning_rate_decay: float = 0.97
    decay_epochs: float = 2.4
    rho: float = 0.9
    momentum: float = 0.9
    epsilon: float = 1e-3
    weight_decay: float = 1e-5
    label_smoothing: float = 0.1
    weight_average: float = 0.9999
    formulation: str = "single_path"
    relaxation: str = "sigmoid"
    norm: str = "rms"
    temperature: float = 0.1
    random_networks: int = 64
    random_images: int = 2000
