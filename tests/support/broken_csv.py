"""Review tables as people and programs write them to CSV, whole or broken, each with what it means.

Nothing here knows how the files are read: a table is made, written by a few lines of its own, and perhaps broken in
one place. What a reader makes of the bytes is right if it finds the table; where a record is broken, the record or the
file must be refused.
"""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from dataclasses import dataclass, field

WORDS = {
    language: words.split()
    for language, words in {
        "en": "the kettle boils fast but lid broke after two weeks and I love it anyway would buy again never works",
        "fr": "très bon café ma crème brûlée préférée déçu arrivé cassé qualité médiocre élève à peine où même été",
        "de": "sehr gut schöne Größe süß gefällt überhaupt nicht Wasserkocher kaputt ärgerlich für völlig Ordnung",
        "es": "muy buena niña está feliz envío tardó más pésimo pero botón rompió mañana español corazón año",
        "pl": "świetny polecam każdemu niestety zepsuł się tygodniu jakość słaba żałuję zakupu łatwy ćwiczyć",
        "ru": "отличный чайник очень доволен сломался через неделю плохое качество не советую спасибо",
        "ja": "とても 良い 商品 です 毎日 使って います 一週間 で 壊れました 残念 でした",
    }.items()
}
ENCODINGS = {
    "en": ("utf-8",),
    "fr": ("utf-8", "cp1252", "mac_roman", "cp850"),
    "de": ("utf-8", "cp1252", "mac_roman"),
    "es": ("utf-8", "cp1252", "mac_roman"),
    "pl": ("utf-8", "cp1250", "iso8859_2"),
    "ru": ("utf-8", "cp1251", "koi8_r"),
    "ja": ("utf-8", "cp932", "euc_jp"),
}
HARD = (
    'it said "great", really',
    "one,two;three|four",
    "line one\nline two",
    "line one\r\nline two",
    '"quoted"',
    "it's 5\" wide",
)
HARDER = (
    "",
    " spaces around ",
    "ends with a backslash \\",
    "C:\\temp\\new",
    "a\tb",
    "'single'",
    "1,5",
    "=1+1",
    "NULL",
    "#N/A",
    "review_id,text",
    "\u00a0",
    "😍😍",
    "it's, well, fine",
)
Row = tuple[str | None, ...]


@dataclass(frozen=True, kw_only=True)
class Written:
    """A file and what it means.

    Attributes
    ----------
    kind : str
    content : bytes
    names : tuple of str
        Of the columns.
    rows : list of tuple
        What the file holds; None is NULL.
    faults : frozenset of int
        Places of rows that are broken; empty if the file is whole, in whatever dialect.
    """

    kind: str
    content: bytes
    names: tuple[str, ...]
    rows: list[Row]
    faults: frozenset[int] = frozenset()


@dataclass(kw_only=True)
class Style:
    """How a file is written."""

    delimiter: str = ","
    quote: str = '"'
    escape: str = ""
    line_end: str = "\n"
    all_quoted: bool = False
    encoding: str = "utf-8"
    mark: bytes = b""
    last_line_end: bool = True
    before: str = ""
    after: str = ""
    header: bool = True
    packed: bool = False
    edits: list[Callable[[list[str]], None]] = field(default_factory=list)


def field_of(value: str | None, style: Style, *, quoted: bool = False) -> str:
    """A value as it stands in the file."""
    if value is None:
        return ""
    special = (style.delimiter[0], style.quote, "\n", "\r", *(["\\"] if style.escape else []))
    if not (
        style.all_quoted or quoted or value == "" or value != value.strip() or any(each in value for each in special)
    ):
        return value
    if style.escape:
        value = value.replace("\\", "\\\\").replace(style.quote, "\\" + style.quote)
    else:
        value = value.replace(style.quote, 2 * style.quote)
    return style.quote + value + style.quote


def record_of(values: Row, style: Style) -> str:
    """A row as it stands in the file, without its line end."""
    return style.delimiter.join(field_of(value, style) for value in values)


def encoded(records: list[str], style: Style) -> bytes:
    """The whole file."""
    text = style.before + style.line_end.join(records) + (style.line_end if style.last_line_end else "") + style.after
    content = style.mark + text.encode(style.encoding)
    return gzip.compress(content, mtime=0) if style.packed else content


