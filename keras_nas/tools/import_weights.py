"""Makes a Keras network of weights trained in PyTorch, in the naming of PyTorch Image Models.

    python -m keras_nas.tools.import_weights --network=hardcorenas_a \\
        --checkpoint=hardcorenas_a.safetensors --output=network.keras
    python -m keras_nas.tools.import_weights --network=found.json \\
        --checkpoint=last.pth --output=network.keras --classes=10 --reset_classifier

Its outputs are PyTorch's. Every tensor is used and every weight set, or nothing is written.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

from absl import app, flags

from keras_nas import files
from keras_nas.progress import quiet_native_code
from keras_nas.space import Architecture, BatchNorm
from keras_nas.tools.networks import NamedNetwork, named_network


def with_epsilon(architecture: Architecture, epsilon: float | None) -> Architecture:
    """The architecture with another epsilon of batch norm; None keeps its own.

    Raises:
      ValueError: it is not above 0.
    """
    if epsilon is None:
        return architecture
    batch_norm = BatchNorm(architecture.batch_norm.momentum, epsilon)
    return dataclasses.replace(architecture, batch_norm=batch_norm)


def import_file(
    network: NamedNetwork,
    checkpoint: str,
    output: str,
    *,
    architecture_output: str | None = None,
    classes: int | None = None,
    reset_classifier: bool = False,
) -> str:
    """Writes the network that a checkpoint's weights make.

    Args:
      network: what the checkpoint's weights were trained as.
      checkpoint: see `read_state_dict`.
      output: `.keras` file.
      architecture_output: file for the architecture as JSON, which fine-tuning starts from.
      classes, reset_classifier: see `keras_nas.models.import_weights`.

    Returns:
      What was done, for people.

    Raises:
      FileNotFoundError, OSError, ModuleNotFoundError, ValueError: see `read_state_dict` and
        `import_weights`; or `output` has another ending or cannot be written.
    """
    if not output.endswith(".keras"):
        raise ValueError(f"--output should end in .keras, received {output!r}.")
    with quiet_native_code():
        import keras

        from keras_nas.models.import_weights import import_weights
        from keras_nas.models.saved_network import network_to_bytes
        from keras_nas.models.state_dict import read_state_dict
    state_dict, part = read_state_dict(checkpoint)
    keras.utils.set_random_seed(0)  # a fresh classifier repeats
    model = import_weights(
        network.architecture,
        network.input_shape,
        state_dict,
        classes=classes,
        reset_classifier=reset_classifier,
    )
    files.write_bytes(output, network_to_bytes(model))
    if architecture_output:
        files.write_text(architecture_output, network.architecture.to_json())
    architecture, count = network.architecture, model.output_shape[-1]
    lines = [
        f"{output}: {architecture.name}, {count} classes, images "
        f"{'x'.join(map(str, network.input_shape))}, {architecture.padding} padding, batch-norm "
        f"epsilon {architecture.batch_norm.epsilon:g}",
        f"{len(state_dict)} tensors of {checkpoint}{f', {part}' if part else ''}",
    ]
    if reset_classifier:
        lines.append(f"the classifier is re-initialised, for {count} classes")
    return "\n".join(lines)


def define_flags() -> None:
    """Called by the program only: tools share names of flags, and absl allows each name once."""
    flags.DEFINE_string(
        "network", None, "What was trained: a published network, or an architecture's JSON file."
    )
    flags.DEFINE_string("checkpoint", None, "State dict: .safetensors, or .pth with torch.")
    flags.DEFINE_string("output", None, "Network to write, .keras.")
    flags.DEFINE_string(
        "architecture_output",
        None,
        "File to write the architecture to, as a work directory's architecture.json.",
    )
    flags.DEFINE_integer("classes", None, "Classes; by default the checkpoint's.", lower_bound=1)
    flags.DEFINE_boolean("reset_classifier", False, "Start with a fresh classifier.")
    flags.DEFINE_float(
        "batch_norm_epsilon",
        None,
        "In place of the architecture's: a checkpoint does not hold it. timm's pretrained "
        "fbnetc_100 has 1e-3.",
    )
    flags.mark_flags_as_required(["network", "checkpoint", "output"])


def main(arguments: Sequence[str]) -> None:
    """Imports one checkpoint; ends with an error where something is wrong."""
    options = flags.FLAGS
    try:
        if len(arguments) > 1:
            raise ValueError(f"unexpected argument {arguments[1]!r}; all are flags, see --help.")
        named = named_network(options.network)
        architecture = with_epsilon(named.architecture, options.batch_norm_epsilon)
        done = import_file(
            dataclasses.replace(named, architecture=architecture),
            options.checkpoint,
            options.output,
            architecture_output=options.architecture_output,
            classes=options.classes,
            reset_classifier=options.reset_classifier,
        )
    except (OSError, ValueError, ModuleNotFoundError) as error:
        sys.exit(f"error: {error}")
    print(done)


if __name__ == "__main__":
    define_flags()
    app.run(main)
