from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from tests.support.with_mxnet import mx
from sentiment_core.errors import ModelError
from sentiment_core.language_model.gluonnlp import import_gluonnlp
from sentiment_core.network import LSTMEncoder, encoder_parameters, write_weights
from sentiment_core.text.pipeline import SPECIAL_TOKENS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import gluonnlp


def language_model_files(folder: Path, name: str, *, old_format: bool = False) -> tuple[Path, Path, object]:
    """A freshly initialised GluonNLP language model, saved as its users saved them."""
    words = ["The", "film", "was", "good", "n't"]
    vocabulary = gluonnlp.Vocab(gluonnlp.data.count_tokens(words), bos_token=None, padding_token=None)
    net, _ = gluonnlp.model.get_model(name, dataset_name=None, vocab=vocabulary)
    mx.random.seed(4)
    net.initialize(mx.init.Uniform(0.3))
    net(mx.nd.zeros((2, 1)), net.begin_state(batch_size=1, func=mx.nd.zeros))
    (folder / "vocabulary.json").write_text(vocabulary.to_json())
    if old_format:
        net.collect_params().save(str(folder / "model.params"))
    else:
        net.save_parameters(str(folder / "model.params"))
    return folder / "model.params", folder / "vocabulary.json", net


@pytest.mark.parametrize("name", ["standard_lstm_lm_200", "awd_lstm_lm_600"])
@pytest.mark.parametrize("old_format", [False, True])
def test_the_imported_embedding_and_encoder_compute_what_gluonnlp_computed(
    tmp_path: Path, name: str, old_format: bool
) -> None:
    parameters, vocabulary, net = language_model_files(tmp_path, name, old_format=old_format)
    model = import_gluonnlp(parameters, vocabulary)
    assert model.text.vocabulary.words[:4] == SPECIAL_TOKENS
    texts = ["The", "film", "was", "good", "n't", "<eos>"]
    theirs = gluonnlp.Vocab.from_json(vocabulary.read_text())
    ids = mx.nd.array([[theirs[word]] for word in texts])
    embedded = net.embedding(ids)
    expected = net(ids, net.begin_state(batch_size=1, func=mx.nd.zeros))[0].asnumpy()

    encoder = LSTMEncoder(model.architecture)
    encoder.initialize()
    write_weights(encoder_parameters(encoder), model.weights)
    rows = [model.text.vocabulary.words.index(word) for word in texts]
    ours = model.weights["embedding.weight"][rows]
    np.testing.assert_allclose(ours[:, None, :], embedded.asnumpy(), atol=1e-7)
    states = encoder(mx.nd.array(ours[:, None, :])).asnumpy()
    logits = states @ model.weights["embedding.weight"][rows].T + model.weights["decoder.bias"][rows]
    np.testing.assert_allclose(logits, expected[:, :, [theirs[word] for word in texts]], atol=1e-5)


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    parameters, vocabulary, _ = language_model_files(tmp_path, "standard_lstm_lm_200")
    with pytest.raises(ModelError, match="no MXNet parameter file"):
        import_gluonnlp(vocabulary, vocabulary)
    with pytest.raises(ModelError, match="no GluonNLP vocabulary"):
        import_gluonnlp(parameters, parameters)
    mx.nd.save(str(tmp_path / "other.params"), {"dense0_bias": mx.nd.zeros((2,))})
    with pytest.raises(ModelError, match="expected one"):
        import_gluonnlp(tmp_path / "other.params", vocabulary)
    (tmp_path / "short.json").write_text('{"idx_to_token": ["<unk>"]}')
    with pytest.raises(ModelError, match="word vectors"):
        import_gluonnlp(parameters, tmp_path / "short.json")
