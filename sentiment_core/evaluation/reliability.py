"""A reliability diagram of a model's probabilities, as SVG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from sentiment_core.errors import EnvironmentFault

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["reliability_plot", "require_matplotlib"]

_INK, _BLUE, _GREY = "#24292f", "#0b5cad", "#8c959f"
_STYLE = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.alpha": 0.25,
    "grid.color": _GREY,
    "grid.linewidth": 0.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "reliability",  # else the names of its parts are random
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


def require_matplotlib() -> None:
    """Refuse to begin what cannot be finished.

    Raises
    ------
    EnvironmentFault
        If matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise EnvironmentFault(
            "the plot of a model card needs matplotlib, which is not installed: "
            "pip install 'sentiment-warehouse[training]'"
        )


def reliability_plot(table: Sequence[Mapping[str, Any]], *, title: str) -> str:
    """How often reviews of about one probability are positive, with one standard error, and how many those are.

    Parameters
    ----------
    table : sequence of mapping
        Rows of `calibration_table`.
    title : str
        Stands above the diagram.

    Returns
    -------
    str
        SVG with text as text, the same on every call.

    Raises
    ------
    EnvironmentFault
        If matplotlib is not installed.
    """
    require_matplotlib()
    import matplotlib as mpl
    from matplotlib import style

    buffer = io.StringIO()
    with mpl.rc_context():
        style.use("default")  # not what somebody's matplotlibrc says
        mpl.rcParams.update(_STYLE)
        reliability_figure(table, title=title).savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def reliability_figure(table: Sequence[Mapping[str, Any]], *, title: str) -> Figure:
    from matplotlib.figure import Figure  # not pyplot, which keeps figures and asks for a display
    from matplotlib.ticker import MaxNLocator

    n, start, end, predicted, share = (
        np.array([row[name] for row in table], np.float64)
        for name in ("n", "from", "to", "mean_probability", "positive_share")
    )
    figure = Figure(figsize=(6.0, 6.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    figure.suptitle(title, parse_math=False)
    above.plot([0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=1, label="perfectly calibrated")
    # Wilson's interval for one standard error: of a bin whose reviews are all of one class it has a length too.
    centre, half = (share + 0.5 / n) / (1 + 1 / n), np.sqrt(share * (1 - share) / n + 0.25 / n**2) / (1 + 1 / n)
    error = np.maximum([share - centre + half, centre + half - share], 0)  # rounding may leave less than nothing
    measured = {"color": _BLUE, "linewidth": 1.2, "marker": "o", "markersize": 5, "capsize": 2.5}
    above.errorbar(predicted, share, yerr=error, label="measured, with one standard error", **measured)
    above.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="share of positive reviews")
    # Outside the axes, where no point can lie under it.
    above.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, frameon=False)
    below.bar(start, n, width=end - start, align="edge", color=_BLUE, edgecolor="white", linewidth=1)
    below.set(xlabel="predicted probability", ylabel="reviews")
    below.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
    below.yaxis.set_major_formatter("{x:,.0f}")
    return figure
