"""A peer: TF-IDF of words and word pairs, logistic regression."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

__all__ = ["fit_linear", "linear_scorer"]

Score = Callable[[list[str]], npt.NDArray[np.float64]]


def fit_linear(training: pa.Table, path: Path) -> None:
    """Fit to ``text`` and ``positive``, and store what was learnt: a word list and two arrays."""
    vectorizer = _vectorizer(min_df=2)
    features = vectorizer.fit_transform(training["text"].to_pylist())
    classifier = LogisticRegression(C=20, solver="liblinear").fit(features, training["positive"].to_numpy())
    path.mkdir(parents=True, exist_ok=True)
    np.save(path / "idf.npy", vectorizer.idf_)
    np.save(path / "weights.npy", np.append(classifier.coef_[0], classifier.intercept_))
    (path / "words.json").write_text(json.dumps(vectorizer.get_feature_names_out().tolist()))


def linear_scorer(path: Path) -> Score:
    """Texts -> probabilities, by what `fit_linear` has stored."""
    words = json.loads((path / "words.json").read_text())
    vectorizer = _vectorizer(vocabulary={word: index for index, word in enumerate(words)})
    vectorizer.idf_ = np.load(path / "idf.npy")
    weights = np.load(path / "weights.npy")
    classifier = LogisticRegression()
    classifier.classes_ = np.array([False, True])
    classifier.coef_, classifier.intercept_ = weights[None, :-1], weights[-1:]

    def score(texts: list[str]) -> npt.NDArray[np.float64]:
        probability: npt.NDArray[np.float64] = classifier.predict_proba(vectorizer.transform(texts))[:, 1]
        return probability

    return score


def _vectorizer(**options: object) -> TfidfVectorizer:
    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+|[!?]", **options)
