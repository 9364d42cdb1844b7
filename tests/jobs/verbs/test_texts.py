"""Texts of the command line are scored without packages that only tables need."""

from __future__ import annotations

import subprocess
import sys

import pytest

PREDICT = "import sys; from jobs.cli import main; code = main(sys.argv[1:]); loaded = 'pandas' in sys.modules; "


@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_a_text_is_scored_without_pandas_which_can_still_be_imported(verb: str) -> None:
    code = PREDICT + "import pyarrow as pa; print(code, loaded, pa.array([1]).to_pandas().sum())"
    done = subprocess.run([sys.executable, "-c", code, verb, "fine café"], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0 False 1", done.stderr


def test_a_process_that_has_pandas_keeps_it() -> None:
    code = (
        "import sys; import pandas, pyarrow as pa; from jobs.verbs.texts import leave_out_pandas; leave_out_pandas(); "
        "print(pa.array([1]).to_pandas().sum())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "1\n", done.stderr
