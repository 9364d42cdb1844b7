"""An ensemble that labels reviews, so that one small network can learn what all of its members know together.

The members are trained models and a linear model on words, word pairs and word triples, weighted as by naive Bayes
(Wang and Manning 2012): it errs elsewhere than they do.

Axes: N reviews, F word sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentiment_core.artifact import Model
from sentiment_core.errors import EnvironmentFault, InputError
from sentiment_core.evaluation import evaluate_probabilities
from sentiment_core.labelled import Labelled
from sentiment_core.scoring import Scorer
from sentiment_core.text import TextSettings, tokenize

try:
    from scipy import sparse
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
except ModuleNotFoundError as error:
    raise EnvironmentFault(
        f"an ensemble needs {error.name}, which is not installed: pip install 'sentiment-warehouse[training]'"
    ) from error

__all__ = ["Ensemble", "WordSequenceModel"]

Floats = npt.NDArray[np.float64]

_MOST_CERTAIN = 1e-6  # so that a probability of 0 or 1 has a logit


class WordSequenceModel:
    """Logistic regression on the presence of word sequences, each weighted by its log-count ratio.

    Parameters
    ----------
    n_words : int
        Longest sequence.
    min_count : int
        Reviews that a sequence must be in.
    strength : float
        Inverse of the L2 penalty.
    """

    def __init__(self, *, n_words: int = 3, min_count: int = 2, strength: float = 1.0) -> None:
        # The tokens are ours already; they only have to be told apart.
        self._vectorizer = CountVectorizer(
            ngram_range=(1, n_words),
            min_df=min_count,
            binary=True,
            lowercase=False,
            token_pattern=r"\S+",  # noqa: S106
        )
        self._regression = LogisticRegression(C=strength, solver="liblinear", dual=True, random_state=0, max_iter=1000)
        self._ratios: Floats = np.empty(0)

    def fit(self, data: Labelled) -> WordSequenceModel:
        """Learn from labels; returns itself."""
        positive = data.positive >= 0.5
        try:
            counts = self._vectorizer.fit_transform(_spaced(data.texts))  # (N, F)
        except ValueError as error:  # it has no class of its own for this
            raise InputError(
                f"the {len(data):,} labelled reviews have no word in common to learn from; give more of them"
            ) from error
        seen = [np.asarray(counts[part].sum(axis=0)).ravel() + 1.0 for part in (positive, ~positive)]
        self._ratios = np.log(seen[0] / seen[0].sum()) - np.log(seen[1] / seen[1].sum())
        self._regression.fit(self._weighted(counts), positive)
        return self

    def logits(self, texts: pa.Array) -> Floats:
        """Logit of each text, shape (N,)."""
        logits: Floats = self._regression.decision_function(self._weighted(self._vectorizer.transform(_spaced(texts))))
        return logits

    def _weighted(self, counts: Any) -> Any:
        return counts @ sparse.diags(self._ratios)


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Models and a linear model under weights that the held-out reviews chose.

    Attributes
    ----------
    scorers : list of Scorer
        Their logits are averaged.
    linear : WordSequenceModel
    weights : array, shape (3,)
        Of the scorers' mean logit, of the linear model's logit, and the intercept.
    """

    scorers: Sequence[Scorer]
    linear: WordSequenceModel
    weights: Floats

    @classmethod
    def fit(cls, models: Sequence[Model], data: Labelled, *, held_out: Labelled) -> Ensemble:
        """Train the linear model and weigh the members.

        Parameters
        ----------
        models : sequence of Model
            Members, trained on the same reviews.
        data : Labelled
            What the linear model learns from.
        held_out : Labelled
            Reviews that no member has seen: they decide on three weights.

        Raises
        ------
        InputError
            If a part has labels of one class only.
        """
        for name, part in (("training", data), ("held-out", held_out)):
            n_positive = np.count_nonzero(part.positive >= 0.5)
            if n_positive in (0, len(part)):
                raise InputError(
                    f"the {name} part has {n_positive} positive reviews of {len(part)}; it needs both classes: check "
                    "--label-column, --positive-above and --validation-fraction"
                )
        ensemble = cls(
            scorers=[Scorer(model, precision="float32") for model in models],
            linear=WordSequenceModel().fit(data),
            weights=np.zeros(3),
        )
        regression = LogisticRegression(C=1e6, solver="lbfgs")
        regression.fit(ensemble.member_logits(held_out.texts), held_out.positive >= 0.5)
        return cls(
            scorers=ensemble.scorers,
            linear=ensemble.linear,
            weights=np.concatenate([regression.coef_[0], regression.intercept_]),
        )

    def member_logits(self, texts: pa.Array) -> Floats:
        """The scorers' mean logit and the linear model's, shape (N, 2)."""
        logits = [_logit(scorer.score_texts(texts).positive_probability) for scorer in self.scorers]
        return np.stack([np.mean(logits, axis=0), self.linear.logits(texts)], axis=1)

    def probabilities(self, texts: pa.Array) -> Floats:
        """Probability that each text is positive, shape (N,)."""
        return _sigmoid(self.member_logits(texts) @ self.weights[:2] + self.weights[2])

    def report(self, held_out: Labelled) -> dict[str, Any]:
        """Quality of the members and of the whole; that of the whole is a little optimistic, for its weights."""
        positive = held_out.positive >= 0.5
        members = self.member_logits(held_out.texts)
        parts = {
            "models": _sigmoid(members[:, 0]),
            "linear": _sigmoid(members[:, 1]),
            "ensemble": _sigmoid(members @ self.weights[:2] + self.weights[2]),
        }
        return {name: evaluate_probabilities(positive, part).as_dict() for name, part in parts.items()}


def _spaced(texts: pa.Array) -> list[str]:
    """The tokens of each text between single spaces."""
    return [" ".join(tokens) for tokens in tokenize(texts, settings=TextSettings())]


def _logit(probabilities: Floats) -> Floats:
    probabilities = np.clip(np.nan_to_num(probabilities, nan=0.5), _MOST_CERTAIN, 1 - _MOST_CERTAIN)
    logits: Floats = np.log(probabilities / (1 - probabilities))
    return logits


def _sigmoid(logits: Floats) -> Floats:
    probabilities: Floats = 0.5 * (1 + np.tanh(logits / 2))
    return probabilities
