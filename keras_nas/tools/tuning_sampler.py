"""How a study chooses what to try next."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

ALGORITHMS = ("random", "bayesian", "multi_fidelity")
"""Random search; Bayesian optimisation by tree-structured Parzen estimators (TPE, NIPS 2011); and
the same with asynchronous successive halving (ASHA, arXiv 1810.05934), which as in BOHB (arXiv
1807.01774) begins every trial at a low fidelity and goes on with the best.

Optuna's Gaussian process would need torch."""
STARTUP_TRIALS = 4
"""Trials at random before TPE has something to go by. Optuna's 10 would be most of a study here."""


def sampler(algorithm: str, seed: int) -> BaseSampler:
    """The sampler of a study; see `SamplerByTrial`."""
    if algorithm == "random":
        return SamplerByTrial(lambda own: RandomSampler(seed=own), seed)
    return SamplerByTrial(
        lambda own: TPESampler(n_startup_trials=STARTUP_TRIALS, seed=own, constant_liar=True), seed
    )


def pruner(algorithm: str, reduction: int) -> BasePruner:
    """What ends trials early."""
    if algorithm != "multi_fidelity":
        return NopPruner()
    return SuccessiveHalvingPruner(min_resource=1, reduction_factor=reduction)


class SamplerByTrial(BaseSampler):
    """Draws with a seed of every trial's own.

    So a study that was interrupted goes on as if it had not been, and processes that join draw
    other values than those that are there.

    Args:
      make: a sampler with a seed.
      seed: of the study.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int):
        self._make, self._seed = make, seed
        self._sampler = make(seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Turns to a trial."""
        digest = hashlib.sha256(f"{self._seed}/{trial.number}".encode()).digest()
        self._sampler = self._make(int.from_bytes(digest[:4], "big"))
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """See `BaseSampler`."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See `BaseSampler`."""
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """See `BaseSampler`."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Any
    ) -> None:
        """See `BaseSampler`."""
        self._sampler.after_trial(study, trial, state, values)
