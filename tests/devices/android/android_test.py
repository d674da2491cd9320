"""The phone as a device: what is run on it, what comes back, and everything that goes wrong."""

import hashlib

import pytest

from keras_nas.devices import DeviceError, Effort, android, measure_network, timing
from keras_nas.devices.android import AndroidDevice
from keras_nas.devices.device import ProfilingDevice

CONVOLUTION = "Convolution (NHWC, F32) IGEMM"
ROWS = (
    f"{CONVOLUTION}, 0.3, 0.25, 50%, 50%, 0, 1, Delegate/Convolution (NHWC\t F32) IGEMM:0\n"
    "SOFTMAX, 0.1, 0.0005, 50%, 100%, 0, 1, [out]:1\n"
)


@pytest.fixture
def models(tmp_path):
    """Name -> file of models that take 100, 200, ... microseconds."""
    paths = {}
    for number, name in enumerate(("reference", "a", "b", "c"), start=1):
        paths[name] = tmp_path / f"{name}.tflite"
        paths[name].write_text(f"{100 * number}\n{ROWS}")
    return paths


@pytest.fixture
def make(fake_phone, binary, monkeypatch):
    monkeypatch.setattr(android, "MODELS_PER_REFERENCE", 2)

    def made(**settings):
        settings = {"benchmark_model": str(binary), "wait_seconds": 30.0, **settings}
        return AndroidDevice(notify=fake_phone.notices.append, **settings)

    return made


def run(device, models, rounds=2, seed=0, on_round=lambda done: None, method="run"):
    models = dict(models)
    reference = models.pop("reference")
    arguments = {"rounds": rounds, "seed": seed, "on_round": on_round}
    return getattr(device, method)(models, reference, **arguments)


def expected(models, rounds=2):
    names = list(models)[1:]
    ms = {name: [pytest.approx(0.1 * n)] * rounds for n, name in enumerate(names, start=2)}
    return ms, {name: [pytest.approx(0.1)] * rounds for name in names}


def test_times_of_all_models_and_nothing_stays_on_the_phone(fake_phone, make, models):
    seen = []
    samples = run(make(), models, on_round=seen.append)
    assert (samples.ms, samples.reference_ms) == expected(models)
    assert seen == [1, 2]
    assert fake_phone.files == []
    assert fake_phone.notices == []


def test_rounds_are_shuffled_by_the_seed_with_the_reference_in_between(fake_phone, make, models):
    def graphs(**arguments):
        before = len(fake_phone.lines("ran"))
        run(make(), models, **arguments)
        return [line.split()[0] for line in fake_phone.lines("ran")[before:]]

    first = graphs()
    assert [n for n, graph in enumerate(first) if graph == "--graph=0.tflite"] == [0, 3, 5, 8]
    assert sorted(first[:5]) == sorted(first[5:]) and first[:5] != first[5:]  # groups of two
    assert graphs(rounds=1) == first[:5]
    assert graphs(rounds=1, seed=1) != first[:5]


def test_threads_delegate_and_cores(fake_phone, make, models):
    few = {name: models[name] for name in ("reference", "a")}
    run(make(threads=2, xnnpack=False, taskset_mask="0xF0"), few, rounds=1)
    assert fake_phone.lines("masks") == ["f0", "f0"]
    flags = fake_phone.lines("ran")[0].split()
    assert {"--num_threads=2", "--use_xnnpack=false", "--min_secs=0.25"} <= set(flags)
    run(make(), few, rounds=1)
    assert fake_phone.lines("masks") == ["f0", "f0"]  # and no more
    assert "--use_xnnpack=true" in fake_phone.lines("ran")[-1]


def test_description(make, binary):
    description = make(taskset_mask="80").describe()
    assert description.name == "android"
    assert description.processor == "Google Pixel 6 Tensor, cores of mask 80"
    assert description.cores == 8
    assert description.operating_system == "Android 14 arm64-v8a"
    digest = hashlib.sha256(binary.read_bytes()).hexdigest()
    assert description.runtime_version == f"sha256 {digest[:16]}"
    assert description.delegate == "XNNPACK"
    other = make(xnnpack=False).describe()
    assert (other.processor, other.delegate) == ("Google Pixel 6 Tensor", "none")
    assert make(taskset_mask="0x080").describe() == description


