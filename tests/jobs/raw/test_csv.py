"""CSV files: what is whole is read as it is, in whatever dialect; what is broken is refused or set aside by line."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.raw import encoding
from jobs.raw import records as csv_records
from sentiment_core.errors import InputError
from tests.support.broken_csv import HARD, WORDS, Style, record_of, written
from tests.support.campaign import Campaign
from tests.support.csv_files import look_at, read_rows

CSV = "reviews.csv"
STRAY_QUOTE = (
    b'review_id,text,stars\n1,"Great product,5\n2,Fine kettle,4\n3,Broke at once,1\n4,"Leaks ""badly""",1\n5,Good,5\n'
)


# Properties.


def fields(delimiter: str) -> st.SearchStrategy[str]:
    special = st.sampled_from([delimiter, '"', "\n", "\r\n", "\\", "'", "é", "😍", " ", "=", "\u2028", "\ufeff"])
    return st.lists(special | st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=6).map("".join)


@given(
    st.data(),
    st.sampled_from(",;\t|"),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_what_pythons_writer_writes_is_read_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, delimiter: str, line_end: str, quoting: int
) -> None:
    """The oracle is a writer of another origin; fields without quotes that are empty are NULL."""
    path = tmp_path_factory.getbasetemp() / CSV
    n_columns = data.draw(st.integers(2, 5))
    table = data.draw(st.lists(st.tuples(*[fields(delimiter)] * n_columns), min_size=1, max_size=8))
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=line_end, quoting=quoting)
    writer.writerow(["review_id", "text", "a", "b", "c"][:n_columns])
    writer.writerows(table)
    file = look_at(path, text.getvalue().encode(), delimiter=delimiter, quote='"', escape="", header=True)
    rows, _ = read_rows(file)
    header = (*["review_id", "text", "a", "b", "c"][:n_columns],)
    assert [tuple(value or "" for value in row) for row in rows] == [row for row in table if row != header]


@pytest.mark.parametrize("window", [64, 1000])
def test_where_windows_end_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    def outcome(seed: int) -> object:
        try:
            return read_rows(look_at(tmp_path / CSV, written(seed).content), policy="set-aside")
        except InputError as error:
            return str(error)

    whole = [outcome(seed) for seed in range(20)]
    assert sum(not isinstance(each, str) for each in whole) > 10
    monkeypatch.setattr(csv_records, "WINDOW_BYTES", window)
    monkeypatch.setattr(csv_records, "SMALL_WINDOW_BYTES", 16)
    monkeypatch.setattr(encoding, "BLOCK_BYTES", 61)
    assert [outcome(seed) for seed in range(20)] == whole


@pytest.mark.integrity
def test_no_file_is_read_wrong(campaign: Campaign, tmp_path: Path) -> None:
    """Whole files are read as they are or refused; of broken ones, no row that is read differs from what was meant."""
    verdicts: Counter[str] = Counter()
    for seed in range(campaign.size(90, 4000)):
        file = written(seed)
        for policy in ("refuse", "set-aside"):
            verdict = "refused"
            try:
                found = look_at(tmp_path / CSV, file.content, wanted=("review_id", "text"))
                rows, malformed = read_rows(found, policy=policy)
            except InputError:
                rows, malformed = [], None
            if malformed is not None and {"review_id", "text"} <= set(found.layout.names):
                assert found.layout.names == file.names, (seed, file.kind)
                assert not Counter(rows) - Counter(file.rows), (seed, policy, file.kind)
                complete = Counter(rows) == Counter(file.rows)
                assert complete or malformed.records, (seed, policy, file.kind)
                assert not file.faults or malformed.records, (seed, policy, file.kind)
                verdict = "read" if complete else "set aside"
            verdicts[f"{'broken' if file.faults else 'whole'} {policy} {verdict}"] += 1
    whole = sum(count for name, count in verdicts.items() if name.startswith("whole refuse"))
    assert verdicts["whole refuse read"] >= 0.9 * whole
    assert verdicts["broken refuse read"] == 0
    campaign.record("csv", **verdicts)


