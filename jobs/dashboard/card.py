"""What the dashboard knows of a model beyond its scores: its card, and how reliable its probabilities were."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from sentiment_core.artifact import Model, bundled_model_path, load_model
from sentiment_core.errors import InputError

__all__ = ["Card", "read_cards"]

_Z = 1.959964
# The page's own headings end at this level.
_DEEPEST = 3


@dataclass(frozen=True, kw_only=True)
class Card:
    """A model that scored some of the marts' reviews.

    Attributes
    ----------
    sha256 : str
    html : Markup
        The card, from its Markdown; whatever HTML it held shows as text.
    reliability : list of dict
        Of each step of probability with held-out reviews: their number, mean probability, positive share, and the
        share's Wilson 95 % interval.
    """

    sha256: str
    html: Markup
    reliability: list[dict[str, Any]]


def read_cards(paths: Sequence[Path], *, models: Sequence[str]) -> list[Card]:
    """Cards of models by their directories; without any, of the bundled model if it is one of those that scored.

    Parameters
    ----------
    paths : sequence of Path
    models : sequence of str
        SHA-256 of each model in the marts.

    Raises
    ------
    InputError
        If a named model is none, or scored nothing in the marts.
    """
    cards = []
    for path in paths or [bundled_model_path()]:
        model = load_model(path, kind="sentiment")
        if model.sha256 in models:
            cards.append(_card(model))
        elif paths:
            others = ", ".join(sha256[:12] for sha256 in models) or "none"
            raise InputError(
                f"--model {path} ({model.sha256[:12]}) scored nothing in these marts; models there: {others}"
            )
    return cards


def _card(model: Model) -> Card:
    rows = [row for row in model.metrics.get("calibration_table") or [] if row["n"]]
    return Card(
        sha256=model.sha256,
        html=_as_html(model.card),
        reliability=[{**row, **_interval(row["positive_share"], row["n"])} for row in rows],
    )


def _interval(share: float, n: int) -> dict[str, float]:
    """Wilson's 95 % interval."""
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z * math.sqrt(share * (1 - share) / n + (_Z / (2 * n)) ** 2) / (1 + _Z**2 / n)
    return {"low": max(0.0, centre - half), "high": min(1.0, centre + half)}


def _as_html(card: str) -> Markup:
    """The card below a heading of the page, without its picture, which the page draws itself."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = [token for token in markdown.parse(card) if not _is_picture(token)]
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1:]) + _DEEPEST)}"
    # Its own escaping is markdown-it's: with `html` off, every text and attribute.
    return Markup(markdown.renderer.render(tokens, markdown.options, {}))  # noqa: S704, see above


def _is_picture(token: Token) -> bool:
    return token.type == "inline" and any(child.type == "image" for child in token.children or [])
