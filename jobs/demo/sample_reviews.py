"""Deterministic demo reviews, composed from a small grammar of our own.

No third-party text is involved: the phrases live in ``sample_phrases.json`` beside this module, and a
seed decides every word. The tone of a review agrees with its stars, and the data tells a story: the kettle
is liked until a leaking batch arrives on 2026-10-05, the robot vacuum improves slowly, the rest is stable.

Examples
--------
Write the default demo file::

    python -m jobs.demo.sample_reviews build/reviews.parquet
"""

from __future__ import annotations

import argparse
import csv
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from importlib import resources
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
import pyarrow.parquet as pq  # type: ignore[import-untyped, unused-ignore]

__all__ = [
    "FIRST_DAY",
    "N_DAYS",
    "ODD_KINDS",
    "PRODUCTS",
    "SCHEMA",
    "Product",
    "generate_reviews",
    "main",
    "write_reviews",
]

FIRST_DAY = date(2026, 9, 1)
N_DAYS = 56
SCHEMA = pa.schema(
    [
        pa.field("review_id", pa.int64(), nullable=False),
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("review_date", pa.date32(), nullable=False),
        pa.field("stars", pa.int8()),
        pa.field("text", pa.string()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Product:
    """How one product is rated over time.

    Attributes
    ----------
    slug : str
        Readable identifier, also the key of its phrases.
    kind : str
        ``thing``, ``film`` or ``place``; decides the verbs that reviewers use.
    weight : int
        Relative number of reviews.
    first, last : float
        Mean stars on the first and the last day; in between they change linearly.
    news_day : date or None
        From this day on reviewers also mention the news about the product.
    shift : float
        What the news adds to the mean stars.
    """

    slug: str
    kind: str = "thing"
    weight: int
    first: float
    last: float
    news_day: date | None = None
    shift: float = 0.0

    def has_news(self, day: date) -> bool:
        """Tell whether reviewers already know the news on `day`."""
        return self.news_day is not None and day >= self.news_day

    def level(self, day: date) -> float:
        """Return the mean stars on `day`, before noise and rounding."""
        progress = (day - FIRST_DAY).days / (N_DAYS - 1)
        return self.first + progress * (self.last - self.first) + self.shift * self.has_news(day)


PRODUCTS = (
    Product(slug="kettle-k2", weight=6, first=4.4, last=4.4, news_day=date(2026, 10, 5), shift=-2.8),
    Product(slug="robot-vacuum", weight=4, first=2.2, last=4.4, news_day=date(2026, 9, 24)),
    Product(slug="trail-shoes", weight=4, first=4.3, last=4.3),
    Product(slug="film-the-salt-road", kind="film", weight=3, first=3.7, last=3.7),
    Product(slug="desk-lamp", weight=2, first=3.2, last=3.2),
    Product(slug="bistro-juniper", kind="place", weight=2, first=2.6, last=2.6),
)

_PHRASES: dict[str, Any] = json.loads(
    resources.files("jobs.demo").joinpath("sample_phrases.json").read_text(encoding="utf-8")
)
_SLOT = re.compile(r"\{(\w+)\}")
_SENTENCE_START = re.compile(r"(?:^|[.!?]\s+)[a-z]")
_SHAPES = {  # the parts of a review in order -> how common that shape is
    "body": 10,
    "opener rating": 4,
    "body closer": 12,
    "opener body": 12,
    "body turn rating": 8,
    "opener body closer": 14,
    "opener context body turn": 12,
    "context body more closer rating": 10,
    "opener body more turn closer": 10,
    "context opener body more remark turn closer": 8,
    "opener context context body more more remark turn closer rating": 5,
    "opener context context context body more remark more turn more more remark remark closer rating": 3,
}


class _Reviewer:
    """One person about to write one review; uses no phrase and no aspect twice."""

    def __init__(self, rng: Random, product: Product, *, stars: int, day: date) -> None:
        phrases: dict[str, Any] = _PHRASES["products"][product.slug]
        tone = "positive" if stars > 3 else "negative" if stars < 3 else "mixed"
        self._rng = rng
        self._stars = stars
        self._slots = _PHRASES["slots"] | _PHRASES["kinds"][product.kind] | phrases
        self._slots["score"] = [str(2 * stars - 1), str(2 * stars)]
        pools = _PHRASES["tones"][tone] | {"context": phrases["context"], "rating": _PHRASES["ratings"]}
        self._pools = {part: rng.sample(pool, len(pool)) for part, pool in pools.items()}
        if stars in (1, 5):
            self._pools["turn"] = []  # no ifs and buts
        self._aspects = list(phrases["aspects"])
        # The first aspect is the one in the news: who mentions the news says nothing else about it.
        news = phrases.get("news", {}).get(tone)
        if news and product.has_news(day) and rng.random() < 0.8:
            self._pools["body"] = [rng.choice(news)]
            del self._aspects[0]
        rng.shuffle(self._aspects)

    def write(self) -> str:
        """Return the finished text."""
        shape = self._rng.choices(list(_SHAPES), weights=list(_SHAPES.values()))[0]
        sentences = (self._expand(self._template(part)) for part in shape.split())
        text = " ".join(sentence for sentence in sentences if sentence)
        if len(text.split()) < 5:
            text = f"{text} {self._expand(self._pools['closer'].pop())}"
        if self._stars in (1, 5) and self._rng.random() < 0.1:
            text = text.replace("!", "!!!")
        return _SENTENCE_START.sub(lambda match: match[0].upper(), text)

    def _template(self, part: str) -> str:
        pool: list[str] = self._pools[part]
        enough = part not in ("body", "more") or len(self._aspects) > 1
        return pool.pop() if pool and enough else ""

    def _expand(self, template: str) -> str:
        return _SLOT.sub(lambda match: self._expand(self._choose(match[1])), template)

    def _choose(self, slot: str) -> str:
        options = self._aspects.pop()[slot] if slot in ("pos", "neg") else self._slots[slot]
        return str(self._rng.choice(options))


def _huge_text(rng: Random) -> str:
    product, text = rng.choice(PRODUCTS), ""
    while len(text) < 200_000:
        text += _Reviewer(rng, product, stars=4, day=FIRST_DAY).write() + " "
    return text.rstrip()


_FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)} | {0x20: 0x3000}
# Odd texts made from a normal one; the fixed ones come from the phrase file.
_ODD_FROM_PLAIN: dict[str, Callable[[str], str | None]] = {
    "null": lambda plain: None,
    "html": lambda plain: f"<p>{plain.replace('. ', '.<br /><br />')}</p>&quot;Good &amp; cheap&quot;?<br />",
    "zero_width": lambda plain: "\ufeff" + plain.replace("e", "e\u200b").replace(" ", " \u2060\u200d", 4),
    "newlines": lambda plain: "\n\t" + plain.replace(" ", "\r\n", 1).replace(" ", "\t", 1).replace(". ", ".\n\n"),
    "csv": lambda plain: f'"Well, well", he said; \'{plain}\'\n"a ""quoted"" field",2,\\"N',
    "fullwidth": lambda plain: plain.translate(_FULL_WIDTH),
}
_ODD_ONCE: dict[str, Callable[[Random], str]] = {
    "long_word": lambda rng: "l" + "o" * rng.randint(9_000, 11_000) + "ng",
    "huge": _huge_text,
}
_ODD_REPEATABLE = (*_ODD_FROM_PLAIN, *_PHRASES["odd"])
ODD_KINDS = (*_ODD_REPEATABLE, *_ODD_ONCE)


def generate_reviews(
    n_reviews: int = 600, *, seed: int = 7, odd_texts: bool = True, star_share: float = 1.0
) -> pa.Table:
    """Compose a table of demo reviews; the same arguments give the same table.

    Parameters
    ----------
    n_reviews : int, default 600
        Number of rows.
    seed : int, default 7
        Decides every value.
    odd_texts : bool, default True
        Replace about 4 % of the texts by odd ones (NULL, HTML, emoji, other scripts, 200 kB of text, ...)
        whose stars are null. From 100 rows on each of `ODD_KINDS` occurs at least once. All other rows are
        those of ``odd_texts=False``.
    star_share : float, default 1
        Chance of a review to keep its stars, 0 to 1: shops seldom know them of all reviews.

    Returns
    -------
    pyarrow.Table
        Columns as in `SCHEMA`, ordered by date. Each ``review_id`` is above 2**53, so that a detour through
        float64 damages it.

    Raises
    ------
    ValueError
        If `n_reviews` is negative or `star_share` no share.
    """
    if n_reviews < 0:
        raise ValueError(f"The number of reviews must be 0 or more, but it is {n_reviews}.")
    if not 0 <= star_share <= 1:
        raise ValueError(f"The share of stars must be from 0 to 1, but it is {star_share}.")
    rng = Random(f"reviews-{seed}")
    weights = [product.weight for product in PRODUCTS]
    days = sorted(FIRST_DAY + timedelta(days=rng.randrange(N_DAYS)) for _ in range(n_reviews))
    review_id = 2**53 + 1
    ids: list[int] = []
    slugs: list[str] = []
    stars: list[int | None] = []
    texts: list[str | None] = []
    for day in days:
        product = rng.choices(PRODUCTS, weights=weights)[0]
        rating = min(5, max(1, round(rng.gauss(product.level(day), 0.8))))
        ids.append(review_id)
        slugs.append(product.slug)
        stars.append(rating)
        texts.append(_Reviewer(rng, product, stars=rating, day=day).write())
        review_id += rng.choice((1, 3, 5, 7))
    if odd_texts:
        for row, text in _odd_rows(texts, rng=Random(f"odd-{seed}")).items():
            stars[row], texts[row] = None, text
    keeps = Random(f"stars-{seed}")
    stars = [rating if keeps.random() < star_share else None for rating in stars]
    columns = {"review_id": ids, "product_id": slugs, "review_date": days, "stars": stars, "text": texts}
    return pa.table(columns, SCHEMA)


def write_reviews(
    path: Path, *, n_reviews: int = 600, seed: int = 7, odd_texts: bool = True, star_share: float = 1.0
) -> None:
    """Write the demo reviews as one file, with its parent folders where they are missing.

    Parameters
    ----------
    path : Path
        The file to write; an existing one is replaced. Parquet (zstd), or, if it ends in ``.csv``, as a shop exports
        it: with semicolons, a byte-order mark and Windows' line ends.
    n_reviews, seed, odd_texts, star_share
        See `generate_reviews`.
    """
    table = generate_reviews(n_reviews, seed=seed, odd_texts=odd_texts, star_share=star_share)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() != ".csv":
        pq.write_table(table, path, compression="zstd")
        return
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.writer(stream, delimiter=";", lineterminator="\r\n", quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(table.column_names)
        writer.writerows(row.values() for row in table.to_pylist())


def _odd_rows(texts: Sequence[str | None], *, rng: Random) -> dict[int, str | None]:
    """Choose about 4 % of the rows and give each an odd text."""
    n_odd = round(0.04 * len(texts))
    kinds = list(ODD_KINDS) if len(texts) >= 100 else rng.sample(_ODD_REPEATABLE, n_odd)
    kinds += rng.choices(_ODD_REPEATABLE, k=max(0, n_odd - len(kinds)))
    rows = rng.sample(range(len(texts)), len(kinds))
    return {row: _odd_text(kind, plain=texts[row] or "", rng=rng) for row, kind in zip(rows, kinds, strict=True)}


def _odd_text(kind: str, *, plain: str, rng: Random) -> str | None:
    if kind in _ODD_ONCE:
        return _ODD_ONCE[kind](rng)
    if kind in _ODD_FROM_PLAIN:
        return _ODD_FROM_PLAIN[kind](plain)
    return str(rng.choice(_PHRASES["odd"][kind]))


def main(argv: Sequence[str] | None = None) -> int:
    """Write the demo reviews from the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program name; those of the process by default.

    Returns
    -------
    int
        The exit status, 0.
    """
    parser = argparse.ArgumentParser(
        "python -m jobs.demo.sample_reviews", description="Write demo reviews as Parquet or CSV."
    )
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="the file to write, .parquet or .csv")
    parser.add_argument("--rows", type=int, default=600, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, metavar="N", help="any number (default: %(default)s)")
    parser.add_argument(
        "--star-share", type=float, default=1.0, metavar="F", help="share of reviews that keep their stars (default: 1)"
    )
    options = parser.parse_args(argv)
    if options.rows < 0:
        parser.error("--rows must be 0 or more")
    if not 0 <= options.star_share <= 1:
        parser.error("--star-share must be from 0 to 1")
    write_reviews(options.output, n_reviews=options.rows, seed=options.seed, star_share=options.star_share)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