def table(rng: random.Random, *, language: str = "en", n_rows: int | None = None) -> tuple[tuple[str, ...], list[Row]]:
    """A table of reviews: id, text, stars, product, date, in some order and number."""
    n_rows = rng.choice((1, 2, 5, 12, 40, 120)) if n_rows is None else n_rows
    columns: dict[str, Callable[[int], str | None]] = {
        "review_id": lambda number: str(1000 + number),
        "text": lambda _: text_of(rng, language),
        "stars": lambda _: str(rng.randint(1, 5)),
        "product": lambda _: rng.choice((None, "kettle-k2", "lamp", "Coffee, ground")),
        "review_date": lambda _: f"2026-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}",
    }
    names = ("review_id", "text", *rng.sample(("stars", "product", "review_date"), rng.randint(0, 3)))
    if rng.random() < 0.3:
        names = tuple(rng.sample(names, len(names)))
    return names, [tuple(columns[name](number) for name in names) for number in range(n_rows)]


def text_of(rng: random.Random, language: str) -> str:
    """A review, now and then one that a careless program would write or read wrong."""
    draw = rng.random()
    if draw < 0.15:
        return rng.choice(HARD)
    if draw < 0.2:
        return rng.choice(HARDER)
    return " ".join(rng.choices(WORDS[language], k=rng.randint(1, 12)))


def written(seed: int) -> Written:
    """One of the files."""
    rng = random.Random(seed)
    return rng.choice(WHOLE if rng.random() < 0.55 else BROKEN)(rng)


# Files that are whole: each in one dialect throughout.


def _whole(rng: random.Random, kind: str, style: Style, *, language: str = "en", n_rows: int | None = None) -> Written:
    names, rows = table(rng, language=language, n_rows=n_rows)
    if not style.encoding.startswith("utf"):
        rows = [tuple(value and value.replace("😍", ":)").replace("\u00a0", "-") for value in row) for row in rows]
    records = [record_of(names, style)] if style.header else []
    records += [record_of(row, style) for row in rows]
    if not style.header:
        names = tuple(f"_c{place}" for place in range(len(names)))
    return Written(kind=kind, content=encoded(records, style), names=names, rows=rows)


def _delimiter(rng: random.Random) -> Written:
    delimiter = rng.choice((",", ";", "\t", "|", ", "))
    return _whole(rng, f"delimiter {delimiter!r}", Style(delimiter=delimiter, all_quoted=rng.random() < 0.5))


def _quotes(rng: random.Random) -> Written:
    return _whole(rng, "quote '", Style(quote="'", all_quoted=True, delimiter=rng.choice(",;\t")))


def _escape(rng: random.Random) -> Written:
    style = Style(escape="\\", all_quoted=rng.random() < 0.7, delimiter=rng.choice(",;\t"))
    names, rows = table(rng)
    # Without a quote in a text, nothing shows that the backslash escapes.
    place = names.index("text")
    rows[0] = tuple('so "good", really' if column == place else value for column, value in enumerate(rows[0]))
    return Written(
        kind="escape \\",
        content=encoded([record_of(names, style), *(record_of(row, style) for row in rows)], style),
        names=names,
        rows=rows,
    )


def _line_end(rng: random.Random) -> Written:
    line_end = rng.choice(("\r\n", "\r"))
    style = Style(line_end=line_end, delimiter=rng.choice(",;\t"))
    names, rows = table(rng)
    if line_end == "\r":
        rows = [tuple(value and value.replace("\r\n", " ").replace("\n", " ") for value in row) for row in rows]
    return Written(
        kind=f"line end {line_end!r}",
        content=encoded([record_of(names, style), *(record_of(row, style) for row in rows)], style),
        names=names,
        rows=rows,
    )


def _last_line(rng: random.Random) -> Written:
    style = Style(last_line_end=rng.random() < 0.5, after=rng.choice(("", "\n", "\n\n")), line_end="\n")
    return _whole(rng, "last line", style)


def _encoding(rng: random.Random) -> Written:
    language = rng.choice(sorted(ENCODINGS))
    encoding = rng.choice(ENCODINGS[language])
    style = Style(encoding=encoding, delimiter=rng.choice(",;\t"), line_end=rng.choice(("\n", "\r\n")))
    return _whole(rng, f"encoding {encoding}", style, language=language, n_rows=rng.choice((12, 40, 120)))


