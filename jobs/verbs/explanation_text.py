"""An explanation for a terminal."""

from __future__ import annotations

from sentiment_core.scoring.explanation import Explanation
from sentiment_core.scoring.status import UNFAMILIAR

__all__ = ["explanation_text"]

# Backgrounds from faint to strong, of 256 colours; blue and orange are told apart by nearly everybody.
_UP, _DOWN = (153, 117, 75), (223, 216, 208)


def explanation_text(explanation: Explanation, *, coloured: bool) -> str:
    """The words, those that lift the score on blue and those that lower it on orange, and the strongest in figures."""
    if explanation.logit is None or explanation.positive_probability is None:
        return "no token, no score\n\n"
    largest = explanation.largest_change
    words = " ".join(
        "".join(_marked(token, change / largest) if coloured else token for token, change in chunk)
        for chunk in explanation.scored_chunks()
    )
    unread = len(explanation.tokens) - len(explanation.changes)
    lines = [
        words + (f" ... and {unread:,} tokens that the model does not read" if unread else ""),
        f"{explanation.sentiment}, probability {explanation.positive_probability:.3f}, logit {explanation.logit:+.2f}",
    ]
    if explanation.status == UNFAMILIAR:
        lines.append("unfamiliar: the model knows too few of the words for the score to mean much")
    for name, terms in zip(("lifted by", "lowered by"), explanation.strongest(8)):
        if terms:
            lines.append(f"{name:10} " + ", ".join(f"{token} {change:+.2f}" for token, change in terms))
    return "\n".join(lines) + "\n\n"


def _marked(token: str, strength: float) -> str:
    """The token on a colour; strength from -1 to 1, and none below 0.1."""
    if abs(strength) < 0.1:
        return token
    shades = _UP if strength > 0 else _DOWN
    shade = shades[min(2, int(abs(strength) * 3))]
    return f"\033[48;5;{shade}m\033[38;5;16m{token}\033[0m"
