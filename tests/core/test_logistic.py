"""The logistic function: right, monotone, and the same bits with any kernels of NumPy."""

from __future__ import annotations

import os
import subprocess
import sys
from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment_core.logistic import logit, sigmoid
from sentiment_core.text.familiarity import word_rarity
from sentiment_core.text.pipeline import SPECIAL_TOKENS, Vocabulary

ROOT = Path(__file__).parents[2]
anything = st.floats(-1e6, 1e6) | st.floats(-40, 40) | st.floats(-1e-6, 1e-6) | st.floats(allow_nan=False)


def one(value: float) -> float:
    return float(sigmoid(np.array([value]))[0])


def true_sigmoid(value: float) -> Decimal:
    return 1 / (1 + (-Decimal(value)).exp())


@given(value=st.floats(-690, 690) | st.floats(-40, 40) | st.floats(-1e-6, 1e-6))
def test_it_is_the_logistic_function(value: float) -> None:
    with localcontext(prec=400):
        error = abs(Decimal(one(value)) - true_sigmoid(value))
        assert error <= Decimal("2e-15")
        assert error <= Decimal("1e-14") * true_sigmoid(value)


@given(value=anything, other=anything)
def test_it_never_falls(value: float, other: float) -> None:
    assert (value <= other and one(value) <= one(other)) or (value > other and one(value) >= one(other))


@given(middle=st.floats(-745, 745) | st.floats(-1e-6, 1e-6))
def test_it_never_falls_between_neighbours(middle: float) -> None:
    """The error of a polynomial could be larger than the step from a number to the next."""
    steps = np.float64(middle) + np.arange(-200, 201) * np.spacing(abs(middle))
    assert (np.diff(sigmoid(steps)) >= 0).all()


@given(value=anything)
def test_both_sides_add_up_to_one(value: float) -> None:
    assert one(value) + one(-value) == pytest.approx(1, abs=2.0**-51)


def test_its_ends_and_its_middle() -> None:
    values = np.array([[-np.inf, np.inf], [-800.0, 1e300], [0.0, -0.0]])
    np.testing.assert_array_equal(sigmoid(values), [[0, 1], [0, 1], [0.5, 0.5]])
    assert np.isnan(one(np.nan))
    assert sigmoid(np.zeros((0, 3), np.float32)).shape == (0, 3)


def test_float32_is_taken_as_it_is() -> None:
    values = np.linspace(-20, 20, 999, dtype=np.float32)
    np.testing.assert_array_equal(sigmoid(values), sigmoid(values.astype(np.float64)))


DIGEST = """
import hashlib, numpy as np
from sentiment_core.logistic import sigmoid
values = np.arange(-400_000, 400_000) / 9_999
print(hashlib.sha256(sigmoid(values).tobytes()).hexdigest(), hashlib.sha256(np.exp(-abs(values)).tobytes()).hexdigest())
"""


def test_numpys_kernels_of_other_processors_give_the_same_bits() -> None:
    """NumPy chooses kernels by the processor; without those of this one it takes those of an older one."""
    module = "numpy._core" if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else "numpy.core"
    ours = __import__(f"{module}._multiarray_umath", fromlist=["x"])
    found = [name for name in ours.__cpu_dispatch__ if ours.__cpu_features__[name]]
    if not found:
        pytest.skip("NumPy has one set of kernels for this processor")

    def digests(disabled: str) -> list[str]:
        environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": disabled}
        command = [sys.executable, "-c", DIGEST]
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        ).stdout.split()

    (usual, _), (older, _) = digests(""), digests(" ".join(found))
    assert usual == older


def test_no_rarity_is_near_a_half() -> None:
    """Rarities are whole thousandths of a logarithm, whose last bits differ: they must not decide the rounding."""
    ranks: npt.NDArray[np.float64] = np.arange(2, 500_000, dtype=np.float64)
    thousandths = 1000 * np.log(ranks)
    assert np.abs(thousandths - np.floor(thousandths) - 0.5).min() > 1e-9
    vocabulary = Vocabulary((*SPECIAL_TOKENS, *(f"w{chr(97 + place)}" for place in range(26))))
    assert word_rarity(vocabulary)[4:].tolist() == np.rint(thousandths[:26]).tolist()


def test_the_logit_undoes_the_logistic_function_and_is_finite() -> None:
    values = np.linspace(-30, 30, 2_001)
    np.testing.assert_allclose(logit(sigmoid(values)), values, atol=2e-3, rtol=0)
    np.testing.assert_allclose(logit(sigmoid(values[:1_001])), values[:1_001], rtol=1e-9, atol=1e-12)
    assert np.isfinite(logit(np.array([0.0, 1.0]))).all()
    assert np.isnan(logit(np.array([np.nan]))).all()
