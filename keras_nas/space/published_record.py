"""What is known of a published network: its architecture, and the figures papers print for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from keras_nas.space.architecture import Architecture, BatchNorm, Head, Stem
from keras_nas.space.squeeze_excite import SqueezeExcite

HARDCORE_NAS_PAPER = "HardCoRe-NAS, arXiv 2102.11646"
TF_NAS_PAPER = "TF-NAS, arXiv 2008.05314, Table 2"
SINGLE_PATH_PAPER = "Single-Path NAS, arXiv 1904.02877, Table 1"
IMAGE_MODELS = "PyTorch Image Models 1.0.31"


@dataclasses.dataclass(frozen=True)
class PublishedResult:
    """One source's figures for a network. What it does not print is None or empty.

    Attributes:
      source: paper or repository.
      top1: accuracy on ImageNet's validation set, percent.
      latencies_ms: (device, milliseconds), as measured by the source. Not comparable between
        sources.
      macs_millions, parameters_millions: as printed, so rounded, and counted as the source does.
    """

    source: str
    top1: float | None = None
    latencies_ms: tuple[tuple[str, float], ...] = ()
    macs_millions: float | None = None
    parameters_millions: float | None = None


@dataclasses.dataclass(frozen=True)
class PublishedNetwork:
    """A published network.

    Attributes:
      architecture: the network; its name is the network's.
      source: where its blocks are from.
      results: what is printed for it, its authors' or the most cited figures first.
      aliases: other names.
      resolution: height and width of the images it was published for.
    """

    architecture: Architecture
    source: str
    results: tuple[PublishedResult, ...]
    aliases: tuple[str, ...] = ()
    resolution: int = 224

    @property
    def name(self) -> str:
        """The architecture's name."""
        return self.architecture.name

    @property
    def top1(self) -> float | None:
        """Accuracy of the first source that prints one, percent."""
        return next((row.top1 for row in self.results if row.top1 is not None), None)


def network(
    name: str,
    stages: str,
    *,
    stem: Stem,
    head: Head,
    activation: str = "relu",
    squeeze_excite: SqueezeExcite | None = None,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    padding: str = "symmetric",
) -> Architecture:
    """An architecture from block strings: a line a stage, blocks apart by spaces.

    The defaults are PyTorch's. `momentum` is in Keras' terms.
    """
    return Architecture.from_block_strings(
        [line.split() for line in stages.strip().splitlines()],
        name=name,
        stem=stem,
        head=head,
        batch_norm=BatchNorm(momentum, epsilon),
        padding=padding,
        default_activation=activation,
        default_squeeze_excite=squeeze_excite,
    )


def hardcore_nas_row(
    top1: float, cpu_ms: float, gpu_ms: float, parameters_millions: float, macs_millions: float
) -> PublishedResult:
    """A row of HardCoRe-NAS' tables; latency on its CPU, and on a P100 at batch 64."""
    latencies = (("CPU", cpu_ms), ("NVIDIA P100, batch 64", gpu_ms))
    return PublishedResult(HARDCORE_NAS_PAPER, top1, latencies, macs_millions, parameters_millions)


def tf_nas_row(top1: float, gpu_ms: float, macs_millions: float) -> PublishedResult:
    """A row of TF-NAS' Table 2; latency on a Titan RTX at batch 32."""
    latencies = (("NVIDIA Titan RTX, batch 32", gpu_ms),)
    return PublishedResult(TF_NAS_PAPER, top1, latencies, macs_millions)


def single_path_row(top1: float, pixel1_ms: float) -> PublishedResult:
    """A row of Single-Path NAS' Table 1; latency on a Pixel 1."""
    return PublishedResult(SINGLE_PATH_PAPER, top1, (("Pixel 1", pixel1_ms),))


def image_models(name: str) -> str:
    """The definition `name` of PyTorch Image Models."""
    return f"{IMAGE_MODELS}, {name}"


def by_name(networks: Sequence[PublishedNetwork]) -> dict[str, PublishedNetwork]:
    """Networks by name and by alias.

    Raises:
      ValueError: a name stands for two networks.
    """
    found: dict[str, PublishedNetwork] = {}
    for published in networks:
        for name in (published.name, *published.aliases):
            if name in found:
                raise ValueError(f"two published networks are called {name!r}; rename one.")
            found[name] = published
    return found
