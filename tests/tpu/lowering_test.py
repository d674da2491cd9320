"""Every compiled step of every method can be compiled for a TPU, and what cannot is found."""

import keras
import pytest
import tensorflow as tf

from keras_nas.space import (
    ElasticStage,
    Head,
    SearchSpace,
    Stem,
    TFNASOperation,
    TFNASSpace,
)
from keras_nas.tools.compiled_steps import STEPS, Setting
from tpu import aot
from tpu.lowering import TracedStep, dynamic_shapes

VECTOR = tf.TensorSpec((8,), tf.int32)
NUMBER = tf.TensorSpec((), tf.int32)


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
"""One stage with a choice of depth, and every kind of block choice."""

TF_NAS_SPACE = TFNASSpace(
    name="tiny",
    stem=Stem(4, 3, 2, "relu"),
    stages=(ElasticStage(4, 1, "swish", min_depth=1, max_depth=1),),
    operations=(TFNASOperation(3, 2, 4, se=1), TFNASOperation(5, 2, 4)),
    head=Head(8, "swish", before_pooling=True),
    resolution=8,
)
"""One block; a further one would only repeat its operations."""


@pytest.fixture
def bfloat16():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("name", STEPS)
def test_every_step_compiles_for_a_tpu(name, bfloat16):
    """As one of two replicas, since that program has more in it than the one of a single device."""
    strategy = aot.replica_strategy(2)
    space = TF_NAS_SPACE if name.startswith("tf_nas/") else SPACE
    step = STEPS[name](Setting(space=space, classes=10, batch_size=16, strategy=strategy))
    traced = TracedStep(step.function, step.specs)
    assert traced.unsuitable() == []
    program = traced.program()
    assert dynamic_shapes(program) == []
    assert "f64[" not in program
    assert "bf16[" in program
    assert ("all-reduce(" in program) == (name != "evaluation")


@pytest.mark.parametrize(
    ("step", "spec", "operation"),
    [
        (lambda x: tf.random.uniform([3]) + tf.cast(x[0], tf.float32), VECTOR, "RandomUniform"),
        (lambda x: tf.random.shuffle(x), VECTOR, "RandomShuffle"),
        (lambda x: tf.random.experimental.stateless_shuffle(x, [1, 2]), VECTOR, "StatelessShuffle"),
        (lambda x: tf.math.bincount(x, minlength=4, maxlength=4), VECTOR, "DenseBincount"),
        (lambda x: tf.boolean_mask(x, x > 1), VECTOR, "Where"),
        (lambda x: tf.unique(x).y, VECTOR, "Unique"),
        (lambda x: tf.numpy_function(lambda a: a, [x], tf.int32), VECTOR, "PyFunc"),
        (lambda x: tf.cast(x, tf.float64) / 3.0, VECTOR, "float64"),
        (lambda x: tf.map_fn(lambda y: tf.random.uniform([]), x, tf.float32), VECTOR, "Random"),
    ],
)
def test_what_a_tpu_cannot_do_is_named(step, spec, operation):
    found = TracedStep(step, (spec,)).unsuitable()
    assert any(operation in line for line in found), found


def test_an_ordinary_step_is_suitable():
    traced = TracedStep(lambda x: tf.sort(x) + tf.range(8), (VECTOR,))
    assert traced.unsuitable() == []
    assert dynamic_shapes(traced.program()) == []


@pytest.mark.parametrize(
    ("step", "spec", "operation"),
    [
        (lambda n: tf.range(n), NUMBER, "Range"),
        (lambda n: tf.zeros([n]) + 1.0, NUMBER, "Fill"),
        (lambda x: tf.random.stateless_gamma([3], [1, 2], 0.3), VECTOR, "StatelessRandomGammaV3"),
        (lambda x: tf.strings.as_string(x), VECTOR, "AsString"),
    ],
)
def test_what_xla_refuses_is_one_clear_error(step, spec, operation):
    traced = TracedStep(step, (spec,))
    with pytest.raises(ValueError, match="XLA cannot compile the step") as raised:
        traced.program()
    assert operation in str(raised.value)
    assert "\n" not in str(raised.value)


def test_dynamic_shapes_are_found():
    program = TracedStep(lambda x: tf.boolean_mask(x, x > 1), (VECTOR,)).program()
    assert "s32[<=8]" in dynamic_shapes(program)


def test_a_loop_whose_gradient_has_no_bound_is_refused():
    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.while_loop(lambda v: tf.reduce_sum(v) < 9.0, lambda v: (tf.sin(v) + 2.0,), (x,))
        return tape.gradient(y, x)

    traced = TracedStep(step, (tf.TensorSpec((3,), tf.float32),))
    with pytest.raises(ValueError, match="XLA cannot compile the step"):
        traced.program()


def test_specs_may_be_nested():
    def step(inputs, index):
        images, labels = inputs
        return tf.reduce_sum(images) + tf.cast(labels[0] + index, tf.float32)

    traced = TracedStep(step, ((tf.TensorSpec((2, 3)), VECTOR), NUMBER))
    assert "f32[2,3]" in traced.program()
    assert isinstance(traced.program(serialized=True), bytes)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tf_nas/search", "TF-NAS need a space of operations with widths; 'tiny' is of another"),
        ("hardcore_nas/search", "HardCoRe-NAS need a space of configurations; 'tiny' is of anoth"),
    ],
)
def test_a_space_of_another_method_is_refused(name, message):
    space = SPACE if name.startswith("tf_nas/") else TF_NAS_SPACE
    setting = Setting(space=space, classes=10, batch_size=16, strategy=aot.replica_strategy(2))
    with pytest.raises(ValueError, match=message):
        STEPS[name](setting)
