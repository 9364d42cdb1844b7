"""Import a word language model of GluonNLP from its parameter file and vocabulary.

The models ``standard_lstm_lm_*`` and ``awd_lstm_lm_*`` were once downloaded by GluonNLP; their host is gone, but who
kept the files can still start from them. Parameter files hold plain arrays, no code.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np

from sentiment_core.artifact import Architecture, Model
from sentiment_core.errors import ModelError
from sentiment_core.text.pipeline import MOST_TOKENS, SPECIAL_TOKENS, TextPipeline, TextSettings, Vocabulary

__all__ = ["import_gluonnlp"]

# Names as `save_parameters` writes them, and as the older `ParameterDict.save` did (tied parameters under one name).
_EMBEDDING = re.compile(r"embedding(?:\.0\.|0_)weight$")
# Layers stacked in one block count inside it, blocks of one layer each count outside: the sum is the layer.
_LAYER = re.compile(r"(?:encoder\.|lstm)(?:(\d+)[._])?(?:_unfused\.|l)(\d+)[._]([ih]2h_(?:weight|bias))$")
_DECODER_BIAS = re.compile(r"(?:decoder\.(?:0\.)?|(?:dense\d+|embedding0)_)bias$")


def import_gluonnlp(parameters: Path, vocabulary: Path, *, lower_case: bool = False) -> Model:
    """Make a language-model artifact of GluonNLP's files.

    Parameters
    ----------
    parameters : Path
        The ``.params`` file.
    vocabulary : Path
        JSON as `gluonnlp.Vocab.to_json` writes it.
    lower_case : bool
        Fold case; the published vocabularies keep it.

    Raises
    ------
    ModelError
        If a file cannot be read, or the arrays are not those of such a model.
    """
    words = _read_words(vocabulary)
    arrays = _read_arrays(parameters)
    embedding = _only(arrays, _EMBEDDING, parameters)
    if embedding.shape[0] != len(words):
        raise ModelError(f"{parameters}: has {embedding.shape[0]} word vectors, {vocabulary} has {len(words)} words")
    decoder_bias = _only(arrays, _DECODER_BIAS, parameters)
    layers: dict[int, dict[str, Any]] = {}
    for name, array in arrays.items():
        found = _LAYER.search(name)
        if found:
            layers.setdefault(int(found[1] or 0) + int(found[2]), {})[found[3]] = array
    ours = list(SPECIAL_TOKENS) + [word for word in words if word not in SPECIAL_TOKENS and word.split() == [word]]
    rows = {word: row for row, word in enumerate(words)}
    known = np.array([rows.get(word, -1) for word in ours])
    weights = {
        # A special token that the model never had gets zeros.
        "embedding.weight": np.where(known[:, None] >= 0, embedding[known], 0).astype(np.float32),
        "decoder.bias": np.where(known >= 0, decoder_bias[known], decoder_bias.min()).astype(np.float32),
    }
    for layer, tensors in layers.items():
        weights |= {f"lstm.{layer}.{name}": array.astype(np.float32) for name, array in tensors.items()}
    if "lstm.0.h2h_weight" not in weights:
        raise ModelError(f"{parameters}: holds no LSTM layer; it has {', '.join(sorted(arrays))}")
    return Model(
        kind="language_model",
        architecture=Architecture(
            vocab_size=len(ours),
            embed_size=embedding.shape[1],
            hidden_size=weights["lstm.0.h2h_weight"].shape[1],
            num_layers=len(layers),
        ),
        text=TextPipeline(
            settings=TextSettings(max_tokens=MOST_TOKENS, lower_case=lower_case), vocabulary=Vocabulary(tuple(ours))
        ),
        weights=weights,
        provenance={
            "imported_from": "gluonnlp",
            "parameters_sha256": hashlib.sha256(parameters.read_bytes()).hexdigest(),
        },
        card="# Word language model\n\nImported from GluonNLP's parameter file.\n",
    )


def _read_words(path: Path) -> list[str]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content = json.loads(content) if isinstance(content, str) else content
        words = content["idx_to_token"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: is no GluonNLP vocabulary ({type(error).__name__}); give its JSON file") from error
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ModelError(f"{path}: is no GluonNLP vocabulary; idx_to_token must be a list of words")
    return words


def _read_arrays(path: Path) -> dict[str, Any]:
    try:
        loaded = mx.nd.load(str(path))
    except (mx.MXNetError, OSError, ValueError) as error:
        raise ModelError(f"{path}: is no MXNet parameter file ({type(error).__name__})") from error
    if not isinstance(loaded, dict) or not loaded:
        raise ModelError(f"{path}: holds no named parameters")
    # Files of `mx.model.save_checkpoint` mark arguments with a prefix.
    return {name.removeprefix("arg:"): array.asnumpy() for name, array in loaded.items()}


def _only(arrays: dict[str, Any], pattern: re.Pattern[str], path: Path) -> Any:
    found = [array for name, array in arrays.items() if pattern.search(name)]
    if len(found) != 1:
        raise ModelError(f"{path}: {len(found)} parameters match {pattern.pattern!r}, expected one of {sorted(arrays)}")
    return found[0]
