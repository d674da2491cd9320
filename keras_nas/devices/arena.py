"""How much memory LiteRT plans for the activations of a network."""

from __future__ import annotations

from ai_edge_litert.interpreter import Interpreter, OpResolverType


def activation_arena_bytes(tflite: bytes) -> int:
    """Size of LiteRT's arena: all tensors but the weights, as LiteRT's own kernels place them.

    Counted from the first to the last byte of the tensors that it has placed, without the padding
    at the end.

    Raises:
      ValueError: it is not a `.tflite` model that LiteRT can run.
    """
    try:
        interpreter = Interpreter(
            model_content=tflite,
            num_threads=1,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"LiteRT cannot plan this model ({error}); is it a .tflite file?"
        ) from error
    constant = _constants(interpreter)
    ends = []
    for details in interpreter.get_tensor_details():
        if details["index"] in constant:
            continue
        try:
            array = interpreter.tensor(details["index"])()
        except ValueError:  # nothing needs it, so it was not placed
            continue
        ends.append((array.__array_interface__["data"][0], array.nbytes))
    first = min(address for address, _ in ends)
    return max(address + size for address, size in ends) - first


def _constants(interpreter: Interpreter) -> set[int]:
    """Weights, and what is computed from weights alone: float16 ones made float32."""
    varying = {int(details["index"]) for details in interpreter.get_input_details()}
    constant: set[int] = set()
    for operation in interpreter._get_ops_details():
        inputs = {int(tensor) for tensor in operation["inputs"]}
        outputs = {int(tensor) for tensor in operation["outputs"]}
        constant |= inputs - varying
        if inputs & varying:
            varying |= outputs
        else:
            constant |= outputs
    return constant
