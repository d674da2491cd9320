"""A latency table made on the stand-in phone, whose benchmark_model runs LiteRT for real."""

import sys
from pathlib import Path

import pytest

from keras_nas.devices import AndroidDevice, Effort, profile

ROOT = Path(__file__).parents[3]
BENCHMARK_MODEL = """\
#!{python} -P
import sys, time
sys.path.insert(0, {root!r})
from keras_nas.devices.host_worker import load
from keras_nas.devices.litert_profiler import Library, ProfiledModel
flags = dict(flag.lstrip("-").split("=", 1) for flag in sys.argv[1:])
threads = int(flags["num_threads"])
call = load(flags["graph"], threads)
start = time.perf_counter()
for _ in range(20):
    call()
us = (time.perf_counter() - start) / 20 * 1e6
print("INFO: count=5 first=9 curr=9 min=9 max=9 avg=9.9 std=0", file=sys.stderr)
print(f"INFO: count=20 first=9 curr=9 min=9 max=9 avg={{us:.6g}} std=0", file=sys.stderr)
if "profiling_output_csv_file" in flags:
    model = ProfiledModel(Library(), flags["graph"], threads)
    calls = [model.profile() for _ in range(6)][1:]
    with open(flags["profiling_output_csv_file"], "w") as file:
        print("Operator-wise Profiling Info for Regular Benchmark Runs:", file=file)
        print("============================== Run Order ===========", file=file)
        print("node type, first, avg_ms, %, cdf%, mem KB, times called, name", file=file)
        for place, (kind, _) in enumerate(calls[0]):
            us = sum(call[place][1] for call in calls) / len(calls)
            name = "Delegate/" + kind.replace(",", "\\t") + ":0"
            print(f"{{kind}}, 0.1, {{us / 1000:.6g}}, 1%, 1%, 0, 1, {{name}}", file=file)
        print(file=file)
"""


@pytest.fixture
def device(fake_phone, tmp_path):
    binary = tmp_path / "litert_benchmark_model"
    binary.write_text(BENCHMARK_MODEL.format(python=sys.executable, root=str(ROOT)))
    return AndroidDevice(benchmark_model=str(binary), notify=fake_phone.notices.append)


def test_a_table_profiled_in_place_on_a_phone(fake_phone, device, space, tmp_path, monkeypatch):
    monkeypatch.setattr(profile, "FINEST_US", 0.0)  # also such a tiny space
    effort = Effort(rounds=1, min_processes=2, max_processes=2)
    table = profile.build_latency_table(
        space, 3, device, tmp_path / "samples", networks=3, effort=effort
    )
    assert table.device.name == "android"
    assert table.method.startswith("operations profiled inside")
    assert len(table.entries) > 3 and sum(table.entries.values()) > 0  # some take below 1 us
    for row in table.calibration:
        assert row.predicted_ms == pytest.approx(row.measured_ms, rel=1)  # microseconds, one round
    assert fake_phone.notices == [] and fake_phone.files == []
