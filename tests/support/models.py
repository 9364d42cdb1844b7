"""Small models with random weights, the same for the same seed."""

from __future__ import annotations

from typing import Any

import numpy as np

from sentiment_core.artifact import Architecture, Decision, Kind, Model
from sentiment_core.text.pipeline import SPECIAL_TOKENS, TextPipeline, TextSettings, Vocabulary

_SPACED = (
    "the a and of to is it this was i in film good great bad boring love hate n't not 's 're do never very so "
    "10/10 7.5 3/10 . , ! !! ? ?? ... -- - ** ( ) \" ' :) :( 👍 👎 ❤ 🇩🇪 acting plot story characters worst best"
)
WORDS = _SPACED.split()


def tiny_model(
    seed: int = 0,
    *,
    kind: Kind = "sentiment",
    words: list[str] = WORDS,
    embed_size: int = 8,
    hidden_size: int = 8,
    num_layers: int = 2,
    max_tokens: int = 40,
    dtype: Any = np.float32,
    **fields: Any,
) -> Model:
    """A model of random weights.

    Small recurrent weights keep the network from being chaotic, which would make rounding errors large, and large
    output weights spread the logits.
    """
    vocabulary = Vocabulary((*SPECIAL_TOKENS, *words))
    architecture = Architecture(
        vocab_size=len(vocabulary), embed_size=embed_size, hidden_size=hidden_size, num_layers=num_layers
    )
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in architecture.shapes(kind).items():
        scale = 0.3 if name.endswith("h2h_weight") else 3.0 if name == "output.weight" else 1.0
        weights[name] = (scale * rng.normal(size=shape)).astype(dtype)
    fields.setdefault("decision", Decision(negative_below=0.4, positive_from=0.6))
    return Model(
        kind=kind,
        architecture=architecture,
        text=TextPipeline(settings=TextSettings(max_tokens=max_tokens), vocabulary=vocabulary),
        weights=weights,
        **fields,
    )


def random_texts(n_texts: int, *, seed: int = 0, longest: int = 60) -> list[str | None]:
    """Texts of known and unknown words, 0 to ``longest`` tokens, a few of them missing or blank."""
    rng = np.random.default_rng(seed)
    words = [*WORDS, "zorblat", "xqzt", "café"]
    texts: list[str | None] = [" ".join(rng.choice(words, size=rng.integers(0, longest + 1))) for _ in range(n_texts)]
    for index in range(3, n_texts, 17):
        texts[index] = (None, "", " \n ")[index % 3]
    return texts
