"""Published networks by name."""

from __future__ import annotations

from keras_nas.space import (
    published_hardcore_nas,
    published_mobile,
    published_others,
    published_searched,
)
from keras_nas.space.architecture import Architecture
from keras_nas.space.published_record import PublishedNetwork, PublishedResult, by_name

__all__ = [
    "PublishedNetwork",
    "PublishedResult",
    "published",
    "published_network",
    "published_networks",
]

_NETWORKS = (
    *published_hardcore_nas.NETWORKS,
    *published_mobile.NETWORKS,
    *published_searched.NETWORKS,
    *published_others.NETWORKS,
)
_BY_NAME = by_name(_NETWORKS)


def published(name: str) -> Architecture:
    """The architecture of a published network.

    Args:
      name: as in PyTorch Image Models (`hardcorenas_a`, `semnasnet_100`), this project's for
        networks that it lacks (`tf_nas_a`, `single_path_nas_v1`), or an alias (`hardcore_nas_a`,
        `mnasnet_a1`).

    Raises:
      ValueError: there is none of this name; lists all.
    """
    return published_network(name).architecture


def published_network(name: str) -> PublishedNetwork:
    """A published network with its source and its figures; for `name` see `published`.

    Raises:
      ValueError: there is none of this name; lists all.
    """
    if name not in _BY_NAME:
        raise ValueError(f"unknown published network {name!r}; one of {', '.join(_BY_NAME)}.")
    return _BY_NAME[name]


def published_networks() -> tuple[PublishedNetwork, ...]:
    """All published networks."""
    return _NETWORKS