def test_a_phone_at_a_fixed_clock_is_another_device(fake_phone, make):
    fake_phone.clock(7, 2_800_000, now=1_400_000)
    capped = make(taskset_mask="80", capped_clock=True).describe()
    assert capped.processor == "Google Pixel 6 Tensor, cores of mask 80, 1.40 GHz"


@pytest.mark.parametrize("kind", ["new", "old"])
def test_profiles(fake_phone, make, models, old_binary, kind):
    device = make(**({"benchmark_model": str(old_binary)} if kind == "old" else {}))
    assert isinstance(device, ProfilingDevice)
    profile = run(device, models, method="profile")
    assert profile.operations == {n: [CONVOLUTION, "SOFTMAX"] for n in models if n != "reference"}
    assert profile.ms["c"] == [[0.25, 0.0005]] * 2
    assert profile.reference_ms == expected(models)[1]
    assert fake_phone.files == []


def test_profiles_that_cannot_be_used(fake_phone, make, models, monkeypatch):
    few = {name: models[name] for name in ("reference", "a")}
    few["a"].write_text(f"200\n{ROWS.replace('0, 1, Del', '0, 4, Del')}")
    with pytest.raises(
        DeviceError, match="benchmark_model on model a printed a merged profile: 'C"
    ):
        run(make(), few, method="profile")
    few["a"].write_text(f"200\n{ROWS}")
    other = "echo 'count=2 avg=1'; echo 'count=2 min=1 avg=1'; echo '== Run Order =='; echo kinds; "
    other += "echo 'MEAN, 0.1, 0.1, 1%, 1%, 0, 1, x'"
    fake_phone.fail("csv_file", after=1, instead=f"({other})")
    with pytest.raises(DeviceError, match=r"operations of a differ from one run .* to the next"):
        run(make(), few, method="profile")
    assert fake_phone.files == []


def test_goes_on_after_a_pulled_cable(fake_phone, make, models):
    fake_phone.lose("--graph=3.tflite", after=1)
    gone = "List of devices attached\n"
    ready = f"{gone}{fake_phone.serial}\tdevice\n"
    fake_phone.devices(ready, gone, gone, ready)
    samples = run(make(), models)
    assert (samples.ms, samples.reference_ms) == expected(models)
    asked = [call for call in fake_phone.calls if "--graph=" in call]
    assert len(asked) == 2 * (3 + 2) + 1  # only the lost one again
    assert "connection was lost" in fake_phone.notices[0]
    assert any("is not connected" in notice for notice in fake_phone.notices)


def test_a_cable_that_stays_out_ends_the_run_at_once(fake_phone, make, models):
    device = make(wait_seconds=0.05)
    assert device.describe()
    fake_phone.lose("--graph=", times=99)
    fake_phone.devices("List of devices attached\n")
    with pytest.raises(DeviceError, match=r"1A2B3C is not connected; .*run again to go on"):
        run(device, models)


def hot(fake_phone):
    """Leaves what a hot phone says in a file."""
    fake_phone.heat(status=2)
    (fake_phone.folder / "thermalservice").rename(fake_phone.folder / "hot")
    fake_phone.heat()


def test_what_was_measured_while_throttled_is_measured_again(fake_phone, make, models):
    few = {name: models[name] for name in ("reference", "a")}
    device = make()
    hot(fake_phone)
    fake_phone.fail("dumpsys", after=2, instead='(cat "$PHONE/hot")')  # after the first group
    samples = run(device, few, rounds=1)
    assert samples.ms == {"a": [pytest.approx(0.2)]}
    assert len(fake_phone.lines("ran")) == 4
    assert "status is 'moderate' after measuring; measuring again" in fake_phone.notices[0]


