import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def program():
    """The module `program.py` beside this file."""
    spec = importlib.util.spec_from_file_location(
        "tpu_test_program", Path(__file__).with_name("program.py")
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
