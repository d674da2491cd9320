"""Weights trained in PyTorch, in the naming of PyTorch Image Models (timm), in our networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import keras
import numpy as np

from keras_nas.models.network import block_name, build_network
from keras_nas.space import Architecture, Block

CLASSIFIER = "head_classifier"
"""Layer that a new number of classes replaces."""

_SQUEEZE_EXCITE = {"se_reduce": "se.conv_reduce", "se_expand": "se.conv_expand"}
_DEPTHWISE_SEPARABLE = {
    "depthwise": "conv_dw",
    "depthwise_batch_norm": "bn1",
    "project": "conv_pw",
    "project_batch_norm": "bn2",
    **_SQUEEZE_EXCITE,
}
_MODULES = {
    "ir": {
        "expand": "conv_pw",
        "expand_batch_norm": "bn1",
        "depthwise": "conv_dw",
        "depthwise_batch_norm": "bn2",
        "project": "conv_pwl",
        "project_batch_norm": "bn3",
        **_SQUEEZE_EXCITE,
    },
    "er": {
        "expand": "conv_exp",
        "expand_batch_norm": "bn1",
        "project": "conv_pwl",
        "project_batch_norm": "bn2",
        **_SQUEEZE_EXCITE,
    },
    "ds": _DEPTHWISE_SEPARABLE,
    "dsa": _DEPTHWISE_SEPARABLE,
    "cn": {"convolution": "conv", "batch_norm": "bn1"},
}
"""Kind of block -> our layer in it -> timm's module in it."""

_ENDS = {
    "stem_convolution": "conv_stem",
    "stem_batch_norm": "bn1",
    "head_features_convolution": "conv_head",
    "head_features_batch_norm": "bn2",
    "head_features": "conv_head",
    CLASSIFIER: "classifier",
}
"""The same outside of blocks."""

_TENSORS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
"""Keras' weight in a layer -> PyTorch's tensor in a module."""


