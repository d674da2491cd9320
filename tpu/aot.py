"""Compiles a step for TPUs that are not there: what it needs, before any is rented.

XLA's program of the step (`tpu.lowering`) goes through JAX to the compiler in libtpu, which needs
a description of the TPU only. Nothing is run, and every figure is the compiler's, not a
measurement. This works with the exact versions of `VERSIONS` (the extra `tpu-aot`), since parts of
it have no public interface.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import os
import re
import time
from typing import Any

import tensorflow as tf

VERSIONS = {"jax": "0.10.2", "jaxlib": "0.10.2", "libtpu": "0.0.42.1"}
"""Packages and their versions, as in the extra `tpu-aot`."""

MEMORY_BYTES = {"v3": 16 * 2**30, "v5e": 16 * 2**30}
"""Memory of one core (v3, two a chip) or chip (v5e); the compiler keeps some for itself."""

EFFORTS = ("O0", "O1", "O2")
"""How hard the compiler tries; O2 is usual. O0 takes a fifth of the time and gives the same FLOPs
and all-reduces, but far more memory and cycles (docs/tpu.md)."""

_ENVIRONMENT = {
    # Otherwise libtpu asks the cloud's metadata server for minutes.
    "TPU_SKIP_MDS_QUERY": "1",
    # Otherwise a second process at the same time is refused over a lock file.
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    # Otherwise JAX opens a TPU.
    "JAX_PLATFORMS": "cpu",
}


class AotError(RuntimeError):
    """Compiling ahead of time is not possible, here or for this step."""


@dataclasses.dataclass(frozen=True)
class CompileResult:
    """What the compiler says of one step on one core; none of it was measured.

    Attributes:
        flops: Floating-point operations, a loop's counted once.
        bytes_accessed: Read and written by all operations, as if nothing stayed in fast memory; a
            loop's counted once.
        memory_bytes: Arguments, results and temporaries that are held at once.
        chip_bytes: Memory of the core.
        aliased_bytes: Of arguments that results overwrite (weights are updated in place).
        all_reduces: Operations that sum over replicas.
        estimated_cycles: Sum of the compiler's estimates, where it gives them, see
            `estimated_cycles`.
        compile_seconds: Time that the compiler took.
    """

    flops: float
    bytes_accessed: float
    memory_bytes: int
    chip_bytes: int
    aliased_bytes: int
    all_reduces: int
    estimated_cycles: int
    compile_seconds: float


def prepare_environment() -> None:
    """Checks the versions and sets what libtpu reads; to be called before anything imports JAX.

    Raises:
        AotError: A package is missing or has another version.
    """
    for package, version in VERSIONS.items():
        try:
            found = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found = "missing"
        if found != version:
            raise AotError(
                f"compiling for a TPU needs {package} {version}, here it is {found}: run "
                "`make tpu-aot`, which makes the environment and runs the tool in it."
            )
    os.environ.update(_ENVIRONMENT)


def replica_strategy(replicas: int) -> tf.distribute.Strategy:
    """A strategy whose step is the program of one of so many replicas, all-reduces included.

    For tracing only: what TPUStrategy does with a step, without its devices.
    """
    base = type(tf.distribute.OneDeviceStrategy("CPU:0").extended)

    class Extended(base):  # type: ignore[misc, valid-type]
        @property
        def _num_replicas_in_sync(self) -> int:
            return replicas

        def _call_for_each_replica(self, fn: Any, args: Any, kwargs: Any) -> Any:
            from tensorflow.compiler.tf2xla.ops import gen_xla_ops  # no public name

            replica = gen_xla_ops.xla_replica_id()
            with tf.distribute.ReplicaContext(self._container_strategy(), replica):
                return fn(*args, **kwargs)

        def _reduce_to(self, reduce_op: Any, value: Any, destinations: Any, options: Any) -> Any:
            from tensorflow.compiler.tf2xla.ops import gen_xla_ops

            total = gen_xla_ops.xla_all_reduce(
                value, [list(range(replicas))], "Add", "CrossReplica"
            )
            return total / replicas if reduce_op == tf.distribute.ReduceOp.MEAN else total

    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    strategy._extended = Extended(strategy, "CPU:0")
    return strategy


def topology_devices(topology: str) -> list[Any]:
    """The cores of a TPU that is not there.

    Args:
        topology: Kind and shape in chips, as "v3:2x2" (8 cores) or "v5e:2x4" (8 chips).

    Raises:
        AotError: There is no such topology.
    """
    from jax.experimental import topologies

    kind = topology.partition(":")[0]
    if kind not in MEMORY_BYTES:
        raise AotError(
            f"unknown TPU {topology!r}: use one of {', '.join(MEMORY_BYTES)} and a shape in "
            "chips, as v5e:2x4."
        )
    try:
        return list(topologies.get_topology_desc(platform="tpu", topology_name=topology).devices)
    except (RuntimeError, ValueError) as error:
        raise AotError(
            f"libtpu has no topology {topology!r} ({str(error).splitlines()[0]}): try a shape as "
            "2x2 or 2x4."
        ) from error


def compile_step(hlo: bytes, topology: str, effort: str = "O2") -> CompileResult:
    """Compiles a step for all cores of a topology.

    Args:
        hlo: From `lowering.TracedStep.program(serialized=True)`, of a step under
            `replica_strategy(number of cores)`.
        topology: See `topology_devices`.
        effort: One of `EFFORTS`.

    Raises:
        AotError: There is no such topology, or the compiler refuses the step: too large for the
            memory, or an operation that a TPU does not have.
    """
    from jax._src import compiler, config
    from jax._src.lib import _jax

    devices = topology_devices(topology)
    options = compiler.get_compile_options(
        len(devices), 1, device_assignment=[[device.id] for device in devices]
    )
    options.executable_build_options.optimization_level = config.EffortLevel(effort).value
    began = time.perf_counter()
    try:
        executable = devices[0].client.compile(
            _stable_hlo(hlo), _jax.DeviceList(tuple(devices)), options
        )
    except RuntimeError as error:
        raise AotError(f"the compiler refuses: {_first_reason(str(error))}") from error
    return _result(executable, topology, time.perf_counter() - began)


def _stable_hlo(hlo: bytes) -> Any:
    from jax._src.interpreters import mlir
    from jax._src.lib import _jax
    from jaxlib.mlir import ir

    with mlir.make_ir_context():
        module = ir.Module.parse(_jax.mlir.hlo_to_stablehlo(hlo))
        copies = []

        def collect(operation: Any) -> Any:
            if operation.name == "mhlo.copy":
                copies.append(operation)
            return ir.WalkResult.ADVANCE

        module.operation.walk(collect)
        # TensorFlow adds one to every variable it returns; StableHLO has none, and needs none.
        for copy in copies:
            copy.results[0].replace_all_uses_with(copy.operands[0])
            copy.operation.erase()
        return module


def _result(executable: Any, topology: str, seconds: float) -> CompileResult:
    costs = executable.cost_analysis()
    costs = costs[0] if isinstance(costs, list) else costs
    text = executable.hlo_modules()[0].to_string()
    memory = executable.get_compiled_memory_stats()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return CompileResult(
        flops=float(costs["flops"]),
        bytes_accessed=float(costs["bytes accessed"]),
        memory_bytes=held - memory.alias_size_in_bytes + memory.generated_code_size_in_bytes,
        chip_bytes=MEMORY_BYTES[topology.partition(":")[0]],
        aliased_bytes=memory.alias_size_in_bytes,
        all_reduces=len(re.findall(r" all-reduce(?:-start)?\(", text)),
        estimated_cycles=estimated_cycles(text),
        compile_seconds=seconds,
    )


def estimated_cycles(program: str) -> int:
    """The compiler's estimates in a compiled program's text, added up.

    What is in a loop counts as often as it runs (once if its condition is not to stay below a
    number), and of branches the dearest one counts.
    """
    computations: dict[str, list[str]] = {}
    entry = ""
    for line in program.splitlines():
        if head := re.match(r"(ENTRY )?%?([\w.-]+) \(.*\{$", line):
            computations[head[2]] = lines = []
            entry = head[2] if head[1] else entry
        elif line.startswith("  "):
            lines.append(line)

    def times(condition: list[str]) -> int:
        bounds = re.findall(r" constant\((\d+)\)", "\n".join(condition))
        counts_up = len(bounds) == 1 and "direction=LT" in condition[-1]  # from 0
        return int(bounds[0]) if counts_up else 1

    @functools.cache
    def cycles(name: str) -> int:
        return sum(map(of_line, computations[name]))

    def of_line(line: str) -> int:
        total = sum(map(int, re.findall(r'"estimated_cycles":"(\d+)"', line)))
        for name in re.findall(r"(?:calls|to_apply)=%?([\w.-]+)", line):
            total += cycles(name)
        if loop := re.search(r"\bcondition=%?([\w.-]+), body=%?([\w.-]+)", line):
            total += times(computations[loop[1]]) * cycles(loop[2])
        branches = re.search(r"branch_computations=\{(.*?)\}", line)
        names = re.findall(r"[\w.-]+", branches[1]) if branches else []
        names += re.findall(r"(?:true|false)_computation=%?([\w.-]+)", line)
        return total + max(map(cycles, names), default=0)

    return cycles(entry)


def _first_reason(message: str) -> str:
    """The line that says how much memory was asked for, or else the first one."""
    used = re.search(r"Used \S+ of \S+ \w+\.?[^.\n]*", message)
    return used[0] if used else message.splitlines()[0]