@pytest.mark.integrity
def test_each_kind_of_pollution_in_each_place_is_refused(campaign: Campaign, tmp_path: Path) -> None:
    """A delimiter too many or too few, a quote too many in each field, and another delimiter in each row."""
    names = ("date", "time", "review_id", "price", "product", "text", "url", "comments")
    rows = [
        (
            f"2018-01-{day:02d}",
            "00:15",
            f"RI-{3000 + day}",
            "$29.81",
            product,
            text,
            f"https://shop.example/{day}",
            None,
        )
        for day, (product, text) in enumerate(zip(("Men's Boots", 'Table, Round 48"') * 10, HARD * 4), 1)
    ]
    style = Style(line_end="\r\n")
    whole = [record_of(names, style), *(record_of(row, style) for row in rows)]
    assert len(read_rows(look_at(tmp_path / CSV, "\r\n".join(whole).encode()))[0]) == len(rows)
    cases = 0
    for place in range(0, len(whole), campaign.size(10, 1)):
        values = [names, *rows][place]
        parts = [record_of((value,), style) for value in values]
        broken = [" ".join(parts)]
        for column in range(len(parts)):
            broken.append(",".join([*parts[:column], "", *parts[column:]]))
            broken.append(",".join([*parts[:column], '"' + parts[column], *parts[column + 1 :]]))
            if column:
                broken.append(",".join([*parts[: column - 1], parts[column - 1] + parts[column], *parts[column + 1 :]]))
        for record in broken:
            content = "\r\n".join([*whole[:place], record, *whole[place + 1 :], ""]).encode()
            with pytest.raises(InputError):
                read_rows(look_at(tmp_path / CSV, content, wanted=("review_id", "text")))
            cases += 1
    campaign.record("csv_pollution", cases=cases)


# Quotes.


def test_an_open_quote_loses_no_row_in_silence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"1 of 5 records are malformed \(reviews\.csv line 2: text follows the quote"):
        read_rows(look_at(tmp_path / CSV, STRAY_QUOTE))
    rows, malformed = read_rows(look_at(tmp_path / CSV, STRAY_QUOTE), policy="set-aside")
    assert [row[0] for row in rows] == ["2", "3", "4", "5"]
    assert rows[2] == ("4", 'Leaks "badly"', "1")
    assert [(record.line, record.file) for record in malformed.records] == [(2, CSV)]
    assert "Great" not in malformed.as_json_lines()


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ('7,Nice 5" screen,4', "a quote stands inside a field"),
        ('7,"Nice" screen,4', "text follows the quote"),
        ('7,"Nice screen,4', "never closed"),
        ("7,Nice screen", "it has 2 fields, not 3"),
        ("7,Nice, screen,4", "it has 4 fields, not 3"),
        ("7,Nice\rscreen,4", "line end of another kind"),
        ("7,Nice\0screen,4", "bytes that are not utf-8, or NUL"),
        ("review_id,text,stars", "repeats the header"),
        ("2 reviews in all,,", "its only word is not of the first column's kind"),
    ],
)
def test_a_broken_record_is_named_by_line_and_reason(tmp_path: Path, record: str, reason: str) -> None:
    content = f"review_id,text,stars\n1,Good,5\n\n2,Fine,4\n{record}\n".encode()
    with pytest.raises(InputError, match=rf"1 of 3 records are malformed \(reviews\.csv line 5: [^;]*{reason}"):
        read_rows(look_at(tmp_path / CSV, content))


