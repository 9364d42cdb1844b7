"""The policy of `sentiment_core.text.pipeline` once more, one text and one character at a time.

Written from the policy, not from the code: the vectorised pipeline must give the same tokens.
"""

from __future__ import annotations

import html
import re
import unicodedata
from itertools import takewhile

TAGS = (
    "a|abbr|b|big|blockquote|body|br|center|cite|code|dd|del|div|dl|dt|em|font|h1|h2|h3|h4|h5|h6|head|hr|html|i|img|"
    "ins|li|ol|p|pre|q|s|script|small|span|strike|strong|style|sub|sup|table|tbody|td|th|thead|tr|tt|u|ul"
)
ENTITY = re.compile(r"&(#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
TAG = re.compile(rf"</?({TAGS})([ \t\n\f\r/][^<>]*)?>", re.IGNORECASE | re.ASCII)
CLITIC = re.compile(r"n't\b|'(s|re|ve|ll|d|m)\b", re.IGNORECASE | re.ASCII)
NUMBER = re.compile(r"[0-9]+([.,/][0-9]+)+")
MARK = re.compile(r"\.\.\.|!!|\?\?|--|\*\*|[:;=]-?[()]|[\U0001F1E6-\U0001F1FF]{2}")
# White space of RE2, and separators.
_NOT_SPACE = r"[^\t\n\f\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
_WEB = re.compile(rf"\b(https?|ftp)://{_NOT_SPACE}+|\bwww\.{_NOT_SPACE}+", re.IGNORECASE | re.ASCII)
_MAIL = re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)+", re.ASCII)
_NAME = re.compile(rf"(^|(?!{_NOT_SPACE}).|[(\"'])@[A-Za-z_]\w*", re.ASCII | re.DOTALL)
QUOTES = {ord(quote): "'" for quote in "’‘‛ʼ`′"} | {ord(quote): '"' for quote in "“”„‟«»″"}
DASHES = {ord(dash): "-" for dash in "‐‑‒–−"} | {ord(dash): "--" for dash in "—―"} | {ord("⁄"): "/"}


def naive_tokens(text: str | bytes | None, *, lower_case: bool = True, skip_addresses: bool = True) -> list[str]:
    """Tokens of one text."""
    if text is None:
        return []
    if isinstance(text, bytes):
        text = text.decode("utf-8", errors="replace")
    text = text.replace("\0", " ")
    if ENTITY.search(text):
        text = html.unescape(text)
    text = TAG.sub(" ", text)
    if skip_addresses:
        text = _NAME.sub(r"\1 ", _MAIL.sub(" ", _WEB.sub(" ", text)))
    chunks = [_clean(chunk, lower_case=lower_case) for chunk in re.split(r"[ \t\n\v\f\r]+", text)]
    return [token for chunk in chunks for word in chunk.split() for token in _split(word)]


def _clean(chunk: str, *, lower_case: bool) -> str:
    decomposed = unicodedata.normalize("NFKD", chunk.replace("´", "'"))
    kept = "".join(_character(character) for character in decomposed)
    kept = kept.translate(QUOTES).replace("''", '"').translate(DASHES)
    if lower_case:
        kept = "".join(character.lower() for character in kept)
    kept = CLITIC.sub(lambda match: f" {match[0]} ", kept)
    for mark, short in ((".", "..."), ("!", "!!"), ("?", "??"), ("-", "--"), ("*", "**")):
        kept = re.sub(re.escape(mark) + "{2,}", f" {short} ", kept)
    return kept


def _character(character: str) -> str:
    code = ord(character)
    invisible = (
        unicodedata.category(character) == "Cf"
        or 0x180B <= code <= 0x180F
        or 0xFE00 <= code <= 0xFE0F
        or 0xE0100 <= code <= 0xE01EF
    )
    if invisible or code == 0x20E3 or 0x1F3FB <= code <= 0x1F3FF:
        return ""
    return " " if unicodedata.category(character) == "Cc" or character == "\ufffd" else character


def _split(text: str) -> list[str]:
    tokens, start = [], 0
    while start < len(text):
        end = _end_of_token(text, start)
        tokens.append(text[start:end])
        start = end
    return tokens


def _end_of_token(text: str, start: int) -> int:
    clitic = CLITIC.match(text, start)
    if clitic and (text[start] == "'" or not re.match(r"\w", text[start - 1 : start], re.ASCII)):
        return clitic.end()
    if match := NUMBER.match(text, start) or None:
        return match.end()
    end = start + _run(text[start:], "LMN")
    if end > start:
        while text[end : end + 1] == "'" and (letters := _run(text[end + 1 :], "L")):
            end += 1 + letters
        return end
    if match := MARK.match(text, start):
        return match.end()
    return start + 1


def _run(text: str, kinds: str) -> int:
    """Characters in front that are of these kinds; the underscore goes with the letters, marks and numbers."""

    def inside(character: str) -> bool:
        return unicodedata.category(character)[0] in kinds or (character == "_" and "N" in kinds)

    return sum(1 for _ in takewhile(inside, text))
