"""Turn text into token ids, by the same rules in training and scoring."""

from __future__ import annotations

from sentiment_core.text.pipeline import (
    MISSING_WORDS,
    MOST_TOKENS,
    SENTENCE_ENDS,
    SPECIAL_TOKENS,
    EncodedTexts,
    TextPipeline,
    TextSettings,
    Vocabulary,
    build_vocabulary,
    encode,
    split,
    tokenize,
    valid_utf8,
)

__all__ = [
    "MISSING_WORDS",
    "MOST_TOKENS",
    "SENTENCE_ENDS",
    "SPECIAL_TOKENS",
    "EncodedTexts",
    "TextPipeline",
    "TextSettings",
    "Vocabulary",
    "build_vocabulary",
    "encode",
    "split",
    "tokenize",
    "valid_utf8",
]
