"""Drives a TPU slice of two hosts that are servers of TensorFlow with CPUs in place of TPUs.

    python tests/tpu/slice_program.py

Runs every function `check_*`; the first that fails ends the program with its error. Given the
hosts' addresses, it is the hosts.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import tensorflow as tf
from hosts_test import free_ports
from stand_in_tpu import stand_in_strategy
from tpu_trace_program import SPACE, traced

from keras_nas.tools.compiled_steps import STEPS, Setting
from tpu import checkpoint
from tpu.distribution import divided
from tpu.strategy import connected

HOSTS = 2


def dataset(batches):
    """Batches of 6 numbers that this process alone can make."""

    def read(first):
        return np.arange(first, first + 6)

    def fetch(i):
        numbers = tf.ensure_shape(tf.numpy_function(read, [6 * i], tf.int64), [6])
        return numbers, tf.cast(numbers, tf.float32)

    return tf.data.Dataset.range(batches).map(fetch)


def check_hosts_get_their_shares_inside_of_a_compiled_loop(strategy):
    batches = iter(divided(dataset(4), strategy))
    assert iter(batches) is batches

    @tf.function(autograph=False)
    def run(batches, steps):
        def body(i, sums):
            numbers, same = map(strategy.experimental_local_results, next(batches))
            added = []
            for host, device in enumerate(strategy.extended.worker_devices):
                with tf.device(device):
                    there = tf.cast(numbers[host], tf.float32) + same[host]
                    added.append(sums[host] + (1.0 + tf.cast(i, tf.float32)) * there)
            return i + 1, added

        return tf.while_loop(lambda i, _: i < steps, body, (0, [tf.zeros(3)] * HOSTS))[1]

    first, second = run(batches, tf.constant(3))
    weighted = sum(2.0 * (1 + i) * (6 * i + np.arange(6)) for i in range(3))
    np.testing.assert_array_equal(np.concatenate([first, second]), weighted)
    (rest,) = batches
    found = [np.stack(strategy.experimental_local_results(part)) for part in rest]
    for part in found:
        np.testing.assert_array_equal(part, [[18, 19, 20], [21, 22, 23]])
    try:
        run(batches, tf.constant(1))
    except tf.errors.OutOfRangeError:
        return
    raise AssertionError("data that have ended went on")


def check_variables_of_all_hosts_are_saved_and_restored_here(strategy):
    with strategy.scope():
        variable = tf.Variable(tf.range(3.0))
    copies = strategy.experimental_local_results(variable)
    tasks = [tf.DeviceSpec.from_string(copy.device).task for copy in copies]
    assert tasks == [0, 1], tasks
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(Path(folder), 7, [variable])
        with strategy.scope():
            variable.assign(tf.zeros(3))
        assert checkpoint.restore(Path(folder), [variable]) == 7
    for copy in copies:
        np.testing.assert_array_equal(copy, [0.0, 1.0, 2.0])


def check_the_loop_of_a_phase_is_one_program_for_all_hosts(strategy):
    setting = Setting(space=SPACE, classes=10, batch_size=8 * HOSTS, strategy=strategy)
    graph = traced(STEPS["hardcore_nas/search"](setting).phase, strategy)
    assert graph["replicated"] == 1 and graph["sums_over_cores"] >= 1, graph
    assert graph["unsuitable"] == graph["float64"] == [], graph


def main():
    addresses = [f"localhost:{port}" for port in free_ports(HOSTS)]
    hosts = subprocess.Popen([sys.executable, __file__, ",".join(addresses)])
    try:
        resolver = connected(",".join(f"grpc://{address}" for address in addresses))
        # "localhost", TensorFlow's default, would be another machine to a host.
        assert resolver.cluster_spec().task_address("coordinator", 0).startswith("127.0.0.1:")
        assert tf.constant(1).device.startswith("/job:coordinator/")
        strategy = stand_in_strategy("worker", HOSTS, 1)
        for name, check in list(globals().items()):
            if name.startswith("check_"):
                check(strategy)
                print(name, flush=True)
    finally:
        hosts.kill()


def serve(addresses):
    cluster = tf.train.ClusterSpec({"worker": addresses})
    servers = [tf.distribute.Server(cluster, "worker", index) for index in range(HOSTS)]
    servers[0].join()


if __name__ == "__main__":
    serve(sys.argv[1].split(",")) if sys.argv[1:] else main()
