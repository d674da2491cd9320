"""Seeds of stages, and where a phase keeps its checkpoints."""

import dataclasses

import numpy as np
import tensorflow as tf

from keras_nas.methods.runtime import stage_seed
from tpu.phase import Phase
from tpu.record import Watch


def test_seeds_differ_between_stages_and_repeat():
    names = ("pretrain", "supernet", "search", "finetune", "train")
    seeds = {tuple(stage_seed(seed, name).numpy()) for seed in (0, 1) for name in names}
    assert len(seeds) == 10
    np.testing.assert_array_equal(stage_seed(3, "search"), stage_seed(3, "search"))


def test_a_phase_runs_in_its_own_folder_with_progress(runtime):
    seen = []
    counter = tf.Variable(0, dtype=tf.int64)

    def step(inputs, index):
        counter.assign_add(inputs)
        return {"loss": tf.cast(index, tf.float32)}

    phase = Phase(
        name="count",
        step=step,
        variables=[counter],
        steps=3,
        dataset=lambda start: tf.data.Dataset.range(start, 10),
        steps_per_loop=2,
    )
    history = dataclasses.replace(runtime, watch=Watch(on_progress=seen.append)).run(phase)
    assert counter.numpy() == 3
    assert [row["step"] for row in history] == [p.step for p in seen] == [2, 3]
    assert (runtime.checkpoints / "count" / "step-3").is_dir()
