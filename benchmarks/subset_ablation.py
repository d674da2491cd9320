"""Are kernels inside of larger ones as good as those trained alone (Single-Path NAS, Table II)?

    python -m benchmarks.subset_ablation --dataset=fashion_mnist --data_dir=DIR

Trains networks of superkernels in which every step draws a kernel size for each block, so that the
smaller kernel is the inside of the larger one, and the same networks with one kernel size only, by
the same schedule. Then the network with the smaller kernel everywhere, and that with the larger:
test accuracy with shared weights, and with weights of their own. The shared weights are also
trained for as many times more steps as there are kernel sizes, after which each size has had as
many as alone. Writes `subset_ablation.txt`; run again, it goes on with what it did not reach.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from absl import app, flags

from benchmarks import common
from benchmarks.single_path_common import (
    BATCH_NORM_IMAGES,
    SEEDS,
    STEPS,
    rewrite_no_graphs,
    search_settings,
    small_config,
)
from keras_nas import files
from keras_nas.context import Context
from keras_nas.methods.one_shot_accuracy import configuration_accuracy
from keras_nas.methods.superkernel_one_shot import train_one_shot
from keras_nas.space import SearchSpace

_KERNELS = flags.DEFINE_list("kernels", ["3", "5"], "Kernel sizes, ascending.")
_EXPANSION = flags.DEFINE_integer("expansion", 3, "Expansion ratio of all blocks.", lower_bound=1)

Row = dict[str, float]
"""Kernel size -> test accuracy of the network that has it everywhere; CPU seconds."""


def kernel_space(space: SearchSpace, kernels: Sequence[int]) -> SearchSpace:
    """The space in which only kernel sizes are chosen."""
    return dataclasses.replace(
        space,
        name=f"{space.name}_kernels_{'_'.join(map(str, kernels))}",
        kernel_sizes=tuple(kernels),
        expansion_ratios=(_EXPANSION.value,),
        se_ratios=(0,),
        stages=tuple(dataclasses.replace(s, min_depth=s.max_depth) for s in space.stages),
    )


def trained(context: Context, kernels: Sequence[int], times: int, seed: int) -> Row:
    """Accuracy of each kernel size after training them together, for so many times the steps."""
    began = time.process_time()
    space = kernel_space(context.space_of(SearchSpace), kernels)
    examples = dataclasses.replace(context.examples, seed=seed)
    settings = search_settings(examples)
    settings = dataclasses.replace(
        settings,
        epochs=times * settings.epochs,
        decay_epochs=times * settings.decay_epochs,
    )
    with common.temporary_runtime(context, f"{space.name}_{times}_{seed}") as runtime:
        supernet, _ = train_one_shot(space, examples, settings, runtime)
        accuracy = configuration_accuracy(
            supernet,
            examples,
            runtime,
            common.TEST_BATCH_SIZE,
            batch_norm_images=BATCH_NORM_IMAGES,
            held_out_images=0,
        )
        blocks = len(space.stage_of_block)
        row = {str(k): accuracy([c] * blocks, test=True) for c, k in enumerate(kernels)}
    return row | {"cpu_seconds": time.process_time() - began}


def trainings(kernels: Sequence[int]) -> dict[str, tuple[tuple[int, ...], int]]:
    """What is trained, by name: kernel sizes together, and times the steps."""
    alone = {f"alone, kernel {k}": ((k,), 1) for k in kernels}
    every = tuple(kernels)
    return alone | {
        "shared, same steps": (every, 1),
        f"shared, {len(every)} times the steps": (every, len(every)),
    }


def report(found: Mapping[str, Sequence[Row]], kernels: Sequence[int]) -> Iterator[str]:
    """The table, and by how much shared weights differ from each kernel's own."""
    heads = "".join(f"{f'kernel {k}':>22}" for k in kernels)
    yield f"{'test accuracy':28}{'seeds':>6}{heads}{'CPU s':>8}"
    for name, rows in found.items():
        cells = ""
        for k in map(str, kernels):
            values = np.array([row[k] for row in rows if k in row])
            spread = values.std(ddof=1) if len(values) > 1 else math.nan
            cells += f"{values.mean():13.2%} ± {spread:6.2%}" if values.size else f"{'':>22}"
        seconds = np.mean([row["cpu_seconds"] for row in rows]) if rows else math.nan
        yield f"{name:28}{len(rows):6}{cells}{seconds:8.0f}"
    yield "\nShared less alone, by seed (+- one standard error):"
    for name, rows in found.items():
        if not name.startswith("shared"):
            continue
        for k in kernels:
            yield f"  {name}, kernel {k}: " + difference(rows, found[f"alone, kernel {k}"], str(k))


def difference(shared: Sequence[Row], alone: Sequence[Row], kernel: str) -> str:
    """Mean over seeds that both have; decided beyond two standard errors only."""
    values = np.array([a[kernel] - b[kernel] for a, b in zip(shared, alone, strict=False)])
    if len(values) < 2:
        return f"not decided, {len(values)} seeds"
    mean, error = values.mean(), values.std(ddof=1) / math.sqrt(len(values))
    word = "better" if mean > 2 * error else "worse" if mean < -2 * error else "no difference"
    return f"{word}, {mean:+.2%} +- {error:.2%} over {len(values)} seeds"


def main(_: Sequence[str]) -> None:
    budget = common.Budget()
    rewrite_no_graphs()
    if not flags.FLAGS.data_dir:
        raise app.UsageError("--data_dir is missing: where TFDS sets are prepared.")
    kernels = [int(kernel) for kernel in _KERNELS.value]
    experiment, folder = small_config(), common.output_folder("subset_ablation")
    context = Context(experiment, folder, folder / "checkpoints")
    settings = {
        "search": dataclasses.asdict(search_settings(context.examples)),
        "space": kernel_space(context.space_of(SearchSpace), kernels).to_json(),
        "source": experiment.data.source,
    }
    rows = common.Rows(folder / "subset_ablation.json", settings)
    every = trainings(kernels)
    found: dict[str, list[Row]] = {name: [] for name in every}
    for seed in range(SEEDS.value):
        for name, (own, times) in every.items():
            key = f"{name}/{seed}"
            if key not in rows:
                if not budget.allows(key):
                    continue
                rows[key] = trained(context, own, times, seed)
                common.log(f"{key}: {rows[key]}")
            found[name].append(rows[key])
    space, steps = context.space_of(SearchSpace), STEPS.value
    head = (
        f"{experiment.data.source} at {space.resolution}x{space.resolution}; {space.name} with all "
        f"{len(space.stage_of_block)} blocks at expansion {_EXPANSION.value}; {steps} steps of "
        f"{common.BATCH_SIZE} images"
    )
    text = "\n".join([head, *report(found, kernels), budget.summary()])
    files.write_text(folder / "subset_ablation.txt", f"{text}\n")
    print(f"\n{text}")


if __name__ == "__main__":
    app.run(main)