FOUR = b"review_id,text,stars,day\nR1,Good,5,2026-11-01\nR2,Bad,1,2026-11-02\nR3,Fine,3,2026-11-03\n"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("\ufeffreview_id,text,stars,day", "repeats the header"),
        ('"review_id","text","stars","day"', "repeats the header"),
        ("Review_ID, Text, Stars, Day", "repeats the header"),
        ("id,review,rating,created", "not of their columns' kinds"),
        ("---,---,---,---", "not of their columns' kinds"),
        ("string,string,1-5,UTC", "not of their columns' kinds"),
        ("Total,,3.0,", "not of their columns' kinds"),
        ("'R4','So so','3','2026-11-04'", "its fields are in ' and not in \""),
    ],
)
def test_a_line_between_records_that_is_none_is_named(tmp_path: Path, line: str, reason: str) -> None:
    content = FOUR + line.encode() + b"\nR5,Nice,4,2026-11-05\n"
    with pytest.raises(InputError, match=rf"1 of 5 records are malformed \(reviews\.csv line 5: [^;]*{reason}"):
        read_rows(look_at(tmp_path / CSV, content))
    rows, _ = read_rows(look_at(tmp_path / CSV, content), policy="set-aside")
    assert [row[0] for row in rows] == ["R1", "R2", "R3", "R5"]


@pytest.mark.parametrize("line", ["x,Nice,NULL,n/a", "anna,Nice,,", "R4,,,", "R4,Nice,five,2026-11-04", ",Nice,4,"])
def test_a_record_with_a_few_odd_values_is_one(tmp_path: Path, line: str) -> None:
    rows, _ = read_rows(look_at(tmp_path / CSV, FOUR + line.encode() + b"\n"))
    assert rows[-1] == tuple(value or None for value in line.split(","))


def test_a_second_header_with_the_columns_in_another_order_is_refused(tmp_path: Path) -> None:
    file = look_at(tmp_path / CSV, FOUR + b"day,stars,text,review_id\n2026-11-04,4,Nice,R4\n")
    with pytest.raises(InputError, match=r"line 5 is a header whose columns are in another order; split the file"):
        read_rows(file, policy="set-aside")


@pytest.mark.parametrize("above", [b"\n", b"\r\n\r\n", b"\n" * 300])
def test_blank_lines_above_the_header_do_not_make_it_a_review(tmp_path: Path, above: bytes) -> None:
    rows, _ = read_rows(look_at(tmp_path / CSV, above + FOUR))
    assert [row[0] for row in rows] == ["R1", "R2", "R3"]


def test_a_text_of_several_lines_is_no_fault(tmp_path: Path) -> None:
    content = b'review_id,text,title\r\n1,"Great\r\nlamp","two\nlines"\r\n2,Bad,""\r\n3,,x\r\n'
    rows, _ = read_rows(look_at(tmp_path / CSV, content))
    assert rows == [("1", "Great\r\nlamp", "two\nlines"), ("2", "Bad", ""), ("3", None, "x")]
    assert read_rows(look_at(tmp_path / CSV, b"id,text,shop\n1,Good,\n2,Bad,"))[0][1] == ("2", "Bad", None)
    for cut in (b"id,text,shop\n1,Good,a\n2,Bad,", b'id,text,shop\n1,Good,a\n2,Bad,""'):
        with pytest.raises(InputError, match="line 3: the file ends within it"):
            read_rows(look_at(tmp_path / CSV, cut))
    assert read_rows(look_at(tmp_path / CSV, b'id,text\n1,""\n2,""'))[0][1] == ("2", "")


@pytest.mark.parametrize("last", ["", "\r\r\n"])
@pytest.mark.parametrize("delimiter", [",", ", "])
def test_lines_may_end_as_python_writes_them_on_windows(tmp_path: Path, last: str, delimiter: str) -> None:
    lines = [("id", "text", "shop"), ("1", '"Good,lamp"', "a"), ("2", "Bad", '"b"'), ("3", '"two\r\nlines"', "c")]
    content = "\r\r\n".join(map(delimiter.join, lines)) + last
    rows, _ = read_rows(look_at(tmp_path / CSV, content.encode(), delimiter=delimiter))
    assert rows == [("1", "Good,lamp", "a"), ("2", "Bad", "b"), ("3", "two\r\nlines", "c")]