def _utf(rng: random.Random) -> Written:
    encoding, mark = rng.choice(
        (
            ("utf-8", b"\xef\xbb\xbf"),
            ("utf-16-le", b"\xff\xfe"),
            ("utf-16-be", b"\xfe\xff"),
            ("utf-16-le", b""),
            ("utf-16-be", b""),
        )
    )
    language = rng.choice(sorted(WORDS))
    return _whole(
        rng,
        f"{encoding} {mark!r}",
        Style(encoding=encoding, mark=mark, delimiter=rng.choice(",;\t")),
        language=language,
    )


def _separator_line(rng: random.Random) -> Written:
    delimiter = rng.choice(";,\t|")
    return _whole(rng, "sep=", Style(delimiter=delimiter, before=f"sep={delimiter}\n"))


def _packed(rng: random.Random) -> Written:
    return _whole(rng, "gzip", Style(packed=True, delimiter=rng.choice(",;\t")))


def _mixed_line_ends(rng: random.Random) -> Written:
    names, rows = table(rng)
    style = Style()
    lines = [record_of(each, style) + rng.choice(("\n", "\r\n")) for each in (names, *rows)]
    return Written(kind="mixed line ends", content="".join(lines).encode(), names=names, rows=rows)


def _blank_lines(rng: random.Random) -> Written:
    names, rows = table(rng)
    lines = [record_of(each, Style()) + "\n" * rng.choice((1, 1, 2, 3)) for each in (names, *rows)]
    return Written(kind="blank lines", content="".join(lines).encode(), names=names, rows=rows)


def _trailing_delimiter(rng: random.Random) -> Written:
    names, rows = table(rng)
    style = Style(delimiter=rng.choice(",;\t"))
    content = encoded([record_of(each, style) + style.delimiter for each in (names, *rows)], style)
    return Written(
        kind="trailing delimiter",
        content=content,
        names=(*names, f"_c{len(names)}"),
        rows=[(*row, None) for row in rows],
    )


def _decimal_commas(rng: random.Random) -> Written:
    names, rows = table(rng)
    style = Style(delimiter=";")
    prices = [(*row, f"{rng.randint(1, 99)},{rng.randint(10, 99)}") for row in rows]
    content = encoded([record_of((*names, "price"), style), *(record_of(row, style) for row in prices)], style)
    return Written(kind="decimal commas", content=content, names=(*names, "price"), rows=prices)


WHOLE: tuple[Callable[[random.Random], Written], ...] = (
    *(_delimiter, _delimiter, _quotes, _escape, _line_end, _last_line, _encoding, _encoding, _utf, _separator_line),
    *(_packed, _mixed_line_ends, _blank_lines, _trailing_delimiter, _decimal_commas),
)


# Files with a broken record.


def _broken(rng: random.Random, kind: str, change: Callable[[str, Row, Style], str]) -> Written:
    style = Style(delimiter=rng.choice((",", ",", ";", "\t")), all_quoted=rng.random() < 0.4)
    names, rows = table(rng, n_rows=rng.choice((5, 12, 40, 120)))
    records = [record_of(names, style), *(record_of(row, style) for row in rows)]
    place = rng.randrange(len(rows))
    records[place + 1] = change(records[place + 1], rows[place], style)
    whole = [record_of(names, style), *(record_of(row, style) for row in rows)]
    faults = frozenset() if records == whole else frozenset([place])
    return Written(kind=kind, content=encoded(records, style), names=names, rows=rows, faults=faults)


def _stray_quote(rng: random.Random) -> Written:
    def change(record: str, values: Row, style: Style) -> str:
        column = rng.randrange(len(values))
        fields = [field_of(value, style) for value in values]
        at = rng.choice((0, 0, rng.randint(0, len(fields[column]))))
        fields[column] = fields[column][:at] + style.quote + fields[column][at:]
        return style.delimiter.join(fields)

    return _broken(rng, "stray quote", change)


def _lost_quote(rng: random.Random) -> Written:
    def change(record: str, values: Row, style: Style) -> str:
        fields = [field_of(value, style, quoted=True) for value in values]
        column = rng.randrange(len(values))
        fields[column] = rng.choice((fields[column][1:], fields[column][:-1])) if fields[column] else '"'
        return style.delimiter.join(fields)

    return _broken(rng, "lost quote", change)