def test_a_phone_that_always_throttles_is_refused(fake_phone, make, models):
    few = {name: models[name] for name in ("reference", "a")}
    device = make()
    hot(fake_phone)
    for spared in (2, 1, 1, 1):  # cool before every group, hot after it
        fake_phone.fail("dumpsys", after=spared, instead='(cat "$PHONE/hot")')
    with pytest.raises(DeviceError, match=r"slows down after .*, 4 times in a row \(its therm"):
        run(device, few, rounds=1)
    assert fake_phone.files == []


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (
            "(echo 'ERROR: Failed to load model'; exit 1)",
            "failed with code 1 on model .*: ERROR: F",
        ),
        ("(echo Aborted; exit 134)", "was killed by signal 6 on model .*: Aborted"),
        ("(kill -9 $$)", None),  # adb's own shell dies: the connection is lost, then it is fine
        ("(exit 137)", "was killed by signal 9 on model .*: nothing"),
        (
            "(echo './benchmark_model: not executable: 64-bit ELF file'; exit 126)",
            r"cannot run .*model: .*64-bit ELF file\. Take the .* built for arm64-v8a",
        ),
        ("(echo garbage)", "on model .* printed no times of its runs; it ends with 'garbage'"),
    ],
)
def test_a_binary_that_crashes_or_talks_nonsense(fake_phone, make, models, failure, message):
    fake_phone.fail("--graph=", instead=failure)
    if message is None:
        assert run(make(), models).ms == expected(models)[0]
        return
    with pytest.raises(DeviceError, match=message) as caught:
        run(make(), models)
    assert len(str(caught.value).splitlines()) == 1
    assert fake_phone.files == []


def test_a_full_phone_is_cleaned(fake_phone, make, models):
    fake_phone.fail(
        "push", after=2, stderr="adb: error: failed to copy: No space left on device", code=1
    )
    with pytest.raises(DeviceError, match=r"storage of phone 1A2B3C is full: a\.tflite"):
        run(make(), models)
    assert fake_phone.files == []


def test_a_missing_binary(make, fake_phone, models, tmp_path):
    device = make(benchmark_model=str(tmp_path / "missing"))
    for use in (device.describe, lambda: run(device, models)):
        with pytest.raises(
            DeviceError, match=r"at .*missing; get it by `curl -O https://.*aarch64"
        ):
            use()
    assert fake_phone.calls == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threads": 0}, "number of threads"),
        ({"taskset_mask": "xyz"}, "taskset mask should be hexadecimal .* received 'xyz'"),
        ({"taskset_mask": "0"}, "with a bit for each core, such as f0"),
        ({"taskset_mask": "30", "threads": 3}, "3 threads need as many cores, .* mask 30 has 2"),
        ({"highest_celsius": 0.0}, "highest_celsius should be above 0"),
        ({"wait_seconds": -1.0}, "wait_seconds should be above 0"),
    ],
)
def test_bad_settings(make, settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)


def test_a_mask_beyond_the_phone(fake_phone, make, models):
    with pytest.raises(
        DeviceError, match="mask 180 names core 8, and phone 1A2B3C has cores 0 to 7"
    ):
        run(make(taskset_mask="180"), models)


def test_measuring_a_network_in_the_unit_of_a_table(make, models):
    effort = Effort(rounds=2, min_processes=2, max_processes=2)
    network, reference = models["c"].read_bytes(), models["reference"].read_bytes()
    measurement = measure_network(make(), network, reference, 0.15, effort=effort)
    assert measurement.latency_ms == pytest.approx(0.6)  # four times the reference
    assert measurement.raw_ms == pytest.approx(0.4)
    assert measurement.device.name == "android"


def test_an_interrupted_measurement_goes_on(fake_phone, make, models, tmp_path):
    few = {name: models[name] for name in ("a", "b")}
    effort = Effort(rounds=1, min_processes=2, max_processes=2)
    fake_phone.fail("--graph=2", after=1, instead="(exit 137)")
    with pytest.raises(DeviceError):
        timing.measure(make(), few, models["reference"], effort, samples_directory=tmp_path)
    before = len(fake_phone.lines("ran"))
    runs = timing.measure(make(), few, models["reference"], effort, samples_directory=tmp_path)
    assert len(runs) == 2
    assert len(fake_phone.lines("ran")) - before == 3  # one process: the reference, a and b