def test_lines_may_end_with_a_carriage_return_and_texts_hold_line_feeds(tmp_path: Path) -> None:
    content = b'id,text\r1,"Good\nlamp, ""the best"", \n\n\nreally\n"\r2,Bad\r3,Fine\r'
    rows, _ = read_rows(look_at(tmp_path / CSV, content))
    assert rows == [("1", 'Good\nlamp, "the best", \n\n\nreally\n'), ("2", "Bad"), ("3", "Fine")]
    rows, _ = read_rows(look_at(tmp_path / CSV, b'id,text\n1,"a\rb\rc\rd"\n2,Bad\n'))
    assert rows == [("1", "a\rb\rc\rd"), ("2", "Bad")]


def test_what_may_be_the_rest_of_a_broken_record_is_set_aside_with_it(tmp_path: Path) -> None:
    rows = "".join(f"fine,{number},5\n" for number in range(10))
    content = f"text,review_id,stars\n{rows}I said: well\nnot, bad,10,5\n{rows}".encode()
    found, malformed = read_rows(look_at(tmp_path / CSV, content), policy="set-aside")
    assert {text for text, _, _ in found} == {"fine"}
    assert 12 in [record.line for record in malformed.records]


def test_without_a_column_of_numbers_nothing_tells_where_reading_goes_on(tmp_path: Path) -> None:
    content = b"text,author\n" + b"good,ann\n" * 5 + b"bad\n" + b"good,bob\n" * 5
    found, malformed = read_rows(look_at(tmp_path / CSV, content), policy="set-aside")
    assert found == [("good", "ann")] * 4
    assert len(malformed.records) == 7


# Dialects.


@pytest.mark.parametrize(
    ("content", "delimiter"),
    [
        (b'id;text;stars\n1;"Sehr gut; top";5\n2;Bad;1\n', ";"),
        (b"id\ttext\n1\tWow... loved, it\n2\tNot good\n", "\t"),
        (b"id|text\n1|Good; or not\n2|Bad, very\n", "|"),
        (b'id, text, stars\n1, "Good, or not", 5\n2, Bad, 1\n', ", "),
        (b"sep=;\r\nid;text\r\n1;Good, or not\r\n", ";"),
        (b"id;price;text\n1;2,50;Good\n2;3,10;Bad\n", ";"),
    ],
)
def test_the_delimiter_is_found(tmp_path: Path, content: bytes, delimiter: str) -> None:
    file = look_at(tmp_path / CSV, content)
    assert file.layout.dialect.delimiter == delimiter
    assert "text" in file.layout.names
    read_rows(file)


def test_a_backslash_escapes_if_quotes_ask_for_it_and_is_plain_otherwise(tmp_path: Path) -> None:
    rows, _ = read_rows(look_at(tmp_path / CSV, b'id,text\n1,"say \\"hi\\", \\\\ and 8\\\'9"\n2,"x"\n'))
    assert rows[0] == ("1", 'say "hi", \\ and 8\\\'9')
    rows, _ = read_rows(look_at(tmp_path / CSV, b'id,text\n1,"C:\\\\temp\\"\n2,"x"\n'))
    assert rows[0] == ("1", "C:\\\\temp\\")
    rows, _ = read_rows(look_at(tmp_path / CSV, b"id,text\n1,Good\\, cheap\\\nand more\n", escape="\\", quote=""))
    assert rows == [("1", "Good, cheap\nand more")]


def test_single_quotes_are_quotes_if_fields_stand_in_them(tmp_path: Path) -> None:
    rows, _ = read_rows(look_at(tmp_path / CSV, b"'id','text'\n'1','it''s, well'\n'2','\"x\"'\n"))
    assert rows == [("1", "it's, well"), ("2", '"x"')]
    rows, _ = read_rows(look_at(tmp_path / CSV, b"id,text\n1,'twas good\n2,it's\n3,bad\n4,so so\n5,fine\n"))
    assert rows[0] == ("1", "'twas good")


def test_quotes_may_be_plain_characters(tmp_path: Path) -> None:
    content = b'id\ttext\n1\t"Great" product\n2\t5" screen\n'
    with pytest.raises(InputError, match="--csv-quote"):
        read_rows(look_at(tmp_path / CSV, content))
    rows, _ = read_rows(look_at(tmp_path / CSV, content, quote=""))
    assert rows == [("1", '"Great" product'), ("2", '5" screen')]


