"""Explanations as one small page: no script, nothing loaded, every word escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from sentiment_core.scoring.explanation import Explanation
from sentiment_core.scoring.status import UNFAMILIAR

__all__ = ["explanation_page"]

_STYLE = """
:root { color-scheme: light dark; --up: 30 110 220; --down: 225 115 0; }
body { font: 1rem/1.7 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.2rem; } article { border-top: 1px solid #8888; padding: .8rem 0; }
p { overflow-wrap: anywhere; margin: .4rem 0; }
mark { color: inherit; border-radius: .2em; padding: 0 .1em; }
mark { background: rgb(var(--hue) / calc(var(--s) * .45)); border-bottom: 2px solid rgb(var(--hue) / var(--s)); }
mark.up { --hue: var(--up); } mark.down { --hue: var(--down); border-bottom-style: dashed; }
small, .unread { opacity: .75; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { text-align: left; padding: 0 1rem 0 0; font-weight: normal; vertical-align: top; } th { white-space: nowrap; }
"""


def explanation_page(explanations: Sequence[Explanation], *, model_sha256: str, engine: str) -> str:
    """HTML of explained texts.

    Parameters
    ----------
    explanations : sequence of Explanation
    model_sha256, engine : str
        What scored them.
    """
    articles = "\n".join(map(_article, explanations))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>What moved the scores</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>What moved the scores</h1>
<p><small>Words on blue with a solid line lift the score, words on orange with a dashed line lower it, each by what it
changed of the logit. Model {escape(model_sha256[:12])}, {escape(engine)}.</small></p>
{articles}
</body>
</html>
"""


def _article(explanation: Explanation) -> str:
    if explanation.logit is None or explanation.positive_probability is None:
        return "<article><p>No token, no score.</p></article>"
    largest = explanation.largest_change
    words = " ".join(
        "".join(_marked(token, change, largest=largest) for token, change in chunk)
        for chunk in explanation.scored_chunks()
    )
    unread = " ".join(escape(token) for token in explanation.tokens[len(explanation.changes) :])
    rest = f' <span class="unread" title="not read by the model">{unread}</span>' if unread else ""
    rows = "".join(
        f"<tr><th>{name}</th><td>{', '.join(f'{escape(token)} {change:+.2f}' for token, change in terms)}</td></tr>"
        for name, terms in zip(("lifted by", "lowered by"), explanation.strongest(8))
        if terms
    )
    doubt = "<p>Unfamiliar: the model knows too few of the words for the score to mean much.</p>\n"
    return (
        f"<article><p><strong>{escape(str(explanation.sentiment))}</strong>, probability "
        f"{explanation.positive_probability:.3f}, logit {explanation.logit:+.2f}</p>\n"
        f"{doubt if explanation.status == UNFAMILIAR else ''}<p>{words}{rest}</p>\n<table>{rows}</table></article>"
    )


def _marked(token: str, change: float, *, largest: float) -> str:
    strength = abs(change) / largest
    if strength < 0.1:
        return escape(token)
    kind = "up" if change > 0 else "down"
    return f'<mark class="{kind}" style="--s:{strength:.2f}" title="{change:+.3f}">{escape(token)}</mark>'
