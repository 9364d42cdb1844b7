"""An ensemble that labels reviews, so that one small network can learn what all of its members know together.

The members are trained models, sequence classifiers, and a linear model on words, word pairs and word triples, weighted
as by naive Bayes (Wang and Manning 2012): it errs elsewhere than they do.

Axes: N reviews, F word sequences, K members.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentiment_core.artifact import Model
from sentiment_core.dataset.labelled import Labelled, require_both_classes
from sentiment_core.errors import EnvironmentFault, InputError
from sentiment_core.evaluation.metrics import evaluate_probabilities
from sentiment_core.logistic import logit, sigmoid
from sentiment_core.scoring.scorer import Scorer
from sentiment_core.text.pipeline import TextSettings, tokenize

try:
    from scipy import sparse
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
except ModuleNotFoundError as error:
    raise EnvironmentFault(
        f"an ensemble needs {error.name}, which is not installed: pip install 'sentiment-warehouse[training]'"
    ) from error

__all__ = ["Ensemble", "Member", "WordSequenceModel", "member_of_models", "member_of_teachers"]

if TYPE_CHECKING:
    from sentiment_core.training.teacher import Teacher

Floats = npt.NDArray[np.float64]
Member = Callable[[pa.Array], Floats]

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
            token_pattern=r"\S+",  # noqa: S106, of words
        )
        self._regression = LogisticRegression(C=strength, solver="liblinear", dual=True, random_state=0, max_iter=1000)
        self._ratios: Floats = np.empty(0)

    def fit(self, data: Labelled) -> WordSequenceModel:
        """Learn from the clear labels; returns itself.

        Raises
        ------
        InputError
            If they are of one class only, or the reviews have no word in common.
        """
        data = data.where(data.clear())
        require_both_classes(data, name="training")
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
    """Members under weights that the held-out reviews chose.

    Attributes
    ----------
    members : mapping of str to callable
        Each gives the logits (N,) of texts.
    weights : array, shape (K + 1,)
        Of each of the K members' logits, and the intercept.
    """

    members: Mapping[str, Member]
    weights: Floats

    @classmethod
    def fit(cls, members: Mapping[str, Member], *, held_out: Labelled) -> Ensemble:
        """Weigh the members.

        Parameters
        ----------
        members : mapping of str to callable
            `member_of_models`, `member_of_teachers`, `WordSequenceModel.logits`.
        held_out : Labelled
            Reviews that no member has seen: those with a clear label decide on the weights.

        Raises
        ------
        InputError
            If there are labels of one class only.
        """
        held_out = held_out.where(held_out.clear())
        require_both_classes(held_out, name="held-out")
        whole = cls(members=members, weights=np.zeros(len(members) + 1))
        regression = LogisticRegression(C=1e6, solver="lbfgs")
        regression.fit(whole.member_logits(held_out.texts), held_out.positive >= 0.5)
        return cls(members=members, weights=np.concatenate([regression.coef_[0], regression.intercept_]))

    def member_logits(self, texts: pa.Array) -> Floats:
        """Each member's logits, shape (N, K)."""
        return np.stack([member(texts) for member in self.members.values()], axis=1)

    def probabilities(self, texts: pa.Array) -> Floats:
        """Probability that each text is positive, shape (N,)."""
        return sigmoid(self.member_logits(texts) @ self.weights[:-1] + self.weights[-1])

    def of_short_texts(self) -> Member:
        """Probabilities of sentences: by the teachers alone where there are any, for the others know reviews only."""
        teacher = self.members.get("teacher")
        return self.probabilities if teacher is None else lambda texts: sigmoid(teacher(texts))

    def report(self, held_out: Labelled) -> dict[str, Any]:
        """Quality of each and of the whole on clear labels; the whole's is a little optimistic, for its weights."""
        held_out = held_out.where(held_out.clear())
        positive = held_out.positive >= 0.5
        logits = self.member_logits(held_out.texts)
        parts = {name: sigmoid(logits[:, index]) for index, name in enumerate(self.members)}
        parts["ensemble"] = sigmoid(logits @ self.weights[:-1] + self.weights[-1])
        return {name: evaluate_probabilities(positive, part).as_dict() for name, part in parts.items()}


def member_of_models(models: Sequence[Model]) -> Member:
    """The mean logit of models trained on the same reviews."""
    scorers = [Scorer(model, precision="float32") for model in models]
    return lambda texts: np.mean([_logit(scorer.score_texts(texts).positive_probability) for scorer in scorers], axis=0)


def member_of_teachers(teachers: Sequence[Teacher]) -> Member:
    """The mean logit of sequence classifiers."""
    return lambda texts: np.mean([_logit(teacher.probabilities(texts)) for teacher in teachers], axis=0)


def _spaced(texts: pa.Array) -> list[str]:
    """The tokens of each text between single spaces."""
    return [" ".join(tokens) for tokens in tokenize(texts, settings=TextSettings())]


def _logit(probabilities: Floats) -> Floats:
    return logit(np.clip(np.nan_to_num(probabilities, nan=0.5), _MOST_CERTAIN, 1 - _MOST_CERTAIN))