def test_a_file_may_have_one_column(tmp_path: Path) -> None:
    rows, _ = read_rows(look_at(tmp_path / CSV, b'text\nGood\n\n"Bad, really"\n'))
    assert rows == [("Good",), (None,), ("Bad, really",)]
    with pytest.raises(InputError, match="--csv-delimiter none"):
        read_rows(look_at(tmp_path / CSV, b"text\nGood, cheap\nBad\nSo, so, so\n"))
    rows, _ = read_rows(look_at(tmp_path / CSV, b"text\nGood, cheap\nBad\n", delimiter=""))
    assert rows == [("Good, cheap",), ("Bad",)]


def test_null_words_are_those_that_are_named(tmp_path: Path) -> None:
    content = b'id,text,shop\n1,\\N,NA\n2,"\\N","NA"\n'
    assert read_rows(look_at(tmp_path / CSV, content))[0] == [("1", None, "NA"), ("2", "\\N", "NA")]
    found = read_rows(look_at(tmp_path / CSV, content, nulls=("NA",)))[0]
    assert found == [("1", "\\N", None), ("2", "\\N", "NA")]


# Headers.


def test_columns_without_a_name_and_with_the_same_one_get_sparks_names(tmp_path: Path) -> None:
    assert look_at(tmp_path / CSV, b",review,stars\n0,Good,5\n").layout.names == ("_c0", "review", "stars")
    assert look_at(tmp_path / CSV, b"id,text,stars,\n0,Good,5,\n").layout.names == ("id", "text", "stars", "_c3")
    assert look_at(tmp_path / CSV, b"id,text,stars,Stars\n0,Good,5,4\n").layout.names == (
        "id",
        "text",
        "stars2",
        "Stars3",
    )
    with pytest.raises(InputError, match="2 columns are named 'stars'; they are called stars2 and stars3 here"):
        look_at(tmp_path / CSV, b"id,text,stars,stars\n0,Good,5,4\n", wanted=("stars",))


@pytest.mark.parametrize(
    ("above", "line"), [("Reviews of November\n", 2), ("Export,,,\n,,,\n", 3), ("shop;Berlin\n\ndate;2026\n\n", 5)]
)
def test_lines_above_the_header_are_refused_with_the_header_s_line(tmp_path: Path, above: str, line: int) -> None:
    content = f"{above}id,text,stars,shop\n1,Good,5,a\n2,Bad,1,b\n3,Fine,3,c\n".encode()
    with pytest.raises(InputError, match=rf"the header seems to be line {line}: .* --csv-skip {line - 1}"):
        look_at(tmp_path / CSV, content)
    rows, _ = read_rows(look_at(tmp_path / CSV, content, skip=line - 1))
    assert rows == [("1", "Good", "5", "a"), ("2", "Bad", "1", "b"), ("3", "Fine", "3", "c")]
    broken = content + b"4,Bad\n"
    with pytest.raises(InputError, match=rf"reviews\.csv line {line + 4}: it has 2 fields"):
        read_rows(look_at(tmp_path / CSV, broken, skip=line - 1))


def test_delimiters_at_the_end_of_the_header_are_no_columns(tmp_path: Path) -> None:
    file = look_at(tmp_path / CSV, b"id,text,stars,,\n1,Good,5\n2,Bad,1\n3,Fine,3\n")
    assert (file.layout.names, len(read_rows(file)[0])) == (("id", "text", "stars"), 3)


@pytest.mark.parametrize("header", [b"id,text,stars", b"id,text,stars,shop,day", b"text"])
def test_no_record_is_called_the_header(tmp_path: Path, header: bytes) -> None:
    """As R writes the names of rows, for which the header has no name."""
    content = header + b"\nr1,1,Good,5\nr2,2,Bad,1\nr3,3,Fine,3\n"
    with pytest.raises(InputError, match=r"4; give each field a name, or write --csv-skip 1 --csv-header absent"):
        look_at(tmp_path / CSV, content)
    rows, _ = read_rows(look_at(tmp_path / CSV, content, skip=1, header=False))
    assert rows[0] == ("r1", "1", "Good", "5")


