"""Java names files by the locale: without a UTF-8 one, a name with ``é`` is no file for it.

Python knows better since version 3.7, so the two would not mean the same file. Where the locale is none (``LC_ALL=C``,
or one that is not installed), Java and the workers get one of UTF-8 instead; where it is of another encoding, nothing
is guessed.
"""

from __future__ import annotations

import locale
import sys
from collections.abc import MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sentiment_core.errors import EnvironmentFault

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["UTF8_LOCALE", "encoding_of_names", "use_utf8_names"]

# That of every glibc since 2.35 and of the distributions long before.
UTF8_LOCALE = "C.UTF-8"
_OTHERS = ("C.utf8", "en_US.UTF-8", "en_US.utf8")


def use_utf8_names(environment: MutableMapping[str, str]) -> str | None:
    """Let programs that are started from now on name files in UTF-8; returns the locale if it had to be changed.

    Raises
    ------
    EnvironmentFault
        If the locale is of another encoding, or none of UTF-8 is installed.
    """
    encoding = encoding_of_names()
    if _is_utf8(encoding):
        return None
    if not _is_utf8(sys.getfilesystemencoding()):
        raise EnvironmentFault(
            f"the locale names files in {encoding}, and Spark needs UTF-8; set LC_ALL={UTF8_LOCALE} and run again"
        )
    for name in (UTF8_LOCALE, *_OTHERS):
        if _is_utf8(encoding_of_names(name)):
            environment["LC_ALL"] = name
            return name
    raise EnvironmentFault(
        f"the locale names files in {encoding}, and no locale of UTF-8 is installed; install {UTF8_LOCALE} (Debian: "
        "the package locales) and run again"
    )


def encoding_of_names(name: str = "") -> str:
    """What a locale encodes names in, by default that of the environment; ASCII if there is no such locale."""
    with _restored_locale():
        try:
            locale.setlocale(locale.LC_CTYPE, name)
        except locale.Error:
            return "ASCII"
        return locale.nl_langinfo(locale.CODESET)


@contextmanager
def _restored_locale() -> Iterator[None]:
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        yield
    finally:
        locale.setlocale(locale.LC_CTYPE, before)


def _is_utf8(encoding: str) -> bool:
    return encoding.lower().replace("-", "") == "utf8"
