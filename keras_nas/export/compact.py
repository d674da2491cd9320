"""Shortens a `.tflite` file without changing what it computes.

TensorFlow names a tensor after all operations that were fused into it, some hundred letters each,
which is several percent of a small network's file.
"""

from __future__ import annotations

import re

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from keras_nas.export.stitch import FILE_IDENTIFIER


def compact(tflite: bytes) -> bytes:
    """The same model, its tensors named after the layer alone: `stage2_block1_expand`.

    Inputs and outputs, which a signature or a program may look up by name, keep theirs.
    """
    model = schema.ModelT.InitFromPackedBuf(tflite)
    for graph in model.subgraphs:
        kept = {*map(int, graph.inputs), *map(int, graph.outputs)}
        for number, tensor in enumerate(graph.tensors):
            if number not in kept:
                tensor.name = short_name((tensor.name or b"").decode())
            quantization = tensor.quantization
            if quantization is not None and quantization.scale is None:
                tensor.quantization = None  # an empty table
    builder = flatbuffers.Builder(len(tflite))
    builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
    return bytes(builder.Output())


def short_name(name: str) -> str:
    """The layer of the last operation that was fused: `net_1/stem_1/convolution;net_1/Relu` is
    `stem`, as an activation outside a layer has no name of its own."""
    scopes = [part.split("/") for part in name.split(";")]
    layers = [scope[1] for scope in scopes if len(scope) > 2]
    return re.sub(r"_\d+$", "", layers[-1]) if layers else ""
