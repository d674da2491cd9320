"""Traces the compiled loop of every phase under a TPUStrategy whose cores are logical CPUs.

    python tests/tpu/tpu_trace_program.py

Nothing can run: no TPU compiles the result. Prints a JSON object, step -> what its graph has.
"""

import collections
import json
import os
import sys
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import keras
import tensorflow as tf
from stand_in_tpu import stand_in_strategy

from keras_nas.space import (
    ElasticStage,
    Head,
    SearchSpace,
    Stem,
    TFNASOperation,
    TFNASSpace,
)
from keras_nas.tools.compiled_steps import STEPS, Setting
from tpu.loop import CompiledLoop
from tpu.lowering import UNSUITABLE

CORES = 2

SPACE = SearchSpace(
    name="tiny",
    stem=Stem(channels=8, stride=2),
    stages=(ElasticStage(8, 1, min_depth=1, max_depth=2),),
    kernel_sizes=(3, 5),
    expansion_ratios=(2,),
    se_ratios=(0, 0.25),
    head=Head(features=8),
    resolution=8,
)

TF_NAS_SPACE = TFNASSpace(
    name="tiny",
    stem=Stem(4, 3, 2, "relu"),
    stages=(ElasticStage(4, 1, "swish", min_depth=1, max_depth=1),),
    operations=(TFNASOperation(3, 2, 4, se=1), TFNASOperation(5, 2, 4)),
    head=Head(8, "swish", before_pooling=True),
    resolution=8,
)


def inner(variable):
    """TensorFlow's variable."""
    return variable.value if isinstance(variable, keras.Variable) else variable


def traced(phase, strategy):
    """What the graph of a phase's compiled loop has."""
    loop = CompiledLoop(phase, strategy, 0)
    bounds = tf.constant(0, tf.int64), tf.constant(2, tf.int64)
    graph = loop._loop.get_concrete_function(loop._batches, *bounds).graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    count = collections.Counter(node.op for node in nodes)
    inside = [node for node in nodes if "_tpu_replicate" in node.attr]
    float64 = tf.float64.as_datatype_enum
    return {
        "replicated": count["TPUReplicateMetadata"],
        "sums_over_cores": count["CrossReplicaSum"],
        "loops": count["While"] + count["StatelessWhile"],
        "operations_on_the_tpu": len(inside),
        "unsuitable": sorted({node.op for node in inside} & set(UNSUITABLE)),
        "float64": sorted(
            {n.op for n in inside if any(a.type == float64 for a in n.attr.values())}
        ),
        "variables": sorted({type(inner(v)).__name__ for v in phase.variables}),
    }


def main():
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * CORES
    )
    strategy = stand_in_strategy("localhost", 1, CORES)
    keras.config.set_dtype_policy("mixed_bfloat16")
    found = {}
    for name in sys.argv[1:] or STEPS:
        space = TF_NAS_SPACE if name.startswith("tf_nas/") else SPACE
        setting = Setting(space=space, classes=10, batch_size=8 * CORES, strategy=strategy)
        step = STEPS[name](setting)
        if step.phase is not None:
            found[name] = traced(step.phase, strategy)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
