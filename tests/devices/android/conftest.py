"""A phone that is a folder: real code talks to it through a stand-in for `adb`."""

import marshal
import os
import stat
import sys
from pathlib import Path

import pytest

from keras_nas.devices import adb, phone

STAND_IN = Path(__file__).with_name("adb_stand_in.py")
SERIAL = "1A2B3C"
READY = f"List of devices attached\n{SERIAL}\tdevice\n\n"
PROPERTIES = {
    "ro.product.manufacturer": "Google",
    "ro.product.model": "Pixel 6",
    "ro.soc.model": "Tensor",
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.build.version.release": "14",
}
THERMAL_SERVICE = """\
IsStatusOverride: false
Thermal Status: {status}
Cached temperatures:
	Temperature{{mValue=99.0, mType=3, mName=old, mStatus=0}}
HAL Ready: true
Current temperatures from HAL:
	Temperature{{mValue=61.0, mType=0, mName=BIG, mStatus=0}}
	Temperature{{mValue=29.0, mType=2, mName=battery, mStatus=0}}
	Temperature{{mValue={celsius}, mType=3, mName=VIRTUAL-SKIN, mStatus=0}}
Current cooling devices from HAL:
	CoolingDevice{{mValue=0, mType=2, mName=thermal-cpufreq-0}}
"""
BENCHMARK_MODEL = """\
#!/bin/sh
# A model's file holds its time in microseconds, then rows of its profile.
for flag in "$@"; do case $flag in
  --graph=*) graph=${flag#*=};;
  --profiling_output_csv_file=*) csv=${flag#*=};;
esac; done
echo "$@" >> "$PHONE/ran"
echo "INFO: STARTING!"
echo "INFO: count=4 first=9 curr=9 min=9 max=9 avg=99 std=0"
echo
echo "INFO: count=50 first=9 curr=9 min=9 max=9 avg=$(head -n 1 $graph) std=1"
[ "$csv" ] || exit 0
{ echo "Operator-wise Profiling Info for Regular Benchmark Runs:"
  echo "======== Run Order ========"
  echo "node type, first, avg_ms, %, cdf%, mem KB, times called, name"
  tail -n +2 $graph
  echo
  echo "======== Top by Computation Time ========"
} > OUTPUT
"""


class FakePhone:
    """The phone's folder, and what goes wrong."""

    serial = SERIAL

    def __init__(self, folder: Path):
        self.folder = folder
        self.notices: list[str] = []
        (folder / "bin").mkdir(parents=True)
        (folder / "data/local/tmp").mkdir(parents=True)
        self.devices(READY)
        self._store("failures", [])
        self._store("calls", [])
        names = "|".join(f"{k}) echo '{v}';;" for k, v in PROPERTIES.items()).replace(";;|", ";;\n")
        self.program("getprop", f"case $1 in\n{names}\nesac")
        self.program("settings", "echo 0")
        self.program("dumpsys", 'cat "$PHONE/thermalservice"')
        self.program("taskset", 'echo $1 >> "$PHONE/masks"; shift; exec "$@"')
        self.heat()
        cores = folder / "sys/devices/system/cpu"
        cores.mkdir(parents=True)
        (cores / "present").write_text("0-7\n")
        for core in range(8):
            self.clock(core, 2_800_000 if core > 3 else 1_800_000)

    def _store(self, name, value):
        (self.folder / name).write_bytes(marshal.dumps(value))

    def program(self, name, script):
        """A program on the phone."""
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def devices(self, *texts):
        """What `adb devices` prints, in turn; the last for ever."""
        self._store("devices", list(texts))

    def fail(self, when, times=1, **failure):
        """Something that goes wrong; see `adb_stand_in.py`."""
        failures = marshal.loads((self.folder / "failures").read_bytes())
        self._store("failures", [*failures, {"when": when, "times": times, **failure}])

    def lose(self, when, **failure):
        """The cable is pulled in the middle of a command."""
        said = f"adb: device '{SERIAL}' not found\n"
        self.fail(when, stdout="INFO: STARTING!\n", stderr=said, code=1, **failure)

    def heat(self, status=0, celsius=31.5):
        """What the thermal service says."""
        text = THERMAL_SERVICE.format(status=status, celsius=celsius)
        (self.folder / "thermalservice").write_text(text)

    def clock(self, core, khz, now=None):
        """A core's highest clock, by design and now."""
        folder = self.folder / f"sys/devices/system/cpu/cpu{core}/cpufreq"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cpuinfo_max_freq").write_text(f"{khz}\n")
        (folder / "scaling_max_freq").write_text(f"{now or khz}\n")

    @property
    def calls(self):
        """Command lines that adb got, without `devices`, as text."""
        calls = marshal.loads((self.folder / "calls").read_bytes())
        return [" ".join(call) for call in calls if call != ["devices"]]

    @property
    def files(self):
        """What lies in the folder that may be written."""
        return sorted(path.name for path in (self.folder / "data/local/tmp").rglob("*"))

    def lines(self, name):
        """What a program on the phone wrote down."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def fake_phone(tmp_path, monkeypatch):
    """A phone that is connected and cool; `adb` is first in PATH; nobody waits long."""
    made = FakePhone(tmp_path / "phone")
    program = made.folder / "adb" / "adb"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable} -IS\n{STAND_IN.read_text()}")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(adb, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(adb, "NOTICE_SECONDS", 0.0)
    monkeypatch.setattr(phone, "COOL_SECONDS", 0.01)
    monkeypatch.setattr(phone, "NOTICE_SECONDS", 0.0)
    return made


@pytest.fixture
def binary(tmp_path):
    """A `benchmark_model` of today, which writes its profile to a file."""
    path = tmp_path / "android_aarch64_benchmark_model"
    path.write_text(BENCHMARK_MODEL.replace("OUTPUT", "$csv"))
    return path


@pytest.fixture
def old_binary(tmp_path):
    """One that knows no such file and prints its profile."""
    path = tmp_path / "old_benchmark_model"
    path.write_text(BENCHMARK_MODEL.replace("> OUTPUT", ""))
    return path