@dataclasses.dataclass(frozen=True)
class _Source:
    """Where a weight's values come from.

    Attributes:
      names: tensors, concatenated along their first axis.
      shape: of each.
      axes: order of the tensors' axes in Keras' weight.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    axes: tuple[int, ...]


def import_weights(
    architecture: Architecture,
    input_shape: Sequence[int],
    state_dict: Mapping[str, np.ndarray],
    *,
    classes: int | None = None,
    reset_classifier: bool = False,
) -> keras.Model:
    """Builds a network with the weights of a PyTorch state dict.

    What a state dict does not hold is the architecture's: padding, which is `symmetric` for
    networks trained in PyTorch, and batch norm's epsilon.

    Args:
      architecture: what the weights were trained as.
      input_shape: (height, width, channels) of an image.
      state_dict: tensors by timm's names. Every tensor has to have its place, and every weight its
        tensor.
      classes: number of classes; None means the state dict's.
      reset_classifier: leave the classifier with fresh weights; the state dict's is not read.

    Returns:
      A functional model of Keras' own layers, as `build_network` gives.

    Raises:
      ValueError: the number of classes is another, or tensors are missing, left over, of another
        shape, not floating-point or not finite; lists all of them.
    """
    classes = _number_of_classes(state_dict, classes, reset_classifier)
    if reset_classifier:
        state_dict = _without(state_dict, _ENDS[CLASSIFIER])
    network = build_network(architecture, input_shape, classes)
    modules = timm_modules(architecture)
    kept = [
        layer
        for layer in network.layers
        if layer.weights and not (reset_classifier and layer.name == CLASSIFIER)
    ]
    sources = [
        (weight, source)
        for layer in kept
        for weight, source in _sources(layer, modules[layer.name])
    ]
    counters = {
        f"{modules[layer.name]}.num_batches_tracked"
        for layer in kept
        if isinstance(layer, keras.layers.BatchNormalization)
    }
    shapes = {name: source.shape for _, source in sources for name in source.names}
    _check(architecture, shapes, {k: v for k, v in state_dict.items() if k not in counters})
    for weight, source in sources:
        value = np.concatenate([state_dict[name] for name in source.names])
        weight.assign(value.transpose(source.axes).reshape(weight.shape))
    return network


def _number_of_classes(
    state_dict: Mapping[str, np.ndarray], classes: int | None, reset_classifier: bool
) -> int:
    """Classes of the network.

    Raises:
      ValueError: they are not known, or others than the state dict's.
    """
    classifier = state_dict.get(f"{_ENDS[CLASSIFIER]}.weight")
    trained = classifier.shape[0] if classifier is not None and classifier.ndim == 2 else None
    count = trained if classes is None else classes
    if count is None:
        raise ValueError(
            "the state dict holds no classifier, so the number of classes is not known; set "
            "classes, and reset_classifier to start with a fresh one."
        )
    if trained not in (None, count) and not reset_classifier:
        raise ValueError(
            f"the state dict's classifier is for {trained} classes, and {count} are asked for; "
            "set reset_classifier to start with a fresh one."
        )
    return count


def timm_modules(architecture: Architecture) -> dict[str, str]:
    """Name of every layer with weights -> name of timm's module.

    Layers that blocks of a kind can have and this one has not are among them.
    """
    names = dict(_ENDS)
    for s, stage in enumerate(architecture.stages):
        for b, block in enumerate(stage):
            for part, module in _block_modules(block):
                names[f"{block_name(s, b)}_{part}"] = f"blocks.{s}.{b}.{module}"
    return names


def _block_modules(block: Block) -> Iterator[tuple[str, str]]:
    yield from _MODULES[block.kind].items()
    for i in range(len(block.kernel_sizes)):  # mixed kernels
        yield f"depthwise_{i}", f"conv_dw.{i}"


def _without(state_dict: Mapping[str, np.ndarray], module: str) -> dict[str, np.ndarray]:
    return {k: v for k, v in state_dict.items() if not k.startswith(f"{module}.")}


def _sources(layer: keras.layers.Layer, module: str) -> Iterator[tuple[keras.Variable, _Source]]:
    """Every weight of a layer and where its values come from.

    A grouped 1x1 convolution is one layer here and one module a group in timm: `module.0`, ...
    """
    for weight in layer.weights:
        shape: tuple[int, ...] = tuple(weight.shape)
        axes: tuple[int, ...] = (0,)
        parts = [module]
        if weight.name == "kernel":
            shape, axes = _kernel(layer, shape)
        groups = getattr(layer, "groups", 1)
        if groups > 1:
            shape = (shape[0] // groups, *shape[1:])
            parts = [f"{module}.{i}" for i in range(groups)]
        yield weight, _Source(tuple(f"{p}.{_TENSORS[weight.name]}" for p in parts), shape, axes)


def _kernel(
    layer: keras.layers.Layer, shape: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """PyTorch's shape of a kernel that has `shape` in Keras, and the order of its axes there."""
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return (shape[2], 1, *shape[:2]), (2, 3, 0, 1)  # [C, 1, k, k] -> [k, k, C, 1]
    if isinstance(layer, keras.layers.Conv2D):
        return (shape[3], shape[2], *shape[:2]), (2, 3, 1, 0)  # [O, I, k, k] -> [k, k, I, O]
    if layer.name == CLASSIFIER:
        return shape[::-1], (1, 0)  # [O, I] -> [I, O]
    # Other dense layers are 1x1 convolutions in timm.
    return (*shape[::-1], 1, 1), (2, 3, 1, 0)  # [O, I, 1, 1] -> [1, 1, I, O]


def _check(
    architecture: Architecture,
    shapes: Mapping[str, tuple[int, ...]],
    state_dict: Mapping[str, np.ndarray],
) -> None:
    """Raises ValueError, with a list, unless `state_dict` has just the tensors of `shapes`."""
    both = [(name, state_dict[name], shape) for name, shape in shapes.items() if name in state_dict]
    problems = {
        "missing": [f"{name} {shape}" for name, shape in shapes.items() if name not in state_dict],
        "left over": [f"{k} {v.shape}" for k, v in state_dict.items() if k not in shapes],
        "of another shape": [
            f"{name} {value.shape} in place of {shape}"
            for name, value, shape in both
            if value.shape != shape
        ],
        "not floating-point": [
            f"{name} {value.dtype}" for name, value, _ in both if value.dtype.kind != "f"
        ],
        "not finite": [
            name
            for name, value, _ in both
            if value.dtype.kind == "f" and not np.isfinite(value).all()
        ],
    }
    found = [
        f"\n  {what} ({len(names)}): {', '.join(names)}"
        for what, names in problems.items()
        if names
    ]
    if found:
        raise ValueError(
            f"the state dict does not fit {architecture.name!r}; name the network that it was made "
            f"from, in timm's naming.{''.join(found)}"
        )
