"""What is hidden while TensorFlow is imported, and that it is back afterwards."""

import gc
import importlib
import importlib.util
import subprocess
import sys

import pytest

from keras_nas import imports


@pytest.fixture
def extra(monkeypatch):
    """A module that nobody has imported, in the place of Keras' extras."""
    monkeypatch.setattr(imports, "KERAS_EXTRAS", ("wave",))
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    return "wave"


def test_extras_are_hidden_inside_only(extra):
    with imports.lean_imports():
        assert not gc.isenabled()
        with pytest.raises(ImportError):
            importlib.import_module(extra)
    assert gc.isenabled() and gc.get_freeze_count() > 1000
    assert importlib.import_module(extra).Wave_read


def test_everything_is_as_before_after_an_error(extra):
    with pytest.raises(ZeroDivisionError), imports.lean_imports():
        1 / 0  # noqa: B018
    assert gc.isenabled() and extra not in sys.modules


def test_what_is_there_already_stays(extra):
    module = importlib.import_module(extra)
    gc.disable()
    try:
        with imports.lean_imports():
            assert importlib.import_module(extra) is module
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert sys.modules[extra] is module


def test_tensorflow_s_library_is_loaded_beside_a_block():
    program = (
        "import sys\n"
        "from keras_nas.imports import tensorflow_library_beside\n"
        "with tensorflow_library_beside():\n"
        "    pass\n"
        "print('libtensorflow_cc' in open('/proc/self/maps').read(), 'tensorflow' in sys.modules)\n"
        "import tensorflow\n"
        "print(int(tensorflow.constant(1) + 1))\n"
    )
    output = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert output.split() == ["True", "False", "2"]


def test_without_the_library_nothing_is_loaded(monkeypatch, tmp_path):
    monkeypatch.setattr(imports.threading, "Thread", None)  # whoever calls it fails
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    (tmp_path / "tensorflow.py").touch()
    for path, found in (([], False), ([str(tmp_path)], True)):
        monkeypatch.setattr(sys, "path", path)
        assert (importlib.util.find_spec("tensorflow") is not None) is found
        with imports.tensorflow_library_beside():
            pass


def test_a_start_imports_neither_extras_nor_statistics():
    """They would take two of the seconds until a resumed run trains on."""
    program = (
        "import sys\n"
        "from keras_nas.imports import KERAS_EXTRAS, lean_imports\n"
        "with lean_imports():\n"
        "    from keras_nas import stages\n"
        "from keras_nas.data import sources\n"
        "sources.load('digits', resolution=8)\n"
        "print([name for name in (*KERAS_EXTRAS, 'scipy.stats') if name in sys.modules])\n"
    )
    output = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert output.strip() == "[]"
