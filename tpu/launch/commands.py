"""The command lines of `gcloud` that a run on a Cloud TPU takes; pure functions."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Sequence

RUNTIMES = {
    "v2": "tpu-ubuntu2204-base",
    "v3": "tpu-ubuntu2204-base",
    "v4": "tpu-ubuntu2204-base",
    "v5litepod": "v2-alpha-tpuv5-lite",
    "v6e": "v2-alpha-tpuv6e",
}
"""System image by kind of TPU, where it has one host."""

SLICE_RUNTIME = "tpu-vm-tf-2.20.0-pod-pjrt"
"""System image of several hosts, which all run the server of this TensorFlow."""

ONE_HOST = 8
"""Cores (v2 to v4) or chips of the largest TPU with one host, as the type's name counts them."""

ARCHIVE = "keras_nas.tar.gz"
LOG = "keras_nas.log"
_PYTHON = "$HOME/venv/bin/python"

# On the first host of a slice: the addresses of all as "grpc://ADDRESS,grpc://ADDRESS", from the
# attribute "x:y:ADDRESS,x:y:ADDRESS".
_ADDRESSES = (
    "curl -sf -H Metadata-Flavor:Google "
    "http://metadata.google.internal/computeMetadata/v1/instance/attributes/worker-network-endpoints"
    " | tr , '\\n' | sed 's|.*:|grpc://|' | paste -sd,"
)

# The program runs on one host and drives all: the system image of a slice has started TensorFlow's
# server on each of them.
_WORKER = "--worker=0"

# In the VM's home folder.
_PID, _EXIT_CODE = "keras_nas.pid", "keras_nas.exit_code"

Command = list[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """A TPU VM, or a slice of several.

    Attributes:
        name: Of the VM and of the queued resource that asks for it.
        zone: Of Google Cloud, as "us-west4-a".
        type: Kind and size, as "v3-8" or "v5litepod-16".
        project: Google Cloud project; "" is gcloud's default.
        spot: Cheaper, and taken away at any time.

    Raises:
        ValueError: A name that gcloud refuses, or an unknown type.
    """

    name: str
    zone: str
    type: str
    project: str = ""
    spot: bool = True

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z]([a-z0-9-]{0,60}[a-z0-9])?", self.name):
            raise ValueError(
                "--name should be lower-case letters, digits and hyphens, a letter first; received "
                f"{self.name!r}."
            )
        if not self.zone:
            raise ValueError("--zone is missing: where the TPU is, as us-west4-a.")
        kind, _, size = self.type.rpartition("-")
        if kind not in RUNTIMES or not size.isdigit() or not int(size):
            raise ValueError(
                f"--type should be one of {', '.join(RUNTIMES)} and a size, as v5litepod-8; "
                f"received {self.type!r}."
            )

    @property
    def is_slice(self) -> bool:
        """Whether it has several hosts."""
        return int(self.type.rpartition("-")[2]) > ONE_HOST

    @property
    def runtime(self) -> str:
        """Its system image."""
        return SLICE_RUNTIME if self.is_slice else RUNTIMES[self.type.rpartition("-")[0]]

    def place(self) -> list[str]:
        """The flags that say where."""
        return [f"--zone={self.zone}", *([f"--project={self.project}"] if self.project else [])]


def create(machine: Machine) -> Command:
    """Asks for the VM: a queued resource."""
    return [
        *_queued("create", machine),
        f"--node-id={machine.name}",
        f"--accelerator-type={machine.type}",
        f"--runtime-version={machine.runtime}",
        *(["--spot"] if machine.spot else []),
        "--quiet",
    ]


def state(machine: Machine) -> Command:
    """Prints the request's state: WAITING_FOR_RESOURCES, PROVISIONING, ACTIVE, SUSPENDED, ..."""
    return [*_queued("describe", machine), "--format=value(state.state)"]


def delete(machine: Machine) -> Command:
    """Deletes the VM and the request."""
    return [*_queued("delete", machine), "--force", "--quiet"]


def pack(source: str, archive: str) -> Command:
    """Packs the last commit of the project in `source`; a command of git's."""
    return ["git", "-C", source, "archive", "--format=tar.gz", f"--output={archive}", "HEAD"]


def copy(machine: Machine, archive: str) -> Command:
    """Copies the packed project there."""
    target = f"{machine.name}:{ARCHIVE}"
    return [*_vm("scp"), archive, target, *machine.place(), _WORKER, "--quiet"]


def install(machine: Machine) -> Command:
    """Unpacks and installs it, with TensorFlow for TPUs in TensorFlow's place."""
    steps = [
        "rm -rf keras_nas && mkdir keras_nas",
        f"tar -xzf {ARCHIVE} -C keras_nas",
        "cd keras_nas",
        "python3 -m pip install --user --quiet uv",
        "python3 -m uv venv --quiet --clear --python 3.11 $HOME/venv",
        # tensorflow-tpu has the same files as tensorflow: only one of them can be installed.
        "echo \"tensorflow ; sys_platform == 'never'\" > without_tensorflow.txt",
        f"python3 -m uv pip install --quiet --python {_PYTHON} "
        "--override without_tensorflow.txt '.[tpu]'",
    ]
    return _on_host(machine, " && ".join(steps))


def start(machine: Machine, arguments: Sequence[str]) -> Command:
    """Starts the program, unless it runs; it goes on without the connection.

    On a slice it must not load the TPU's library, as the server beside it has, and gets the
    addresses of all hosts.
    """
    program = f"{_PYTHON} {shlex.join(['-m', 'keras_nas', *arguments])}"
    if machine.is_slice:
        program = (
            f"hosts=$({_ADDRESSES}); "
            f'if test -n "$hosts"; then TPU_LOAD_LIBRARY=0 {program} --tpu=$hosts; '
            "else echo error: the metadata server names no hosts of this slice; false; fi"
        )
    inside = f"{program}; echo $? > $HOME/{_EXIT_CODE}"
    return _on_host(
        machine,
        f"if kill -0 $(cat {_PID} 2>/dev/null) 2>/dev/null; then echo running already; else "
        f"rm -f {_EXIT_CODE} && cd keras_nas && "
        f"{{ nohup setsid sh -c {shlex.quote(inside)} >> $HOME/{LOG} 2>&1 < /dev/null & "
        f"echo $! > $HOME/{_PID}; }}; fi",
    )


def progress(machine: Machine) -> Command:
    """Prints `exit CODE`, `running` or `stopped`."""
    return _on_host(
        machine,
        f"if test -e {_EXIT_CODE}; then echo exit $(cat {_EXIT_CODE}); "
        f"elif kill -0 $(cat {_PID} 2>/dev/null) 2>/dev/null; then echo running; "
        "else echo stopped; fi",
    )


def logs(machine: Machine, *, follow: bool, lines: int) -> Command:
    """Prints the end of the program's log, and what is added to it."""
    return _on_host(machine, f"tail -n {lines} {'-F ' if follow else ''}{LOG}")


def _on_host(machine: Machine, script: str) -> Command:
    """Runs a shell script where the program runs."""
    return [
        *_vm("ssh"), machine.name, *machine.place(), _WORKER, "--quiet", f"--command={script}"
    ]  # fmt: skip


def _queued(verb: str, machine: Machine) -> Command:
    return [
        "gcloud", "compute", "tpus", "queued-resources", verb, machine.name, *machine.place()
    ]  # fmt: skip


def _vm(verb: str) -> Command:
    return ["gcloud", "compute", "tpus", "tpu-vm", verb]
