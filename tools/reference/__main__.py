"""Write each file that is made from code.

python -m tools.reference [ROOT]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tools.reference.command_line import options_page
from tools.reference.marts import marts_page, tables
from tools.reference.views import views

__all__ = ["GENERATED", "ROOT", "main"]

ROOT = Path(__file__).parents[2]
_SETUP = "jobs/marts/queries/setup"
# By its path in the repository: what makes a file of its present text, of which it may keep parts.
GENERATED: Mapping[str, Callable[[str], str]] = {
    "docs/cli.md": lambda _: options_page(),
    "docs/reference/marts.md": marts_page,
    f"{_SETUP}/tables.sql": lambda _: tables(),
    f"{_SETUP}/views.sql": lambda _: views(),
}


def main() -> int:
    """Write the files; returns the exit code."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT
    for name, made in GENERATED.items():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(made((ROOT / name).read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
