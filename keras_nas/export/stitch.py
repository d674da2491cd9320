"""Joins `.tflite` files into one that runs them one after the other.

Converting a whole network takes seconds, its blocks repeat from network to network, and the file is
the same operations in the same order. So each block is converted once and networks are put together
from them, as far as only their speed counts: the weights are fresh ones anyway.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

FILE_IDENTIFIER = b"TFL3"
_NAMES = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)
}


def stitch(parts: Sequence[bytes]) -> bytes:
    """One model that feeds the output of each part to the next.

    Between int8 parts, converting to float32 and back is left out, and the tensor in between has
    the range of the part that reads it.

    Args:
      parts: `.tflite` models of one input, one output and one subgraph, without a signature; each
        one's output has the shape of the next one's input.

    Raises:
      ValueError: no parts, or shapes that do not fit.
    """
    models = _unpack(parts)
    whole, graph = models[0], models[0].subgraphs[0]
    for model in models[1:]:
        _append(whole, graph, model)
    whole.metadata = whole.metadataBuffer = whole.signatureDefs = None
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(whole.Pack(builder), FILE_IDENTIFIER)
    return bytes(builder.Output())


def operations_of_parts(parts: Sequence[bytes]) -> list[list[str]]:
    """TFLite's names of the operations that each part becomes in `stitch(parts)`, in order.

    Those that work on constants only, such as making float16 weights float32, are left out: a
    runtime does them once, while it loads the model.

    Raises:
      ValueError: as in `stitch`.
    """
    found = []
    for model in _unpack(parts):
        graph = model.subgraphs[0]
        computed, kinds = set(map(int, graph.inputs)), []
        for operator in graph.operators:
            if computed.isdisjoint(map(int, operator.inputs)):
                continue
            computed.update(map(int, operator.outputs))
            kinds.append(_kind(model, operator))
        found.append(kinds)
    return found


def _unpack(parts: Sequence[bytes]) -> list[schema.ModelT]:
    """Parts as objects, without what int8 does at boundaries that will be inside."""
    if not parts:
        raise ValueError("stitching needs at least one part, received none.")
    models = [schema.ModelT.InitFromPackedBuf(part) for part in parts]
    for model in models[1:]:
        _drop_quantize(model)
    for model in models[:-1]:
        _drop_dequantize(model)
    for number, (model, following) in enumerate(itertools.pairwise(models)):
        one, other = _end(model, "outputs").shape, _end(following, "inputs").shape
        if not np.array_equal(one, other):
            raise ValueError(
                f"part {number} ends in {list(map(int, one))} and part {number + 1} begins with "
                f"{list(map(int, other))}; give parts of one network in order."
            )
    return models


def _end(model: schema.ModelT, side: str) -> schema.TensorT:
    graph = model.subgraphs[0]
    return graph.tensors[int(getattr(graph, side)[0])]


def _kind(model: schema.ModelT, operator: schema.OperatorT) -> str:
    return _NAMES[model.operatorCodes[operator.opcodeIndex].builtinCode]


def _drop_quantize(model: schema.ModelT) -> None:
    graph = model.subgraphs[0]
    for operator in graph.operators:
        if _kind(model, operator) == "QUANTIZE" and operator.inputs[0] == graph.inputs[0]:
            graph.operators.remove(operator)
            graph.inputs = operator.outputs
            return


def _drop_dequantize(model: schema.ModelT) -> None:
    graph = model.subgraphs[0]
    for operator in graph.operators:
        if _kind(model, operator) == "DEQUANTIZE" and operator.outputs[0] == graph.outputs[0]:
            graph.operators.remove(operator)
            graph.outputs = operator.inputs
            return


def _append(whole: schema.ModelT, graph: schema.SubGraphT, model: schema.ModelT) -> None:
    """Adds a part behind what is there; its tensors, buffers and codes get new numbers."""
    part = model.subgraphs[0]
    buffers, codes, tensors = len(whole.buffers), len(whole.operatorCodes), len(graph.tensors)
    for tensor in part.tensors:
        tensor.buffer += buffers
    for operator in part.operators:
        operator.opcodeIndex += codes
        # -1 stands for an input that is not there.
        operator.inputs = [t + tensors if t >= 0 else t for t in map(int, operator.inputs)]
        operator.outputs = [t + tensors for t in map(int, operator.outputs)]
    before, begin = int(graph.outputs[0]), int(part.inputs[0]) + tensors
    for operator in graph.operators:
        operator.inputs = [begin if t == before else t for t in map(int, operator.inputs)]
        operator.outputs = [begin if t == before else t for t in map(int, operator.outputs)]
    whole.buffers += model.buffers
    whole.operatorCodes += model.operatorCodes
    graph.tensors += part.tensors
    graph.operators += part.operators
    graph.outputs = [int(t) + tensors for t in part.outputs]
