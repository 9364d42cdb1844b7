"""Find out the encoding of a text file, and read it as UTF-8 without ever inventing a character.

Bytes that are not valid in the encoding become NUL, which no record may hold, so that their records are refused or set
aside by line. U+FFFD is never written.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import chardet
import numpy as np

from sentiment_core.errors import InputError, UsageError

__all__ = [
    "BLOCK_BYTES",
    "Encoding",
    "assume_encoding",
    "detect_encoding",
    "encoding_option",
    "given_encoding",
    "utf8_blocks",
]

BLOCK_BYTES = 8 << 20
# Of lines that are not ASCII, how much the detector looks at.
_SAMPLE_BYTES = 256 << 10
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_EAST_ASIAN = ("cp932", "euc_jis_2004", "gb18030", "big5hkscs", "cp949")
# In which tables are exported. Rarer ones are read with `--encoding`; as candidates they would only cause mistakes.
_CANDIDATES = (
    *("cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "cp850", "cp866", "mac-roman"),
    *("iso8859-2", "iso8859-7", "iso8859-15", "koi8-r"),
    *_EAST_ASIAN,
)
# The detector's confidence in an encoding of East Asia is high; in others it is low, even where it is right.
_SURE = 0.3
# Two encodings whose confidences differ by a smaller share are both possible; for N characters, 1 / N more.
_SAME_CONFIDENCE = 0.1
# Share of the highest confidence with which an encoding is still preferred if its letters belong to one language.
_NEAR = 0.5
# Fewer characters than these are damage rather than a sign of an encoding other than the most frequent one.
_FEW = 6
# Largest share of characters that make no sense where they stand.
_MOST_IMPLAUSIBLE = 0.02
# The byte within an English contraction: don't, it's, I've.
_APOSTROPHE = re.compile(
    rb"(?:(?<=n)([\x80-\xff])(?=t\b)"
    rb"|(?<=\b[Ii]t)([\x80-\xff])(?=s\b)|(?<=\b[Tt]hat)([\x80-\xff])(?=s\b)"
    rb"|(?<=\bI)([\x80-\xff])(?=(?:ve|ll|d|m)\b)|(?<=\b[Yy]ou)([\x80-\xff])(?=(?:ve|re|ll|d)\b))"
)
# Letters outside ASCII, of languages that several encodings of one byte a letter can write.
_WESTERN = (
    *("àâæçéèêëîïôœùûüÿ", "äöüß", "áéíñóúüºª", "àèéìíîòóù", "áâãàçéêíóôõúüºª", "åäöé", "æøåé", "éèêëàâçïîöüñôû"),
)
_LETTERS = (
    *(*_WESTERN, "áðéíóúýþæö"),
    *("ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "áéíóöőúüű", "ăâîșțşţ", "čćđšž", "çğıöşüâîûi\u0307"),
)
_RUSSIAN = "абвгдежзийклмнопрстуфхцчшщъыьэюяё"
_ALPHABETS = (
    *("".join(_WESTERN), *_LETTERS),  # several languages of the west share an encoding, and files
    *(_RUSSIAN, _RUSSIAN + "ўі", "абвгґдеєжзиіїйклмнопрстуфхцчшщьюя"),
    *("абвгдђежзијклљмнњопрстћуфхцчџш", "абвгдѓежзѕијклљмнњопрстќуфхцчџш"),
)
# Share of letters that names and quotations bring from other languages; but never these, which stand where a text of
# the Baltic, of Turkey or of another alphabet is read in an encoding that is not its own.
_MOST_FOREIGN = 0.02
_TELLING = frozenset("ðþƒıћђљњџў")
# What announces characters of two bytes in ISO 2022, of which each byte is ASCII.
_ISO_2022 = re.compile(rb"\x1b\$[@AB()]")
_HEAD_BYTES = 64 << 10
_ASSUMED_BYTES = 1 << 20
_SCRIPTS = ("LATIN", "GREEK", "CYRILLIC", "HEBREW", "ARABIC")


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """An encoding of a file.

    Attributes
    ----------
    name : str
        Python's name of the codec.
    source : str
        How it is known: ``given``, ``BOM``, ``valid`` (all bytes are UTF-8), ``most`` (most are) or ``detected``.
    """

    name: str
    source: str


def encoding_option(value: str) -> str:
    """Check the name of an encoding; returns Python's name of it.

    Raises
    ------
    UsageError
        If Python has no such text encoding.
    """
    try:
        info = codecs.lookup(value)
        "".encode(info.name)
    except LookupError:
        raise UsageError(
            f"--encoding {value!r} is no encoding of text; write one like utf-8, cp1252, utf-16 or mac_roman"
        ) from None
    return info.name


def utf8_blocks(stream: IO[bytes], encoding: Encoding) -> Iterator[bytes]:
    """A text file as blocks of UTF-8 of about `BLOCK_BYTES` each, without its byte-order mark."""
    if encoding.source == "valid":
        blocks: Iterator[tuple[bytes, int]] = ((block, 0) for block in iter(lambda: stream.read(BLOCK_BYTES), b""))
    elif codecs.lookup(encoding.name).name in ("utf-8", "utf-8-sig"):
        blocks = _utf8(stream)
    else:
        blocks = _others(stream, encoding.name)
    first = True
    for block, _ in blocks:
        yield block.removeprefix(codecs.BOM_UTF8) if first else block
        first = False


def given_encoding(stream: IO[bytes], name: str) -> Encoding:
    """The encoding that an option names.

    Raises
    ------
    InputError
        If the head of the file shows that it is in UTF-8, or has the byte-order mark of another one, so that this
        encoding would make other characters of it without a word; the message lacks the file's name.
    """
    head = stream.read(_ASSUMED_BYTES)
    marked = next((called for mark, called in _BOMS if head.startswith(mark)), None)
    known = codecs.lookup(name).name.replace("_", "-")
    if marked is not None and not known.startswith(marked[: len("utf-16")]):
        raise InputError(f"has the byte-order mark of {marked}, so it is not {name}; leave --encoding out")
    if not known.startswith("utf-"):
        try:
            text = head[: head.rfind(b"\n") + 1].decode()
        except UnicodeDecodeError:
            text = ""
        if sum(not character.isascii() for character in text) >= _FEW:
            raise InputError(f"is UTF-8, of which {name} would make other characters; leave --encoding out")
    return Encoding(name=name, source="given")


def assume_encoding(stream: IO[bytes]) -> Encoding | None:
    """UTF-8 if the head of a file is, without a look at the rest; None if all of the file must be read to tell.

    Raises
    ------
    InputError
        If it is ASCII that stands for other characters; the message lacks the file's name.
    """
    head = stream.read(_ASSUMED_BYTES)
    if len(head) == _ASSUMED_BYTES:
        head = head[: head.rfind(b"\n") + 1]
    try:
        head.decode()
    except UnicodeDecodeError:
        return None
    if _ISO_2022.search(head):
        raise InputError(
            "is written in ISO 2022, by escape sequences that are ASCII; name which one with --encoding, iso2022_jp say"
        )
    if not head or head.startswith(codecs.BOM_UTF8):
        return Encoding(name="utf-8", source="valid") if head else None
    return _marked(head[:_HEAD_BYTES]) or Encoding(name="utf-8", source="valid")


def detect_encoding(stream: IO[bytes]) -> Encoding:
    """Read a whole file and tell its encoding.

    Raises
    ------
    InputError
        If it is not UTF-8 and cannot be told; the message lacks the file's name.
    """
    head = stream.read(_HEAD_BYTES)
    marked = _marked(head)
    if marked is not None:
        return marked
    sample = bytearray()
    valid = invalid = lines = first = 0
    for block, faults in _utf8(_Rejoined(head, stream), sample=sample):
        valid += int(np.count_nonzero(np.frombuffer(block, np.uint8) >= 0x80))
        if faults and not first:
            first = lines + block[: block.index(b"\0")].count(b"\n") + 1
        invalid, lines = invalid + faults, lines + block.count(b"\n")
    if not invalid:
        return Encoding(name="utf-8", source="valid")
    # In other encodings, few bytes look like UTF-8 by chance; in those of East Asia, up to a half.
    share = valid / (valid + invalid)
    east_asian = _east_asian(bytes(sample[:_SAMPLE_BYTES])) if share < 0.9 else None
    if east_asian is not None:
        return east_asian
    if share > 0.4:
        return Encoding(name="utf-8", source="most")
    return _legacy(bytes(sample[:_SAMPLE_BYTES]), line=first)


def _marked(head: bytes) -> Encoding | None:
    """By a byte-order mark, or by the zeros of UTF-16 without one."""
    for mark, name in _BOMS:
        if head.startswith(mark):
            return Encoding(name=name, source="BOM")
    half = len(head) // 2
    even, odd = head[: 2 * half : 2].count(0), head[1 : 2 * half : 2].count(0)
    for name, high, low in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if high > 0.02 * half and low < 0.5 * high and "\n" in head.decode(name, "ignore").replace("\r", "\n"):
            return Encoding(name=name, source="detected")
    return None


def _east_asian(sample: bytes) -> Encoding | None:
    """An encoding of two bytes a character, if the detector is sure of it and all bytes are valid in it."""
    found = chardet.detect_all(sample, ignore_threshold=True, include_encodings=_CANDIDATES, compat_names=False)
    name, confidence = found[0]["encoding"], found[0]["confidence"]
    others = max((other["confidence"] for other in found[1:]), default=0.0)
    if name not in _EAST_ASIAN or confidence < _SURE or others > confidence / 4:
        return None
    try:
        sample.decode(name)
    except UnicodeDecodeError:
        return None
    return Encoding(name=codecs.lookup(name).name, source="detected")


def _legacy(sample: bytes, *, line: int) -> Encoding:
    """The encoding of lines that are not UTF-8."""
    found = chardet.detect_all(sample, ignore_threshold=True, include_encodings=_CANDIDATES, compat_names=False)
    apostrophes = {match[match.lastindex or 0] for match in _APOSTROPHE.finditer(sample)}
    texts: dict[str, tuple[str, float]] = {}
    for candidate in found:
        name = codecs.lookup(candidate["encoding"] or "ascii").name
        try:
            text = sample.decode(name)
        except UnicodeDecodeError:
            continue
        if any(byte.decode(name, "replace") not in ("’", "'", "´", "`") for byte in apostrophes):
            continue
        if _implausible_share(text) <= _MOST_IMPLAUSIBLE and _is_plausible(text):
            texts.setdefault(text, (name, candidate["confidence"]))
    ranked = sorted(((confidence, name, text) for text, (name, confidence) in texts.items()), reverse=True)
    count = sum(byte >= 0x80 for byte in sample)
    least = _SAME_CONFIDENCE + 1 / max(1, count)
    possible = [each for each in ranked if each[0] >= (1 - least) * ranked[0][0]]
    if len(possible) > 1 or not any(_is_of_one_language(text) for _, _, text in possible):
        near = [each for each in ranked if each[0] >= _NEAR * ranked[0][0]]
        possible = [each for each in near if _is_of_one_language(each[2])] or possible
    if count < _FEW and any(name != "cp1252" or not _is_of_one_language(text) for _, name, text in possible):
        possible = []
    if len(possible) != 1:
        likely = ", ".join(name for _, name, _ in possible[:4]) or "none of the usual ones"
        raise InputError(
            f"line {line:,} is not UTF-8, and which encoding it is cannot be told for sure (possible: {likely}); "
            "name it with --encoding"
        )
    return Encoding(name=possible[0][1], source="detected")


def _implausible_share(text: str) -> float:
    """Share of the characters outside ASCII that make no sense where they stand."""
    outside = wrong = 0
    for before, character, after in zip(" " + text, text, text[1:] + " "):
        if not character.isascii():
            outside += 1
            wrong += _is_implausible(before, character, after)
    return wrong / max(1, outside)


def _is_implausible(before: str, character: str, after: str) -> bool:
    kind = unicodedata.category(character)
    if kind in ("Cc", "Cn", "Co") or "─" <= character <= "▟":  # controls, unassigned, lines and blocks
        return True
    if kind[0] == "L":
        script = _script(character)
        beside = [other for other in (before, after) if other.isalpha()]
        foreign = any(_script(other) != script for other in beside)
        in_a_word = len(beside) == 2 and (before + after).isascii()
        return (before.islower() and character.isupper()) or (foreign and (script in _SCRIPTS or in_a_word))
    if character == "’":
        return False
    if kind in ("Cf", "Mn") or character in "¨¦¸¯":  # of Arabic and Hebrew; none begins or ends a word of Latin letters
        return any(other.isascii() and other.isalpha() for other in (before, after))
    return _is_of_alphabet(before) and _is_of_alphabet(after) and kind[0] in "SNP"


def _is_of_one_language(text: str) -> bool:
    """Whether its letters outside ASCII belong to one alphabet."""
    letters = {letter for letter in text.lower() if letter.isalpha() and not letter.isascii()}
    if any(letters <= set(alphabet) for alphabet in _LETTERS):
        return True
    scripts = {_script(letter) for letter in letters}
    return len(scripts) == 1 and "LATIN" not in scripts


def _is_plausible(text: str) -> bool:
    """Whether its Latin or Cyrillic letters are nearly all of one language, or of several of the west of Europe."""
    counts = Counter(letter for letter in text if letter.isalpha() and not letter.isascii() and letter not in "µªº")
    scripts = {_script(letter) for letter in counts}
    if not scripts & {"LATIN", "CYRILLIC"}:
        return True
    if "CYRILLIC" in scripts and not any(letter.islower() for letter in counts):
        return False  # the bytes of other alphabets are capitals of this one
    for alphabet in _ALPHABETS:
        foreign = Counter({letter: count for letter, count in counts.items() if letter.lower() not in alphabet})
        if foreign.total() <= _MOST_FOREIGN * counts.total() and not _TELLING & set("".join(foreign).lower()):
            return True
    return False


def _script(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0]


def _is_of_alphabet(character: str) -> bool:
    return character.isalpha() and _script(character) in _SCRIPTS


class _Rejoined:
    """A stream whose head was read already."""

    def __init__(self, head: bytes, stream: IO[bytes]) -> None:
        self._head, self._stream = head, stream

    def read(self, size: int) -> bytes:
        head, self._head = self._head, b""
        return head or self._stream.read(size)


def _utf8(stream: Any, *, sample: bytearray | None = None) -> Iterator[tuple[bytes, int]]:
    """Blocks, and how many bytes of each were no UTF-8; the sample takes lines that are not ASCII, as they were."""
    rest = b""
    while block := stream.read(BLOCK_BYTES):
        block = rest + block
        if block.isascii():
            rest = b""
            yield block, 0
            continue
        whole = _whole_characters(block)
        block, rest = block[:whole], block[whole:]
        if sample is not None and len(sample) < _SAMPLE_BYTES:
            sample += b"".join(line + b"\n" for line in block.splitlines() if not line.isascii())
        try:
            block.decode()
        except UnicodeDecodeError:
            text = block.decode(errors=_TO_NUL)
            yield text.encode(), text.count("\0") - block.count(0)
        else:
            yield block, 0
    if rest:
        yield b"\0" * len(rest), len(rest)


def _whole_characters(block: bytes) -> int:
    """Length of a block without the beginning of a character at its end."""
    for back in range(1, min(4, len(block)) + 1):
        byte = block[-back]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(block) - back if length > back else len(block)
        if byte < 0x80:
            break
    return len(block)


def _others(stream: IO[bytes], encoding: str) -> Iterator[tuple[bytes, int]]:
    decoder = codecs.getincrementaldecoder(encoding)(errors=_TO_NUL)
    while block := stream.read(BLOCK_BYTES):
        yield decoder.decode(block).encode(), 0
    yield decoder.decode(b"", final=True).encode(), 0


def _to_nul(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\0" * (error.end - error.start), error.end


_TO_NUL = "sentiment-to-nul"
codecs.register_error(_TO_NUL, _to_nul)