def _lost_field(rng: random.Random) -> Written:
    def change(record: str, values: Row, style: Style) -> str:
        fields = [field_of(value, style) for value in values]
        del fields[rng.randrange(len(fields))]
        return style.delimiter.join(fields)

    return _broken(rng, "lost field", change)


def _more_fields(rng: random.Random) -> Written:
    def change(record: str, values: Row, style: Style) -> str:
        fields = [field_of(value, style) for value in values]
        fields.insert(rng.randint(0, len(fields)), rng.choice(("", "more", "7")))
        return style.delimiter.join(fields)

    return _broken(rng, "more fields", change)


def _unquoted(rng: random.Random) -> Written:
    def change(record: str, values: Row, style: Style) -> str:
        texts = [value or "" for value in values]
        column = rng.randrange(len(values))
        texts[column] += rng.choice(
            (f" fine{style.delimiter} too", "\nmore of it", f"\n\nmore{style.delimiter} of it\nand more")
        )
        return style.delimiter.join(
            text if place == column else field_of(value, style)
            for place, (text, value) in enumerate(zip(texts, values))
        )

    return _broken(rng, "unquoted", change)


def _other_delimiter(rng: random.Random) -> Written:
    def change(record: str, values: Row, style: Style) -> str:
        return (" " if rng.random() < 0.5 else "|").join(field_of(value, style) for value in values)

    return _broken(rng, "other delimiter", change)


def _bad_bytes(rng: random.Random) -> Written:
    found = _broken(rng, "bad bytes", lambda record, values, style: record + "�BAD�")
    bad = rng.choice((b"\xff\xfe", b"\0", b"\x81\x8d", b"\x80abc"))
    return Written(
        kind=found.kind,
        content=found.content.replace("�BAD�".encode(), bad),
        names=found.names,
        rows=found.rows,
        faults=found.faults,
    )


def _cut_off(rng: random.Random) -> Written:
    names, rows = table(rng, n_rows=12)
    style = Style(all_quoted=True)
    content = encoded([record_of(each, style) for each in (names, *rows)], style)
    last = len(record_of(rows[-1], style).encode())
    cut = rng.randint(2, max(2, last - 1))
    return Written(kind="cut off", content=content[:-cut], names=names, rows=rows, faults=frozenset([11]))


def _repeated_header(rng: random.Random) -> Written:
    names, rows = table(rng, n_rows=12)
    style = Style(delimiter=rng.choice(",;\t"))
    records = [record_of(each, style) for each in (names, *rows)]
    records.insert(rng.randint(1, 12), records[0])
    return Written(
        kind="repeated header", content=encoded(records, style), names=names, rows=rows, faults=frozenset([-1])
    )


def _footnote(rng: random.Random) -> Written:
    names, rows = table(rng, n_rows=12)
    style = Style(
        delimiter=rng.choice(",;\t"), after=rng.choice(("Total: 12\n", "\n(12 rows)\n", "exported by shop 4.2"))
    )
    records = [record_of(each, style) for each in (names, *rows)]
    return Written(kind="footnote", content=encoded(records, style), names=names, rows=rows, faults=frozenset([-1]))


def _preamble(rng: random.Random) -> Written:
    names, rows = table(rng, n_rows=12)
    style = Style(delimiter=rng.choice(",;\t"))
    style.before = rng.choice(
        (
            "Reviews of November\n",
            "Export\n\n",
            "shop;Berlin\ndate;2026-11-27\n\n",
            f"title{style.delimiter * (len(names) - 1)}\n",
        )
    )
    records = [record_of(each, style) for each in (names, *rows)]
    return Written(kind="preamble", content=encoded(records, style), names=names, rows=rows, faults=frozenset([-1]))


def _no_header(rng: random.Random) -> Written:
    names, rows = table(rng, n_rows=12)
    style = Style(delimiter=rng.choice(",;\t"))
    return Written(
        kind="no header",
        content=encoded([record_of(row, style) for row in rows], style),
        names=names,
        rows=rows,
        faults=frozenset([-1]),
    )


BROKEN: tuple[Callable[[random.Random], Written], ...] = (
    *(_stray_quote, _stray_quote, _lost_quote, _lost_quote, _lost_field, _more_fields, _unquoted, _unquoted),
    *(_other_delimiter, _bad_bytes, _cut_off, _repeated_header, _footnote, _preamble, _no_header),
)
