"""Passwords in URIs and settings, kept out of whatever is shown or stored.

A location may carry one (``s3a://user:password@bucket``), and would come back in messages, reports and Spark's plans.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["SPARK_REDACTION", "redact", "redact_values"]

# Names of settings and of a URI's parameters that hold a secret: those that Spark knows, and some that it misses.
_NAMES = r"secret|passw(?:or)?d|pwd|token|credential|(?:access|account|api)[._-]?key|signature|\bsig\b"
# Up to the last @ of the word, since a password may hold one. Of a port whose path has an @, too much is hidden.
_PASSWORD = r"[^\s'\"]+(?=@)"

# Spark replaces what these match: names or values of its settings, and parts of its plans. It searches the text of each
# plan, of ten thousand characters and more. The lookbehind reads back up to 200 characters at each place where it is
# tried, so a colon alone is looked for before it.
SPARK_REDACTION = {
    "spark.redaction.regex": rf"(?i){_NAMES}|://[^/\s:]{{0,200}}:{_PASSWORD}",
    "spark.sql.redaction.string.regex": rf"(?<=:)(?<=://[^/\s:]{{0,200}}:){_PASSWORD}",
}

_USER_AND_PASSWORD = re.compile(rf"(://[^/\s:]*:){_PASSWORD}")
_PARAMETER = re.compile(rf"([?&;](?=[^=&\s]*(?:{_NAMES}))[^=&\s]*=)[^&\s'\"]+", re.IGNORECASE)
# As an option of a command; its name ends as a secret's does, `max_tokens=500` is none.
_SETTING = re.compile(rf"((?<!\S)\S*?(?:{_NAMES}|secret[._-]?key)=)[^&\s'\"]+", re.IGNORECASE)


def redact(text: str) -> str:
    """The text with ``***`` for each password in a URI, and for each value of a parameter or setting that is secret."""
    for pattern in (_USER_AND_PASSWORD, _PARAMETER, _SETTING):
        text = pattern.sub(r"\1***", text)
    return text


def redact_values(value: Any) -> Any:
    """What JSON can hold, each string in it redacted."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {name: redact_values(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redact_values(inner) for inner in value]
    return value
