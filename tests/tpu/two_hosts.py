"""One host of two, or the only one, that trains a tiny network and evaluates it.

    python tests/tpu/two_hosts.py FOLDER

The hosts are those of TF_CONFIG. The chief writes FOLDER/result.npz: the final variables and the
totals of the evaluation. Every host writes what it agreed on to FOLDER/host-INDEX.json.
"""

import json
import os
import sys
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import keras
import numpy as np

from keras_nas.config import DataConfig, RecipeConfig
from keras_nas.data.examples import load_examples
from keras_nas.layers.batch_norm import FusedBatchNormalization
from keras_nas.methods.classification import evaluation_step, train_classifier
from keras_nas.methods.runtime import Runtime
from tpu.evaluation import evaluate
from tpu.hosts import from_chief, host_count, host_index, is_chief, on_any_host
from tpu.strategy import strategy_for


def run(folder: Path) -> None:
    """Trains for six steps and evaluates."""
    strategy = strategy_for("cpu")
    hosts, index = host_count(strategy), host_index(strategy)
    data = DataConfig(crop="pad", padding=1, mean=(0.3,) * 3, std=(0.35,) * 3)
    examples = load_examples(data, 8, 0).for_host((index, hosts))
    with strategy.scope():
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [
                keras.Input((8, 8, 3)),
                keras.layers.Conv2D(4, 3, use_bias=False),
                FusedBatchNormalization(momentum=0.9),
                keras.layers.Flatten(),
                keras.layers.Dense(10),
            ]
        )
    recipe = RecipeConfig(epochs=5.5 * 16 / len(examples.fitted), batch_size=16, weight_average=0.9)
    history = train_classifier("tiny", model, examples, recipe, Runtime(folder / "run", strategy))
    totals = evaluate(evaluation_step(model), examples.evaluation(178), strategy, 178 // hosts)
    agreed = {
        "from_chief": from_chief(strategy, 7 + index),
        "any": on_any_host(strategy, index == hosts - 1),
        "none": on_any_host(strategy, False),
        "steps": [row["step"] for row in history],
    }
    (folder / f"host-{index}.json").write_text(json.dumps(agreed))
    if is_chief(strategy):
        values = {str(i): np.asarray(v) for i, v in enumerate(model.variables)}
        np.savez(folder / "result.npz", **values, **totals)


if __name__ == "__main__":
    run(Path(sys.argv[1]))
