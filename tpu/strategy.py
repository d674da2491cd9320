"""Which devices a program runs on, as a `tf.distribute.Strategy`.

The one place that knows device kinds: everything else works with the strategy it is given.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import socket
import time

import tensorflow as tf

ACCELERATORS = ("auto", "cpu", "gpu", "tpu")
LOCAL = "local"
"""Name of the TPU of this machine."""

_log = logging.getLogger(__name__)

_START_SECONDS = 120.0  # in which the hosts of a new TPU start their servers

# All that TensorFlow raises on the way to a TPU that is not there, not ready, or not named so.
_TPU_ERRORS = (tf.errors.OpError, OSError, ValueError, RuntimeError, LookupError, ImportError)


class DeviceError(RuntimeError):
    """The device that was asked for cannot be used."""


def strategy_for(
    accelerator: str = "auto", *, tpu: str = "", num_devices: int = 0
) -> tf.distribute.Strategy:
    """Returns the strategy for the devices of a run.

    | devices                  | strategy                                                       |
    |--------------------------|----------------------------------------------------------------|
    | one CPU, one GPU         | OneDeviceStrategy                                              |
    | several GPUs             | MirroredStrategy                                               |
    | one CPU, cut into several| MirroredStrategy on logical devices: no faster, but the same   |
    |                          | program as on several GPUs                                     |
    | several hosts            | MultiWorkerMirroredStrategy, as the variable TF_CONFIG says    |
    | a TPU                    | TPUStrategy, whose steps XLA compiles; a slice of several hosts|
    |                          | is driven from this one                                        |

    One process uses one set of devices: called again with the same arguments, it returns the same
    strategy.

    Args:
        accelerator: "cpu", "gpu", "tpu", or "auto": the TPU if one is named, else the GPUs where
            there are any, else the CPU.
        tpu: "local" for the TPU of this machine, the default for "tpu"; or a TPU whose hosts run
            TensorFlow's server: their addresses as "grpc://ADDRESS,grpc://ADDRESS", or its name
            (which TensorFlow looks up with Google's API client, where that is installed).
        num_devices: How many devices; 0 is all GPUs, all cores of the TPU, or one CPU.

    Raises:
        ValueError: `accelerator` is none of `ACCELERATORS`, or the arguments contradict each other
            or TF_CONFIG.
        DeviceError: The devices that are asked for are not there, or too late to be set up.
    """
    if accelerator not in ACCELERATORS:
        raise ValueError(f"Unknown accelerator {accelerator!r}: use one of {ACCELERATORS}.")
    if num_devices < 0:
        raise ValueError(f"num_devices must be at least 0 (all of them), received {num_devices}.")
    if tpu and accelerator not in ("auto", "tpu"):
        raise ValueError(
            f"TPU {tpu!r} is named, but accelerator {accelerator!r} asked for: use 'tpu' or "
            "'auto', or leave the name out."
        )
    if _hosts_in_environment() > 1:
        if tpu or accelerator == "tpu" or num_devices:
            raise ValueError(
                "TF_CONFIG names several hosts, each with all its GPUs or one CPU: leave tpu and "
                f"num_devices out (received {tpu!r} and {num_devices}), or unset TF_CONFIG."
            )
        return _several_hosts(accelerator)
    if tpu or accelerator == "tpu":
        return _tpu(tpu or LOCAL, num_devices)
    gpus = len(tf.config.list_physical_devices("GPU")) if accelerator != "cpu" else 0
    if accelerator == "gpu" and not gpus:
        raise DeviceError(
            "Accelerator 'gpu' was asked for, but TensorFlow sees no GPU: check the driver and "
            "CUDA_VISIBLE_DEVICES, or use 'cpu' or 'auto'."
        )
    if gpus:
        return _on_gpus(gpus, num_devices)
    return _on_cpu(max(1, num_devices))


def _on_gpus(gpus: int, wanted: int) -> tf.distribute.Strategy:
    if wanted > gpus:
        raise DeviceError(
            f"num_devices is {wanted}, but TensorFlow sees {gpus} GPUs: ask for at most as many, "
            "or check CUDA_VISIBLE_DEVICES."
        )
    count = wanted or gpus
    return _mirrored("GPU", count) if count > 1 else tf.distribute.OneDeviceStrategy("GPU:0")


def _on_cpu(count: int) -> tf.distribute.Strategy:
    if count == 1:
        return tf.distribute.OneDeviceStrategy("CPU:0")
    cpu = tf.config.list_physical_devices("CPU")[0]
    if len(tf.config.get_logical_device_configuration(cpu) or [None]) < count:
        try:
            tf.config.set_logical_device_configuration(
                cpu, [tf.config.LogicalDeviceConfiguration()] * count
            )
        except RuntimeError as error:
            raise DeviceError(
                f"The CPU cannot be cut into {count} devices any more, since TensorFlow has used "
                "it: call strategy_for before anything else of TensorFlow."
            ) from error
    return _mirrored("CPU", count)


@functools.cache
def _mirrored(kind: str, count: int) -> tf.distribute.Strategy:
    # Logical CPUs share one memory, and adding up in one place always adds in the same order.
    reduction = tf.distribute.ReductionToOneDevice() if kind == "CPU" else None
    devices = [f"{kind}:{i}" for i in range(count)]
    return tf.distribute.MirroredStrategy(devices, cross_device_ops=reduction)


@functools.cache
def _several_hosts(accelerator: str) -> tf.distribute.Strategy:
    if accelerator == "cpu":
        tf.config.set_visible_devices([], "GPU")
    elif accelerator == "gpu" and not tf.config.list_physical_devices("GPU"):
        raise DeviceError(
            "Accelerator 'gpu' was asked for, but TensorFlow sees no GPU on this host: check the "
            "driver and CUDA_VISIBLE_DEVICES, or use 'cpu' or 'auto' on all hosts."
        )
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.OpError, RuntimeError, ValueError, KeyError) as error:
        raise DeviceError(
            f"The hosts that TF_CONFIG names cannot be connected ({_first_line(error)}): start the "
            "same program on all of them, each with its own task index, before anything else uses "
            "TensorFlow."
        ) from error
    # All hosts have equally many, full batches (see `distribution` and `evaluation`), so they need
    # not ask one another before each, and shapes stay static.
    strategy.extended.experimental_enable_get_next_as_optional = False
    return strategy


@functools.cache
def _tpu(name: str, num_devices: int) -> tf.distribute.Strategy:
    try:
        resolver = _resolver(name) if name == LOCAL else connected(name)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        strategy = tf.distribute.TPUStrategy(resolver)
    except _TPU_ERRORS as error:
        where = "on this machine" if name == LOCAL else f"named {name!r}"
        raise DeviceError(
            f"No TPU {where} can be used ({_first_line(error)}): check its name, that it is "
            "running, and that this TensorFlow is built for TPUs; or use accelerator 'cpu', 'gpu' "
            "or 'auto'."
        ) from error
    cores = strategy.num_replicas_in_sync
    if num_devices not in (0, cores):
        raise DeviceError(
            f"num_devices is {num_devices}, but the TPU has {cores} cores, all of which take part: "
            "leave num_devices out, or choose a TPU of that size."
        )
    return strategy


def connected(name: str) -> tf.distribute.cluster_resolver.TPUClusterResolver:
    """Makes devices of this program's out of those of a TPU's hosts.

    Args:
        name: Of the TPU, or its hosts' addresses: see `strategy_for`.

    Raises:
        OSError: A host does not answer.
    """
    hosts = _resolver(name).cluster_spec().job_tasks("worker")
    own = [_own_address(host) for host in hosts]
    # By default TensorFlow tells the hosts to find this process at "localhost".
    address = f"{own[0]}:{_free_port()}"
    resolver = _resolver(name, coordinator_name="coordinator", coordinator_address=address)
    # What is not for the TPU stays in this process: its hosts run no Python.
    tf.config.experimental_connect_to_cluster(
        resolver, job_name="coordinator", make_master_device_default=False
    )
    return resolver


def _resolver(name: str, **settings: str) -> tf.distribute.cluster_resolver.TPUClusterResolver:
    return tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name, **settings)


def _own_address(of_host: str) -> str:
    """Where a host finds this machine. Waits until its server listens at ADDRESS:PORT, which
    TensorFlow would do forever and silently.

    Raises:
        OSError: There is none after `_START_SECONDS`.
    """
    address, _, port = of_host.rpartition(":")
    deadline = time.monotonic() + _START_SECONDS
    told = False
    while True:
        try:
            with socket.create_connection((address, int(port)), timeout=5.0) as connection:
                return connection.getsockname()[0]
        except OSError as error:
            if time.monotonic() > deadline:
                raise OSError(f"no server at {of_host}, {error}") from error
        if not told:
            _log.warning("waiting for the TPU's host %s", of_host)
        told = True
        time.sleep(1.0)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def _hosts_in_environment() -> int:
    """How many tasks TF_CONFIG names that train; 0 without it."""
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return 0
    try:
        cluster = json.loads(text).get("cluster", {})
        return sum(len(cluster.get(job, ())) for job in ("chief", "worker"))
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(
            f"The variable TF_CONFIG is not a JSON object with a 'cluster' of tasks ({error}): "
            f"correct or unset it, received {text[:80]!r}."
        ) from error


def _first_line(error: Exception) -> str:
    lines = str(getattr(error, "message", None) or error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
