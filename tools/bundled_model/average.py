"""Average two models that were trained alike from one model, from other seeds: better than either of them.

    python -m tools.bundled_model.average MODEL MODEL OUTPUT

After Wortsman et al. (2022), "Model soups". OUTPUT has the first one's vocabulary, settings and history; it is a model
to train further, since its calibration is that of neither.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sentiment_core.artifact import load_model, save_model
from sentiment_core.training.robustness import average_weights

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the model; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("first", "second", "output"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args(arguments)
    first, second = load_model(options.first), load_model(options.second)
    if first.text != second.text:
        raise SystemExit(f"{options.second}: has another vocabulary or other settings than {options.first}")
    weights = average_weights(first.weights, second.weights, start_share=0.5)
    save_model(replace(first, weights=weights), options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
