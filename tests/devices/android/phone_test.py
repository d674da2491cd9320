"""A phone's state, from recorded output and from the real commands, and waiting for it to cool."""

import pytest

from keras_nas.devices import DeviceError
from keras_nas.devices.adb import Adb
from keras_nas.devices.phone import Facts, Phone
from keras_nas.devices.phone_state import PhoneState, read_state

SAMSUNG = """\
IsStatusOverride: false
ThermalEventListeners:
	callbacks: 1
	killed: false
	broadcasts count: -1
Thermal Status: 1
Cached temperatures:
	Temperature{mValue=0.0, mType=2, mName=SUBBAT, mStatus=0}
	Temperature{mValue=55.6, mType=3, mName=LRB, mStatus=0}
HAL Ready: true
HAL connection:
	ThermalHAL 2.0 connected: yes
Current temperatures from HAL:
	Temperature{mValue=25.6, mType=0, mName=AP, mStatus=0}
	Temperature{mValue=23.8, mType=2, mName=BAT, mStatus=0}
	Temperature{mValue=24.7, mType=3, mName=LRB, mStatus=0}
	Temperature{mValue=24.9, mType=3, mName=LRF, mStatus=0}
	Temperature{mValue=0.0, mType=4, mName=USB, mStatus=0}
Current cooling devices from HAL:
Temperature static thresholds from HAL:
"""
REST = "@zones\ncpu-0-0-usr 61000\nbattery 290\nskin_therm 33\n@saver 0\n@clock 4 2800000 2800000\n"


def test_recorded_output_of_a_phone():
    assert read_state(SAMSUNG + REST) == PhoneState(1, 24.9, False, {4: (2800000, 2800000)})


@pytest.mark.parametrize(
    ("zones", "celsius"),
    [
        ("cpu-0-0-usr 61000\nbattery 290\nskin_therm 33", 33),  # each kernel in a unit of its own
        ("cpu-0-0-usr 61000\nbattery 31500", 31.5),
        ("tsens_tz_sensor0 48\ntsens_tz_sensor1 51", 51),
        ("usb\nbattery cat: Permission denied", None),
        ("", None),
    ],
)
def test_old_phones_tell_their_temperature_through_the_kernel(zones, celsius):
    state = read_state(f"Can't find service: thermalservice\n@zones\n{zones}\n@saver null\n")
    assert state.thermal_status is None
    assert state.celsius == celsius
    assert not state.battery_saver


def test_sensors_without_skin():
    text = SAMSUNG.replace("mType=3", "mType=9")
    assert read_state(text + REST).celsius == 23.8
    assert read_state(text.replace("mType=2", "mType=9") + REST).celsius == 25.6


FIT = PhoneState(0, 30.0, False, {4: (2_800_000, 2_800_000)})


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (FIT, ""),
        (PhoneState(None, None, False, {}), ""),
        (PhoneState(3, 30.0, False, {}), "its thermal status is 'severe'"),
        (PhoneState(0, 30.0, True, {}), "its battery saver is on"),
        (PhoneState(0, 30.0, False, {4: None}), "core 4 is switched off"),
        (
            PhoneState(0, 30.0, False, {4: (2_800_000, 1_426_000)}),
            "core 4 may run at 1.43 GHz only, instead of 2.80 GHz",
        ),
    ],
)
def test_what_counts_as_throttled(state, reason):
    assert state.throttled() == reason


def test_a_clock_fixed_on_purpose_is_full():
    state = PhoneState(0, 30.0, False, {4: (2_800_000, 1_400_000)})
    assert state.throttled({4: 1_400_000}) == ""
    assert "1.40 GHz only, instead of 1.50" in state.throttled({4: 1_500_000})


def test_heat():
    assert FIT.hot(30.0) == ""
    assert PhoneState(0, None, False, {}).hot(30.0) == ""
    assert FIT.hot(29.5) == "it has 30.0 °C, above 29.5 °C"


