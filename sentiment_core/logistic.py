"""The logistic function, with the same bits on every processor and with every version of NumPy.

The ``exp`` of NumPy and of C libraries differs in the last bit between versions and processors. This module uses only
operations that IEEE 754 rounds exactly: sum, product, quotient, rounding to a whole number and scaling by a power of
two. Each is a NumPy call of its own, so that no compiler fuses two of them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["logit", "sigmoid"]

# Beyond it the result is 0 or 1 in float64.
_LARGEST = 800.0
# Arguments are rounded to multiples of its inverse. Two different arguments then differ by more than the error of the
# polynomial, so that the result never falls where the argument rises.
_STEPS = 2.0**46
_LOG2_E = float.fromhex("0x1.71547652b82fep+0")
# ln 2 in two parts (fdlibm, e_exp.c): products of the high part with whole numbers below 2 ** 11 are exact.
_LN2_HIGH, _LN2_LOW = float.fromhex("0x1.62e42feep-1"), float.fromhex("0x1.a39ef35793c76p-33")
# Taylor's series of exp. For |r| <= ln(2) / 2 the rest is below 5e-18, less than a rounding.
_COEFFICIENTS = tuple(1 / math.factorial(power) for power in range(13, -1, -1))


def sigmoid(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """``1 / (1 + exp(-value))`` of each value.

    Parameters
    ----------
    values : array of float, any shape
        Infinity is allowed; NaN gives NaN.

    Returns
    -------
    array of float64, same shape, 0 to 1
        Never falls where ``values`` rises. At most 2e-15 from the true value, and above 1e-300 at most 1e-14 of it.
    """
    bounded = np.clip(values.astype(np.float64), -_LARGEST, _LARGEST)
    bounded = np.rint(bounded * _STEPS) / _STEPS
    # Of a number that is not positive, so that nothing overflows.
    decay = _exp(-np.abs(bounded))
    probability: npt.NDArray[np.float64] = np.where(bounded < 0, decay, 1.0) / (1.0 + decay)
    return probability


def logit(probabilities: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """``log(p / (1 - p))`` of each probability, finite: 0 and 1 are taken for the doubles next to them that have one.

    Parameters
    ----------
    probabilities : array of float, any shape, 0 to 1
        NaN gives NaN.
    """
    bounded = np.clip(probabilities.astype(np.float64), np.finfo(np.float64).tiny, 1 - 2.0**-53)
    logits: npt.NDArray[np.float64] = np.log(bounded) - np.log1p(-bounded)
    return logits


def _exp(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """``exp`` of values from -800 to 0: 2 to the power of a whole number, times a polynomial of what is left."""
    power = np.rint(values * _LOG2_E)
    rest = (values - power * _LN2_HIGH) - power * _LN2_LOW
    total = np.full_like(rest, _COEFFICIENTS[0])
    for coefficient in _COEFFICIENTS[1:]:
        total = total * rest + coefficient
    with np.errstate(invalid="ignore"):  # NaN is no whole number; it stays NaN
        scaled: npt.NDArray[np.float64] = np.ldexp(total, power.astype(np.int32))
    return scaled
