"""Prepare the reviews that the bundled model is trained on: what is learnt, what is held out, and the vocabulary.

    python -m tools.bundled_model.prepare DATA OUTPUT [--templates FILE]

DATA holds ``imdb_train.parquet``, ``imdb_unsup.parquet`` and ``reviews_pool.parquet``. OUTPUT gets

- ``labelled.parquet``: text, label from 0 to 1, product_id, source, and label_share, the weight of the label beside
  the teacher's in what the model learns;
- ``unlabelled.parquet``: text;
- ``films.parquet`` and ``films_unlabelled.parquet``: those of both that are about films;
- ``elsewhere.parquet``: text, label 0 or 1, and domain, of the sources that nothing is trained on;
- ``vocabulary.txt``: the words, the most frequent first.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sentiment_core.dataset.holdout import held_out_mask
from sentiment_core.text.pipeline import MOST_TOKENS, SPECIAL_TOKENS, TextSettings, build_vocabulary, valid_utf8

__all__ = ["HELD_OUT_SOURCES", "main"]

# Of many domains and lengths, and small: what is measured on them holds for shops that nobody has seen.
HELD_OUT_SOURCES = (
    "amazon_memcard", "amazon_mixed_tz", "chatgpt_app", "flipkart", "netflix_app", "steam_e", "steam_fm15",
    "tripadvisor_restaurants", "trustpilot_travel", "yelp_2021", "zomato",
)  # fmt: skip
# Their sentences have the label of the whole review, or of a column's name: the teacher labels most of them anew.
NOISY_SOURCES = {"yelp_sentences": 15_000, "pros_cons": 12_000}
_TEMPLATES = "templates"
_FILMS, _UNLABELLED_FILMS = "imdb", "imdb_unlabelled"
# 15 MB of weights in half precision.
_VOCAB_SIZE = 33_000
_FEWEST_OCCURRENCES = 5
# Each source's words count by this power of its tokens: none swamps the others, none decides with a hundred reviews.
_SOURCE_POWER = 0.55
# Labels of reviews err more often than the targets of templates.
_REVIEW_SHARE, _TEMPLATE_SHARE = 0.5, 0.7
_SEED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the tables; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--templates", type=Path, help="texts with targets from 0 to 1, trained on as well")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    reviews = _reviews(options.data)
    elsewhere = pc.is_in(reviews["source"], value_set=pa.array(HELD_OUT_SOURCES))
    is_labelled = reviews["label"].is_valid()
    known = reviews.filter(pc.invert(elsewhere))
    labelled = known.filter(pc.invert(known["label"].is_null()))
    unlabelled = known.filter(known["label"].is_null())
    if options.templates is not None:
        labelled = pa.concat_tables([labelled, _templates(options.templates)])
    judged = reviews.filter(pc.and_(elsewhere, is_labelled))
    judged = judged.filter(pc.not_equal(judged["label"], 0.5))
    is_template = pc.equal(labelled["source"], _TEMPLATES)
    labelled = labelled.append_column("label_share", pc.if_else(is_template, _TEMPLATE_SHARE, _REVIEW_SHARE))
    columns = ["text", "label", "product_id", "source", "label_share"]
    _write(labelled, options.output / "labelled.parquet", columns)
    _write(labelled.filter(pc.equal(labelled["source"], _FILMS)), options.output / "films.parquet", columns)
    _write(unlabelled, options.output / "unlabelled.parquet", ["text"])
    films = unlabelled.filter(pc.equal(unlabelled["source"], _UNLABELLED_FILMS))
    _write(films, options.output / "films_unlabelled.parquet", ["text"])
    judged = judged.rename_columns(["domain" if name == "source" else name for name in judged.column_names])
    _write(judged, options.output / "elsewhere.parquet", ["text", "label", "domain"])
    words, unknown = _vocabulary(known)
    (options.output / "vocabulary.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    print(  # noqa: T201
        json.dumps(
            {
                "labelled": len(labelled),
                "unlabelled": len(unlabelled),
                "elsewhere": len(judged),
                "words": len(words),
                "unknown_percent_by_source": {name: round(share, 2) for name, share in unknown.items()},
            },
            indent=2,
        )
    )
    return 0


def _reviews(data: Path) -> pa.Table:
    """All reviews: text, label (null where nobody gave one, 0.5 for a neutral one), product_id, source."""
    pool = pq.read_table(data / "reviews_pool.parquet", columns=["source", "product_id", "stars", "label", "text"])
    label = pool["label"].cast(pa.float64())
    neutral = pc.and_(pc.is_null(label), pc.invert(_has_no_labels(pool["source"])))
    label = pc.if_else(neutral, 0.5, label)
    product = pc.if_else(
        pool["product_id"].is_valid(), pc.binary_join_element_wise(pool["source"], pool["product_id"], ":"), None
    )
    # The noisy sources keep a part of their labels.
    rng = np.random.default_rng(_SEED)
    drop = np.zeros(len(pool), bool)
    for name, kept in NOISY_SOURCES.items():
        rows = np.flatnonzero(pc.equal(pool["source"], name).to_numpy())
        drop[rng.permutation(rows)[kept:]] = True
    label = pc.if_else(pa.array(drop), pa.scalar(None, pa.float64()), label)
    tables = [_table(pool["text"], label, product, pool["source"])]
    films = pq.read_table(data / "imdb_train.parquet", columns=["product_id", "stars", "text"])
    label = pc.greater(films["stars"], 5).cast(pa.float64())
    tables.append(_table(films["text"], label, films["product_id"], _repeated(_FILMS, len(films))))
    others = pq.read_table(data / "imdb_unsup.parquet", columns=["product_id", "text"])
    nothing = pa.nulls(len(others), pa.float64())
    tables.append(_table(others["text"], nothing, others["product_id"], _repeated(_UNLABELLED_FILMS, len(others))))
    reviews = pa.concat_tables(tables)
    films_held_out = held_out_mask(reviews["product_id"].combine_chunks())
    # Unlabelled reviews of films that are held out would teach what is measured.
    unlabelled = reviews["label"].is_null().to_numpy()
    film = np.asarray(pc.equal(reviews["source"], _UNLABELLED_FILMS).to_numpy())
    return reviews.filter(pa.array(~(films_held_out & unlabelled & film)))


def _has_no_labels(source: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.or_(pc.ends_with(source, "_unl"), pc.equal(source, "fdu_mtl"))


def _table(text: Any, label: Any, product: Any, source: Any) -> pa.Table:
    return pa.table(
        {
            "text": text.cast(pa.large_string()),
            "label": label.cast(pa.float64()),
            "product_id": product.cast(pa.large_string()),
            "source": source.cast(pa.large_string()),
        }
    )


def _templates(path: Path) -> pa.Table:
    table = pq.read_table(path, columns=["text", "positive"])
    key = pa.array([_TEMPLATES])
    if held_out_mask(key)[0]:
        raise AssertionError("the templates must be trained on: give them another key")
    keys = _repeated(_TEMPLATES, len(table))
    return _table(table["text"], table["positive"], keys, keys)


def _repeated(value: str, n: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, pa.large_string()), n)


def _write(table: pa.Table, path: Path, columns: list[str]) -> None:
    pq.write_table(table.select(columns), path, compression="zstd", compression_level=12)


def _vocabulary(reviews: pa.Table) -> tuple[list[str], dict[str, float]]:
    """The words, and the percentage of each source's tokens that is none of them."""
    whole = TextSettings(max_tokens=MOST_TOKENS)
    counts: dict[str, dict[str, int]] = {}
    for source in sorted(reviews["source"].unique().to_pylist()):
        texts = valid_utf8(reviews.filter(pc.equal(reviews["source"], source))["text"])
        parts = (texts.slice(start, 20_000) for start in range(0, len(texts), 20_000))
        found, occurrences = build_vocabulary(parts, settings=whole, max_size=10_000_000, min_count=1)
        n_special = len(SPECIAL_TOKENS)
        counts[source] = dict(zip(found.words[n_special:], occurrences[n_special:].tolist()))
    total: Counter[str] = Counter()
    weighted: Counter[str] = Counter()
    for words in counts.values():
        n_tokens = sum(words.values())
        total.update(words)
        for word, count in words.items():
            weighted[word] += count * n_tokens ** (_SOURCE_POWER - 1)
    frequent = [word for word, _ in weighted.most_common() if total[word] >= _FEWEST_OCCURRENCES]
    chosen = set(frequent[: _VOCAB_SIZE - len(SPECIAL_TOKENS)])
    unknown = {
        source: 100 * (1 - sum(count for word, count in words.items() if word in chosen) / sum(words.values()))
        for source, words in counts.items()
    }
    # As sampling expects them: the most frequent words first.
    return [*SPECIAL_TOKENS, *sorted(chosen, key=lambda word: (-total[word], word))], unknown


if __name__ == "__main__":
    sys.exit(main())