@pytest.fixture
def make(fake_phone):
    def made(cores=(4, 5), highest_celsius=40.0, capped_clock=False, wait_seconds=30.0):
        adb = Adb(wait_seconds=wait_seconds, notify=fake_phone.notices.append)
        return Phone(adb, cores, highest_celsius, capped_clock)

    return made


def test_facts(fake_phone, make):
    assert make().facts == Facts("Google Pixel 6 Tensor", "arm64-v8a", "14", 8)
    (fake_phone.folder / "sys/devices/system/cpu/present").write_text("0\n")
    assert make().facts.cores == 1
    (fake_phone.folder / "sys/devices/system/cpu/present").unlink()
    with pytest.raises(DeviceError, match=r"1A2B3C does not say what it is: .*present"):
        assert make().facts


def test_a_cool_phone_is_fit_at_once(fake_phone, make):
    make().wait_until_fit()
    assert fake_phone.notices == []


def test_the_kernel_is_asked_where_there_is_no_thermal_service(fake_phone, make):
    fake_phone.program("dumpsys", 'echo "Can\'t find service: thermalservice"')
    zone = fake_phone.folder / "sys/class/thermal/thermal_zone3"
    zone.mkdir(parents=True)
    (zone / "type").write_text("battery\n")
    (zone / "temp").write_text("41200\n")
    with pytest.raises(DeviceError, match=r"it has 41\.2 °C, above 40 °C\. Cool it"):
        make(wait_seconds=0.01).wait_until_fit()
    (zone / "temp").unlink()
    make().wait_until_fit()
    assert "does not say how hot it is; only its clocks are watched" in fake_phone.notices[-1]


def test_waits_while_hot_and_throttled(fake_phone, make):
    phone = make()
    assert phone.facts.cores == 8
    for status, celsius in ((2, 44.0), (0, 40.5)):
        fake_phone.heat(status, celsius)
        hot = (fake_phone.folder / "thermalservice").read_text()
        (fake_phone.folder / f"hot{status}").write_text(hot)
        fake_phone.fail("dumpsys", after=1 - status // 2, instead=f'(cat "$PHONE/hot{status}")')
    fake_phone.heat()
    phone.wait_until_fit()
    assert any("thermal status is 'moderate'; waiting, 0 of 30 s" in n for n in fake_phone.notices)
    assert any("it has 40.5 °C" in notice for notice in fake_phone.notices)


def test_only_the_cores_in_use_are_watched(fake_phone, make):
    fake_phone.clock(0, 1_800_000, now=900_000)
    make().wait_until_fit()
    with pytest.raises(DeviceError, match=r"after \d+ s of waiting: core 0 may run at 0\.90 GHz"):
        make(cores=(), wait_seconds=0.01).wait_until_fit()


def test_a_core_that_is_switched_off(fake_phone, make):
    (fake_phone.folder / "sys/devices/system/cpu/cpu5/cpufreq/scaling_max_freq").unlink()
    with pytest.raises(DeviceError, match="core 5 is switched off"):
        make(wait_seconds=0.01).wait_until_fit()


def test_a_capped_clock_is_refused_or_taken_as_it_was(fake_phone, make):
    fake_phone.clock(4, 2_800_000, now=1_400_000)
    with pytest.raises(DeviceError, match=r"see .*highest_celsius and device\.android\.capped_clo"):
        make(wait_seconds=0.01).wait_until_fit()
    phone = make(capped_clock=True)
    phone.wait_until_fit()
    fake_phone.clock(4, 2_800_000, now=1_300_000)
    assert "1.30 GHz only, instead of 1.40" in phone.throttled()


def test_battery_saver_is_refused_at_once(fake_phone, make):
    fake_phone.program("settings", '[ "$*" = "get global low_power" ] && echo 1')
    with pytest.raises(DeviceError, match="battery saver is on, which slows it down; switch it of"):
        make().wait_until_fit()