def test_a_file_without_a_header_is_read_by_place(tmp_path: Path) -> None:
    content = b"1,Good,5\n2,Bad,1\n3,Fine,3\n"
    assert look_at(tmp_path / CSV, content).layout.names == ("_c0", "_c1", "_c2")
    assert len(read_rows(look_at(tmp_path / CSV, content, wanted=("_c0", "_c1")))[0]) == 3
    with pytest.raises(InputError, match=r"line 1 looks like a record .* --csv-header absent"):
        look_at(tmp_path / CSV, content, wanted=("review_id", "text"))
    with pytest.raises(InputError, match="line 1 is taken for the header, so no column is called _c0; write"):
        look_at(tmp_path / CSV, b"ann,Good\nbob,Bad\n", wanted=("_c0", "_c1"))
    years = b"id,2019,2020\n1,3,4\n2,5,6\n"
    assert look_at(tmp_path / CSV, years, wanted=("id", "2019")).layout.names == ("id", "2019", "2020")


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n\n"])
def test_a_file_without_a_line_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match=r"reviews\.csv: (the file is empty|has no line with text)"):
        look_at(tmp_path / CSV, content)


# Encodings.


@pytest.mark.parametrize(
    ("name", "language"),
    [
        *(("cp1252", "fr"), ("cp1252", "de"), ("mac_roman", "fr"), ("cp1250", "pl"), ("cp1251", "ru"), ("cp932", "ja")),
        *(("utf-16", "fr"), ("utf-16-le", "ja"), ("utf-16-be", "de"), ("utf-8-sig", "fr"), ("utf-8", "ja")),
    ],
)
def test_the_encoding_is_found(tmp_path: Path, name: str, language: str) -> None:
    words = WORDS[language]
    text = "id,text\n" + "".join(f'{number},"{" ".join(words[number % 5 :])}"\n' for number in range(20))
    rows, _ = read_rows(look_at(tmp_path / CSV, text.encode(name)))
    assert rows == [(str(number), " ".join(words[number % 5 :])) for number in range(20)]


def test_an_encoding_that_is_not_sure_is_asked_for(tmp_path: Path) -> None:
    content = "id,text\n1,ça\x9a\n".encode("cp850", "replace") + b"2,\x81\x8d\xd5\n"
    with pytest.raises(InputError, match=r"reviews\.csv: line 2 is not UTF-8, .*name it with --encoding"):
        look_at(tmp_path / CSV, content)
    rows, _ = read_rows(look_at(tmp_path / CSV, content, encoding="cp850"))
    assert rows[1] == ("2", "üìı")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cp1257", "Ļoti laba kvalitāte; nedarbojas, žēl"),
        ("cp1257", "Labai gera kokybė, ačiū; grąžinau kitą dieną"),
        ("cp1257", "Väga hea, täpne; õudne šokk"),
        ("koi8-u", "Дуже гарна якість; чудовий товар, є ґарантія"),
        ("mac_cyrillic", "Очень хорошее качество; Сломался через неделю"),
        ("cp857", "Çok kaliteli, hızlı geldi; kötü ürün, teşekkürler"),
        ("cp862", "איכות טובה מאוד; משלוח מהיר"),
    ],
)
def test_an_encoding_that_is_not_tried_is_not_taken_for_another_one(tmp_path: Path, name: str, text: str) -> None:
    content = "id;text\n" + "".join(f"{number};{text.replace(';', ' ')}\n" for number in range(20))
    with pytest.raises(InputError, match=r"line 2 is not UTF-8, .*name it with --encoding"):
        look_at(tmp_path / CSV, content.encode(name))
    rows, _ = read_rows(look_at(tmp_path / CSV, content.encode(name), encoding=name))
    assert rows[0] == ("0", text.replace(";", " "))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cp1252", "Très bon café, größer als gedacht, año"),
        ("cp1254", "Çok iyi değil, İade ettim, şarjı hızlı bitiyor, teşekkürler café"),
        ("cp1250", "Źle działa, świetny produkt, dziękuję, polecam każdemu, Müller"),
        ("cp1251", "Очень хорошее качество, рекомендую всем, отличный товар"),
    ],
)
def test_a_few_letters_of_other_languages_do_not_matter(tmp_path: Path, name: str, text: str) -> None:
    usual = text.rpartition(" ")[0]
    content = "id;text\n" + "".join(f"{number};{usual if number else text}\n" for number in range(40))
    rows, _ = read_rows(look_at(tmp_path / CSV, content.encode(name)))
    assert [row[1] for row in rows[:2]] == [text, usual]


