"""The dashboard as one HTML file: template, styles, scripts and data in it, and nothing that it would have to fetch.

Three rules keep what others wrote from being more than text. The template escapes what it prints. The script's data
are compressed and in base64, so that no text of theirs is in the file as it is, and the script writes texts, never
HTML. And a content security policy names the digests of both scripts and of the styles: nothing else runs, and nothing
is requested.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Any

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sentiment_core.errors import SentimentError

__all__ = ["render_page"]

# In the order in which they need each other; one scope.
_SCRIPTS = ("format.js", "data.js", "charts.js", "figures.js", "products.js", "detail.js", "page.js")


def render_page(content: Mapping[str, Any], *, data: Mapping[str, Any]) -> bytes:
    """The page; the same content gives the same bytes.

    Parameters
    ----------
    content : mapping
        What the template prints.
    data : mapping
        What the script shows; must be JSON.
    """
    styles, script = _text("page.css"), "".join(map(_text, _SCRIPTS))
    library = _library()
    policy = {
        "default-src": "'none'",
        "script-src": f"{_digest(library)} {_digest(script)}",
        "style-src-elem": _digest(styles),
        "style-src-attr": "'unsafe-inline'",  # Vega's SVG has such attributes; they load nothing, by `default-src`
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    page = (
        _environment()
        .get_template("page.html")
        .render(
            content,
            policy="; ".join(f"{name} {value}" for name, value in policy.items()),
            styles=_embedded(styles),
            library=_embedded(library),
            script=_embedded(script),
            data=_packed(data),
        )
    )
    return page.encode()


@cache
def _library() -> str:
    """Vega-Lite with what it needs, as JavaScript."""
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("jobs.dashboard", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": _count,
        "percent": _percent,
        "points": _points,
        "digits": _digits,
        "chance": _chance,
    }
    return environment


def _text(name: str) -> str:
    return resources.files("jobs.dashboard").joinpath("page", name).read_text(encoding="utf-8")


def _embedded(text: str) -> Markup:
    """Our own script or style, which is not escaped and therefore must not end its element."""
    if any(end in text.lower() for end in ("</script", "</style", "<!--")):
        raise SentimentError("a script or style of the dashboard would end its element; install this version anew")
    return Markup(text)  # noqa: S704, our own file; what would end its element is refused above


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _packed(data: Mapping[str, Any]) -> str:
    text = json.dumps(data, separators=(",", ":"), allow_nan=False, default=_plain)
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _plain(value: object) -> Any:
    if isinstance(value, date):
        return str(value)
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(f"{value!r} is not for JSON")


def _count(value: int | Decimal | None) -> str:
    return "–" if value is None else f"{int(value):,}"


def _percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def _points(value: float | None) -> str:
    """A difference of shares, in percentage points, with a sign."""
    return "–" if value is None else f"{100 * value:+.1f}".replace("-", "−")


def _digits(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _chance(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
