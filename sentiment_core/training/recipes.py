"""The settings of each kind of training; their docstrings are the help of the command's options."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sentiment_core.errors import UsageError

__all__ = ["LoopSettings", "PretrainSettings", "TeacherSettings", "TrainSettings"]

_LARGEST_FLOAT = 1e38  # training computes in single precision


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """What every kind of training has.

    Parameters
    ----------
    epochs : int
        Passes over the data.
    learning_rate : float
        Peak of the schedule: a short rise, then a linear fall.
    warmup_fraction : float
        Share of the steps in which the rate rises.
    clip_norm : float
        Largest global norm of the gradients.
    seed : int
        Of everything that is drawn: order, masks, sampled words, first weights.
    checkpoint_seconds : float
        Seconds between checkpoints; each epoch ends with one too.
    """

    epochs: int
    learning_rate: float
    warmup_fraction: float
    clip_norm: float
    seed: int
    checkpoint_seconds: float

    def __post_init__(self) -> None:
        self._require_counts("epochs")
        if not 0 <= self.warmup_fraction <= 1:
            raise UsageError(f"warmup_fraction must be from 0 to 1, not {self.warmup_fraction}")
        for name in ("learning_rate", "clip_norm"):
            if not 0 < getattr(self, name) < _LARGEST_FLOAT:
                raise UsageError(f"{name} must be above 0 and below {_LARGEST_FLOAT:.0e}, not {getattr(self, name)}")
        if not 0 <= self.seed < 1 << 32:
            raise UsageError(f"seed must be from 0 to 4294967295, not {self.seed}")

    def _require_counts(self, *names: str) -> None:
        for name in names:
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}")

    def _require_shares(self, *names: str) -> None:
        for name in names:
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} must be from 0 to below 1, not {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class TrainSettings(LoopSettings):
    """Recipe of the fine-tuning.

    Parameters
    ----------
    vocab_size : int
        Words of the vocabulary at most; a model to start from has its own.
    min_count : int
        Occurrences that a word needs to be in the vocabulary.
    hidden_size : int
        Units of an LSTM layer, and numbers of a word vector; a model to start from has its own.
    num_layers : int
        LSTM layers; a model to start from has its own.
    max_tokens : int
        Tokens of a review that are trained on and will be scored: its head.
    patience : int
        Epochs without a lower validation loss that end the run.
    batch_tokens : int
        Tokens of a batch at most.
    num_buckets : int
        Lengths to which reviews are padded.
    dropout : float
        Rate of dropout before the output.
    encoder_dropout : float
        Rate of dropout between the LSTM layers.
    word_dropout : float
        Share of the vocabulary that a step does not see (whole words; Gal and Ghahramani 2016).
    weight_drop : float
        Share of the hidden-to-hidden weights that a step does not see (Merity et al. 2018).
    weight_average : float
        Decay of the moving average of the weights, which is what is measured and stored.
    layer_decay : float
        Factor on the learning rate for each layer further down (Howard and Ruder 2018 take 1 / 2.6).
    unfreeze_fraction : float
        Share of the steps over which the layers begin to learn one after another, from the output down (gradual
        unfreezing, same paper); 0 trains all from the start.
    adversarial_epsilon : float
        Norm of the worst-case shift of a review's word vectors, in units of their standard deviation, on which the
        loss is taken a second time (Miyato et al. 2017 take 5); 0 leaves it out and halves the cost.
    excerpt_share : float
        Sentences cut from the reviews that are trained on as well, as a share of the reviews, so that texts of a few
        words are understood, and scored with due doubt.
    start_share : float
        Share of a model that is trained further in the mean of its weights and the new ones, which is what is stored
        (Wortsman et al. 2022); 0 stores the new ones.
    """

    vocab_size: int = 30_000
    min_count: int = 2
    max_tokens: int = 1_000
    hidden_size: int = 200
    num_layers: int = 2
    epochs: int = 4
    patience: int = 2
    batch_tokens: int = 8_000
    num_buckets: int = 20
    learning_rate: float = 4e-3
    warmup_fraction: float = 0.05
    dropout: float = 0.4
    encoder_dropout: float = 0.2
    word_dropout: float = 0.1
    weight_drop: float = 0.0
    weight_average: float = 0.99
    layer_decay: float = 1.0
    unfreeze_fraction: float = 0.0
    adversarial_epsilon: float = 0.0
    excerpt_share: float = 0.0
    start_share: float = 0.0
    clip_norm: float = 1.0
    seed: int = 1
    checkpoint_seconds: float = 180.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_counts("patience", "batch_tokens", "num_buckets", "hidden_size", "num_layers")
        self._require_shares(
            "dropout", "encoder_dropout", "word_dropout", "weight_drop", "weight_average", "start_share"
        )
        for name in ("adversarial_epsilon", "excerpt_share"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{name} must be 0 or more, not {getattr(self, name)}")
        if not 0 <= self.unfreeze_fraction <= 1:
            raise UsageError(f"unfreeze_fraction must be from 0 to 1, not {self.unfreeze_fraction}")
        if not 0 < self.layer_decay <= 1:
            raise UsageError(f"layer_decay must be above 0 and at most 1, not {self.layer_decay}")


@dataclass(frozen=True, kw_only=True)
class PretrainSettings(LoopSettings):
    """What the language model is and how it is trained; the defaults are those of the bundled one.

    Parameters
    ----------
    vocab_size : int
        Words of the vocabulary at most; a language model to start from has its own.
    min_count : int
        Occurrences that a word needs to be in the vocabulary.
    hidden_size : int
        Units of an LSTM layer, and numbers of a word vector; a language model to start from has its own.
    num_layers : int
        LSTM layers; a language model to start from has its own.
    batch_size : int
        Lanes of text that are read side by side.
    bptt : int
        Words of a lane in each step, through which the error is traced back.
    negatives : int
        Words that are sampled for the softmax in each step.
    dropout : float
        Rate of dropout between the LSTM layers and before the output, one mask for all time steps.
    weight_drop : float
        Share of the hidden-to-hidden weights that a step does not see (Merity et al. 2018).
    """

    vocab_size: int = 30_000
    min_count: int = 2
    hidden_size: int = 200
    num_layers: int = 2
    epochs: int = 5
    batch_size: int = 64
    bptt: int = 70
    negatives: int = 512
    learning_rate: float = 3e-3
    warmup_fraction: float = 0.03
    dropout: float = 0.1
    weight_drop: float = 0.0
    clip_norm: float = 1.0
    seed: int = 1
    checkpoint_seconds: float = 180.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_counts("batch_size", "bptt", "negatives", "hidden_size", "num_layers")
        self._require_shares("dropout", "weight_drop")


@dataclass(frozen=True, kw_only=True)
class TeacherSettings(LoopSettings):
    """How a sentence encoder becomes a teacher, and how texts are clipped for it.

    Parameters
    ----------
    max_tokens : int
        Word pieces of a text, its marks of begin and end included.
    head_tokens : int
        Of a longer text, word pieces from its beginning; the others are from its end.
    batch_tokens : int
        Word pieces of a batch at most.
    weight_decay : float
        Decoupled weight decay (Loshchilov and Hutter 2019).
    """

    max_tokens: int = 256
    head_tokens: int = 96
    epochs: int = 2
    batch_tokens: int = 8_000
    learning_rate: float = 1e-4
    warmup_fraction: float = 0.06
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    seed: int = 1
    checkpoint_seconds: float = 600.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_counts("max_tokens", "head_tokens", "batch_tokens")
        if self.max_tokens < 8:
            raise UsageError(f"max_tokens must be at least 8, not {self.max_tokens}")
        if not 0 <= self.weight_decay < math.inf:
            raise UsageError(f"weight_decay must be 0 or more, not {self.weight_decay}")