def test_ascii_that_stands_for_other_characters_is_no_text(tmp_path: Path) -> None:
    content = "id,text\n1,とても良い品質です\n".encode("iso2022_jp")
    with pytest.raises(InputError, match=r"is written in ISO 2022, .* name which one with --encoding, iso2022_jp say"):
        look_at(tmp_path / CSV, content)
    assert read_rows(look_at(tmp_path / CSV, content, encoding="iso2022_jp"))[0] == [("1", "とても良い品質です")]


def test_an_encoding_that_the_file_cannot_have_is_refused(tmp_path: Path) -> None:
    """Each byte is a character in some encodings, so that nothing else would show it."""
    content = "id,text\n1,très déçu, hélas : à éviter\n".replace("déçu,", "déçu").encode()
    with pytest.raises(InputError, match=r"reviews\.csv: is UTF-8, of which cp1252 would make other characters; leave"):
        look_at(tmp_path / CSV, content, encoding="cp1252")
    for marked in (codecs.BOM_UTF8 + content, content.decode().encode("utf-16")):
        with pytest.raises(InputError, match=r"has the byte-order mark of utf-.*, so it is not cp1252"):
            look_at(tmp_path / CSV, marked, encoding="cp1252")
    for name in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le"):
        assert len(read_rows(look_at(tmp_path / CSV, content.decode().encode(name), encoding=name))[0]) == 1


def test_a_damaged_line_of_a_file_in_utf_8_is_named_and_no_character_is_made_up(tmp_path: Path) -> None:
    content = "id,text\n1,très bon\n".encode() + b"2,caf\xe9\n" + "3,déçu\n".encode()
    with pytest.raises(InputError, match=r"line 3: it has bytes that are not utf-8"):
        read_rows(look_at(tmp_path / CSV, content))
    rows, malformed = read_rows(look_at(tmp_path / CSV, content), policy="set-aside")
    assert rows == [("1", "très bon"), ("3", "déçu")]
    assert [record.line for record in malformed.records] == [3]


def test_bytes_beyond_the_head_count_as_well(tmp_path: Path) -> None:
    content = b"id,text\n" + b"1,good\n" * 60_000 + "2,très bon café, crème brûlée à déguster\n".encode("cp1252")
    content = content.replace("café,".encode("cp1252"), "café".encode("cp1252"))
    rows, _ = read_rows(look_at(tmp_path / CSV, content))
    assert rows[-1] == ("2", "très bon café crème brûlée à déguster")


def test_what_a_file_is_packed_with_is_told_by_its_bytes(tmp_path: Path) -> None:
    content = gzip.compress(b"id,text\n1,Good\n") + gzip.compress(b"2,Bad\n")
    assert len(read_rows(look_at(tmp_path / CSV, content))[0]) == 2
    with pytest.raises(InputError, match=r"reviews\.csv: cannot be read as gzip .* damaged or cut off"):
        read_rows(look_at(tmp_path / CSV, content[:-5]))
    with pytest.raises(InputError, match=r"reviews\.csv: is a file of the kind zip, which cannot be read; unpack it"):
        look_at(tmp_path / CSV, b"PK\x03\x04abc")
