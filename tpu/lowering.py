"""Whether a step can run on a TPU, found out without one.

A TPU runs what XLA compiles, with static shapes. XLA's CPU build refuses most of what the TPU's
compiler refuses, and what it lets pass is known by name: so a step that passes here compiles
there, as far as that was probed (docs/tpu.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

UNSUITABLE = {
    **dict.fromkeys(
        ("RandomUniform", "RandomUniformInt", "RandomStandardNormal", "TruncatedNormal",
         "RandomShuffle", "Multinomial", "RandomGamma", "RandomPoissonV2"),
        "its numbers do not repeat: draw with tf.random.stateless_*",
    ),
    **dict.fromkeys(
        ("StatelessRandomGammaV2", "StatelessRandomGammaV3", "RandomIndexShuffle",
         "StatelessShuffle"),
        "no TPU kernel: build it from stateless_uniform and argsort",
    ),
    **dict.fromkeys(
        ("Bincount", "DenseBincount", "RaggedBincount", "HistogramFixedWidth", "Lu",
         "LogMatrixDeterminant", "MatrixDeterminant", "ResizeBicubic", "ScaleAndTranslate"),
        "no TPU kernel",
    ),
    **dict.fromkeys(
        ("PyFunc", "PyFuncStateless", "EagerPyFunc", "PrintV2", "Print", "StringFormat", "AsString",
         "DecodeJpeg", "DecodePng", "DecodeImage"),
        "it runs on the host only: do it in the data pipeline or between loops",
    ),
    **dict.fromkeys(
        ("Where", "Unique", "UniqueV2"), "its result has a dynamic shape: mask instead"
    ),
    **dict.fromkeys(
        ("Assert", "CheckNumerics", "CheckNumericsV2"),
        "it vanishes silently: check the loss that comes back",
    ),
}  # fmt: skip
"""Operations that a TPU's compiler refuses or that do not belong into a step, and why."""

FLOAT64 = "float64 is emulated: compute in float32"


class TracedStep:
    """A step as XLA gets it, traced once; nothing is compiled or run.

    Args:
        step: What runs on a replica, with `strategy.run` around it.
        specs: Tuple of its arguments' `tf.TensorSpec`s, nested as the arguments are, static.
    """

    def __init__(self, step: Callable[..., Any], specs: Any) -> None:
        def run(*tensors: tf.Tensor) -> Any:
            return step(*tf.nest.pack_sequence_as(specs, tensors))

        self._specs = tf.nest.flatten(specs)
        self._function = tf.function(run, jit_compile=True, autograph=False)
        self._graph = self._function.get_concrete_function(*self._specs).graph

    def unsuitable(self) -> list[str]:
        """What a TPU cannot do or should not: `operation 'name': reason`, sorted."""
        found = set()
        for node in _nodes(self._graph.as_graph_def()):
            if node.op in UNSUITABLE:
                found.add(f"{node.op} '{node.name}': {UNSUITABLE[node.op]}")
            elif any(value.type == tf.float64.as_datatype_enum for value in node.attr.values()):
                found.add(f"{node.op} '{node.name}': {FLOAT64}")
        return sorted(found)

    def program(self, *, serialized: bool = False) -> Any:
        """XLA's program, not yet optimised: as text, or as bytes of an HloModuleProto.

        Raises:
            ValueError: XLA refuses the step: the message names the operation.
        """
        stage = "hlo_serialized" if serialized else "hlo"
        try:
            program_at = self._function.experimental_get_compiler_ir(*self._specs)
            return program_at(stage=stage, platform_name="CPU")
        except (tf.errors.OpError, TypeError, ValueError) as error:
            raise ValueError(f"XLA cannot compile the step: {_one_line(str(error))}") from error


def dynamic_shapes(hlo: str) -> list[str]:
    """Shapes in a program's text that are known at run time only, as `s32[<=10]`."""
    return sorted(set(re.findall(r"\w+\[[^\]]*<=[^\]]*\]", hlo)))


def _one_line(reason: str) -> str:
    """The first line of an error of XLA's, without the words around it that say nothing."""
    return reason.removeprefix("Failed getting HLO text: ").strip("'").splitlines()[0]


def _nodes(graph: Any) -> Iterator[Any]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def
