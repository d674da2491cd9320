"""Accuracy over latency of the search, random search and evolution at the same limits.

    python -m benchmarks.front --dataset=fashion_mnist --data_dir=DIR --limits=0.2,0.4,0.6,0.8

All limits are searched at once over the one-shot weights of the other accuracy benchmarks, and
every found network is fine-tuned and measured. Random search and evolution evaluate `--evaluations`
networks a limit on held-out images; what they find is compared by one-shot accuracy on the test
images. Writes report.html into `--output` and prints its table. Run again, it goes on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from absl import app, flags

from benchmarks import common
from keras_nas import pipeline
from keras_nas.config import BaselinesConfig, LimitsConfig

_LIMITS = flags.DEFINE_list(
    "limits", ["0.2", "0.4", "0.6", "0.8"], "Between the smallest (0) and largest (1) latency."
)
_EVALUATIONS = flags.DEFINE_integer(
    "evaluations", 64, "Networks that each baseline evaluates a limit.", lower_bound=1
)


def main(_: Sequence[str]) -> None:
    context = common.prepare()
    limits = tuple(float(limit) for limit in _LIMITS.value)
    # The step of the other benchmarks, dealt among the limits.
    search = dataclasses.replace(
        context.config.search, batch_size=common.WIDE_BATCH_SIZE // len(limits) * len(limits)
    )
    config = dataclasses.replace(
        context.config,
        name=f"{context.config.name}_front",
        limits=LimitsConfig(latency_fraction=limits),
        search=search,
        baselines=BaselinesConfig(
            evaluations=_EVALUATIONS.value, population=min(16, _EVALUATIONS.value)
        ),
    )
    pipeline.run(config, context.folder, log=common.log)
    print(f"\n{common.describe(context)}\n")
    print((context.folder / "summary.txt").read_text())


if __name__ == "__main__":
    app.run(main)
