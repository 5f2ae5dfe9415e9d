"""Puts the scripts next to this folder on the path and offers the exporter as a user runs it."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

TRAINING = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TRAINING))


@pytest.fixture
def run_exporter():
    """Runs `export_gricebench.py` in a process of its own; returns it, with what it printed."""

    def run(*arguments):
        command = [sys.executable, str(TRAINING / "export_gricebench.py"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"})

    return run
