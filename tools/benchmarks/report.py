"""What a benchmark measured, as tables and as a plot, and the machine that it ran on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tools.benchmarks.figures import Spread, markdown_table

__all__ = ["comparison_table", "machine", "plot", "scaling_table"]

_PACKAGES = ("sentiment-warehouse", "mxnet", "gluonnlp", "onnxruntime", "torch", "spacy", "scikit-learn", "pyspark")


def machine() -> dict[str, Any]:
    """Processor and versions; no name of the machine."""
    return {"processor": _processor(), "python": platform.python_version(), "versions": _versions()}


def comparison_table(comparison: dict[str, Any]) -> str:
    """The contestants as Markdown, and the figures beside them."""
    rows = []
    for name, row in comparison["contestants"].items():
        rows.append(
            [
                name,
                f"{Spread(**row['reviews_per_second']):,.0f}",
                f"{row['tokens_per_second']['median']:,.0f}",
                f"{Spread(**row['against_reference']):.2f}" if "against_reference" in row else "",
                f"{row['share_of_limit']:.0%}" if "share_of_limit" in row else "",
                f"{row['peak_memory_bytes'] / 1e6:,.0f}",
                "" if row["accuracy"] is None else f"{row['accuracy']:.2%}",
                "" if row["accuracy_labelled"] is None else f"{row['accuracy_labelled']:.2%}",
                f"{row['largest_change_from_oracle']:.1e}" if "largest_change_from_oracle" in row else "",
                f"{row['price_per_million']:.3f}",
            ]
        )
    header = ["contestant", "reviews/s", "tokens/s", "x reference", "of the limit", "peak MB", "accuracy", "on all"]
    limit = comparison["limits"]["giga_operations_per_second"]
    waste = {name: row["padding_waste"] for name, row in comparison["contestants"].items() if "padding_waste" in row}
    return "\n".join(
        [
            f"{comparison['reviews']:,} reviews of {comparison['tokens']:,} tokens, medians of {comparison['rounds']} "
            "rounds (lowest to highest); accuracy on reviews that no contestant learnt from, and on all labelled ones",
            markdown_table([*header, "from the oracle", "price of 1e6"], rows),
            f"limits: float32 {limit['float32']:,.0f}, int8 {limit['int8']:,.0f} giga-operations/s",
            f"tokenising: {Spread(**comparison['tokenising_reviews_per_second_a_core']):,.0f} reviews/s on one core",
            f"predict, one sentence: {Spread(**comparison['predict_seconds']):.2f} s",
            "padding: " + ", ".join(f"{name} {share:.1%}" for name, share in waste.items()),
        ]
    )


def scaling_table(scaling: list[dict[str, Any]]) -> str:
    """Rows and cores as Markdown."""
    return markdown_table(
        ["rows", "cores", "bare, s", "score job, s", "job's share of bare speed", "worker peak MB", "price of 1e6"],
        [
            [
                f"{row['rows']:,}",
                str(row["cores"]),
                f"{Spread(**row['bare_seconds']):.1f}",
                f"{Spread(**row['job_seconds']):.1f}",
                f"{Spread(**row['job_share_of_bare']):.0%}",
                f"{row['worker_peak_memory_bytes'] / 1e6:,.0f}",
                f"{row['price_per_million']:.3f}",
            ]
            for row in scaling
        ],
    )


def plot(results: dict[str, Any], path: Path) -> None:
    """Speeds of the contestants, and time over rows."""
    from matplotlib.figure import Figure  # not pyplot, which keeps figures and asks for a display

    contestants = results.get("comparison", {}).get("contestants", {})
    scaling = results.get("scaling", [])
    parts = [part for part, there in ((_plot_speeds, contestants), (_plot_scaling, scaling)) if there]
    figure = Figure(figsize=(6.5 * len(parts), 5), layout="constrained")
    axes = figure.subplots(1, len(parts), squeeze=False)
    for part, axis in zip(parts, axes[0]):
        part(axis, results)
    figure.savefig(path, metadata={"Date": None})


def _plot_speeds(axis: Any, results: dict[str, Any]) -> None:
    contestants = results["comparison"]["contestants"]
    speeds = {name: Spread(**row["reviews_per_second"]) for name, row in reversed(contestants.items())}
    middle = [speed.median for speed in speeds.values()]
    errors = [
        [speed.median - speed.low for speed in speeds.values()],
        [speed.high - speed.median for speed in speeds.values()],
    ]
    ours = [bool("padding_waste" in contestants[name] or "score job" in name) for name in speeds]
    bars = axis.barh(list(speeds), middle, xerr=errors, color=["tab:blue" if own else "tab:grey" for own in ours])
    axis.bar_label(bars, fmt="{:,.0f}", padding=4)
    axis.set(xlabel=f"reviews/s, {results['machine']['cores']} cores", xlim=(0, 1.3 * max(middle)))


def _plot_scaling(axis: Any, results: dict[str, Any]) -> None:
    for cores in sorted({row["cores"] for row in results["scaling"]}):
        rows = [row for row in results["scaling"] if row["cores"] == cores]
        for kind, style in (("job", "o-"), ("bare", "x--")):
            label = f"{'score job' if kind == 'job' else kind}, cores: {cores}"
            seconds = [row[f"{kind}_seconds"]["median"] for row in rows]
            axis.plot([row["rows"] for row in rows], seconds, style, label=label)
    axis.set(xlabel="reviews", ylabel="seconds, start-up aside", xscale="log", yscale="log")
    axis.legend()


def _processor() -> str:
    """The processor's name and the matrix instructions that it has."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    known = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {name.strip(): value.strip() for name, value in known.items()}
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8")
    return " ".join(
        [fields.get("model name", platform.machine()), *(x for x in fields.get("flags", "").split() if x in wanted)]
    )


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found
