"""What of the ahead-of-time compiler works without its environment."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
import tensorflow as tf

from tpu import aot
from tpu.lowering import TracedStep

ROOT = Path(__file__).parents[2]


@pytest.fixture
def versions(monkeypatch):
    """Sets what is installed."""

    def install(**found):
        def version(package):
            if package in found:
                return found[package]
            raise importlib.metadata.PackageNotFoundError(package)

        monkeypatch.setattr(aot.importlib.metadata, "version", version)

    return install


def test_another_environment_is_refused_in_one_line(versions):
    versions(jax="0.10.2", jaxlib="0.10.2", libtpu="0.0.17")
    with pytest.raises(aot.AotError, match=r"needs libtpu 0\.0\.42\.1, here it is 0\.0\.17") as e:
        aot.prepare_environment()
    assert "make tpu-aot" in str(e.value) and "\n" not in str(e.value)
    versions()
    with pytest.raises(aot.AotError, match=r"needs jax .*, here it is missing"):
        aot.prepare_environment()


def test_the_right_environment_is_prepared(versions, monkeypatch):
    for name in ("TPU_SKIP_MDS_QUERY", "ALLOW_MULTIPLE_LIBTPU_LOAD", "JAX_PLATFORMS"):
        monkeypatch.setenv(name, "")
    versions(**aot.VERSIONS)
    aot.prepare_environment()
    assert aot.os.environ["TPU_SKIP_MDS_QUERY"] == "1"
    assert aot.os.environ["JAX_PLATFORMS"] == "cpu"


def test_the_extra_has_the_versions_that_are_asked_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = dict(line.split("==") for line in project["optional-dependencies"]["tpu-aot"])
    assert aot.VERSIONS.items() <= pinned.items()


def test_a_replica_sums_over_all():
    """Sum, mean and the replica's number, as XLA's program of one replica has them."""
    strategy = aot.replica_strategy(4)
    assert strategy.num_replicas_in_sync == 4

    def step(x):
        context = tf.distribute.get_replica_context()
        total = context.all_reduce(tf.distribute.ReduceOp.SUM, x)
        mean = context.all_reduce(tf.distribute.ReduceOp.MEAN, x)
        return total, mean, context.replica_id_in_sync_group

    def run(x):
        return strategy.run(step, args=(x,))

    program = TracedStep(run, (tf.TensorSpec((3,), tf.float32),)).program()
    groups = re.findall(r" all-reduce\(.*replica_groups=(\{\{.*?\}\})", program)
    assert groups == ["{{0,1,2,3}}"] * 2
    assert "replica-id()" in program
    assert "constant(4)" in program  # the mean's divisor
    assert aot.replica_strategy(2).num_replicas_in_sync == 2


def test_the_gradients_of_keras_optimizers_are_summed():
    strategy = aot.replica_strategy(2)
    import keras

    with strategy.scope():
        weight = keras.Variable([1.0, 2.0, 3.0])
        optimizer = keras.optimizers.SGD(0.1)
        optimizer.build([weight])

    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(weight.value * x)
        optimizer.apply(tape.gradient(loss, [weight.value]), [weight])
        return loss

    def run(x):
        return strategy.run(step, args=(x,))

    program = TracedStep(run, (tf.TensorSpec((3,), tf.float32),)).program()
    assert len(re.findall(r"f32\[3\]\S* all-reduce\(", program)) == 1


def test_the_reason_of_a_refusal_is_one_line():
    message = (
        "RESOURCE_EXHAUSTED: TPU backend error (ResourceExhausted).\nRan out of memory in memory "
        "space hbm. Used 43.76G of 15.75G hbm. Exceeded hbm capacity by 28.01G.\n\nTotal hbm"
    )
    assert aot._first_reason(message).startswith("Used 43.76G of 15.75G hbm")
    assert "\n" not in aot._first_reason(message)
    assert aot._first_reason("UNIMPLEMENTED: no such operation\nmore") == (
        "UNIMPLEMENTED: no such operation"
    )


def test_cycles_of_loops_count_as_often_as_they_run_and_of_branches_the_dearest():
    program = """HloModule jit_step

%small (p: f32[]) -> f32[] {
  ROOT %a = f32[] negate(%p), backend_config={"estimated_cycles":"10"}
}

%large (p.1: f32[]) -> f32[] {
  ROOT %b = f32[] fusion(%p.1), kind=kLoop, calls=%fused, backend_config={"estimated_cycles":"30"}
}

%fused (p.2: f32[]) -> f32[] {
  ROOT %c = f32[] negate(%p.2)
}

%body.1 (p.3: (s32[], f32[])) -> (s32[], f32[]) {
  %d = f32[] conditional(%i, %x, %x), branch_computations={%small, %large}
  ROOT %e = (s32[], f32[]) tuple(%i, %d), backend_config={"estimated_cycles":"1"}
}

%condition (p.4: (s32[], f32[])) -> pred[] {
  %n = s32[]{:T(128)} constant(4)
  ROOT %f = pred[] compare(%i, %n), direction=LT
}

ENTRY %main (p.5: f32[]) -> f32[] {
  %g = (s32[], f32[]) while(%t), condition=%condition, body=%body.1
  ROOT %h = f32[] negate(%y), backend_config={"estimated_cycles":"500"}
}
"""
    assert aot.estimated_cycles(program) == 500 + 4 * (30 + 1)
    assert aot.estimated_cycles(program.replace("LT", "NE")) == 500 + 30 + 1
