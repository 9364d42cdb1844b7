from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment_core.artifact import Model, bundled_model_path, load_model
from sentiment_core.errors import ModelError
from sentiment_core.scoring.scorer import Scorer
from sentiment_core.scoring.status import STATUSES
from sentiment_core.text.familiarity import LEAST_LIMIT, Familiarity, fit_familiarity, word_rarity
from sentiment_core.text.pipeline import UNKNOWN_ID, TextPipeline
from tests.support.models import WORDS, random_texts, tiny_model

FOREIGN = {
    "German": """Das Essen war hervorragend und die Bedienung sehr freundlich.
In die Stadt war es weit, die Lage des Hotels ist aber in Ordnung.
Der Film ist langweilig und viel zu lang.
Schlechte Qualität, nicht zu empfehlen.""",
    "French": """Le film est trop long et l'histoire ne tient pas debout.
Très bon hôtel, bien situé, personnel accueillant.
Je suis très déçu de cet achat, la qualité est mauvaise.
Le petit déjeuner était froid et la chambre sale.""",
    "Spanish": """La comida estaba deliciosa y el personal fue muy amable.
No me gustó nada la película, es muy aburrida.
El hotel está bien situado pero las habitaciones son pequeñas.
La batería dura muy poco y el teléfono se calienta.""",
    "Chinese": """这家餐厅的菜很好吃，服务也很周到。
电影太长了，剧情很无聊。
很喜欢
酒店位置很好，房间干净。""",
    "noise": "asdkjh qwlekj zxmncb\nfghjkl!!!\nxkcd qqrt zzpl mnbv trewq\n🪼🦧🪬🪼",
}
ENGLISH = """The flight is good.
Not bad.
Teh food was realy good and teh staff was frendly
Jamal and Priya stayed in Berlin and Prague on Tuesday.
ok
10/10
:)
GREAT APP, love it!!!
I never want to see this film again, it is the worst that Mr. Kowalczyk ever made."""


@pytest.fixture(scope="module")
def bundled() -> TextPipeline:
    return load_model(bundled_model_path()).text


def strangeness_by_hand(token_ids: list[int], pipeline: TextPipeline, *, typical: float) -> tuple[int, float]:
    """Words of a text and its strangeness, word by word."""
    words = pipeline.vocabulary.words
    unknown = math.log(len(words) - 3) + 1
    rarities = []
    for token_id in token_ids:
        if token_id == UNKNOWN_ID:
            rarities.append(unknown)
        elif any(letter.isalpha() for letter in words[token_id]):
            rarities.append(math.log(token_id - 2))
    if not rarities:
        return 0, 0.0
    return len(rarities), (sum(rarities) / len(rarities) - typical) / (unknown - typical)


def flags(familiarity: Familiarity, texts: list[str | None], pipeline: TextPipeline) -> list[bool]:
    encoded = pipeline.encode(pa.array(texts, pa.large_string()))
    return familiarity.unfamiliar(encoded, word_rarity(pipeline.vocabulary)).tolist()


@given(
    texts=st.lists(st.lists(st.sampled_from([*WORDS, "xqzt", "zorblat", "Übel"]), max_size=12).map(" ".join)),
    limit=st.floats(0.2, 1.5),
)
def test_a_text_is_unfamiliar_by_its_own_words_alone(texts: list[str], limit: float) -> None:
    pipeline = tiny_model().text
    familiarity = Familiarity(typical_rarity=2.0, limit=limit)
    encoded = pipeline.encode(pa.array(texts, pa.large_string()))
    for row, found in enumerate(flags(familiarity, list(texts), pipeline)):
        n_words, strangeness = strangeness_by_hand(encoded.of(row).tolist(), pipeline, typical=2.0)
        least = min(1.0, limit * (0.25 + 1 / math.sqrt(max(1, n_words))))
        if abs(strangeness - least) > 0.002:  # rarities are whole thousandths
            assert found == (n_words > 0 and strangeness > least)


def test_a_text_without_a_known_word_is_unfamiliar_and_one_without_a_word_is_not() -> None:
    model = tiny_model(familiarity=Familiarity(typical_rarity=2.0, limit=5.0))
    texts = ["xqzt", "xqzt !!", "xqzt zorblat", "xqzt good", "!! 10/10 👍", "", None]
    found = Scorer(model, threads=1).score_texts(texts).status
    assert found.tolist() == ["unfamiliar"] * 3 + ["ok"] * 2 + ["empty"] * 2


def test_the_limit_moves_the_status_and_no_bit_of_a_probability() -> None:
    texts = random_texts(120, seed=4, longest=50)
    model = tiny_model(max_tokens=30)
    plain = Scorer(model, threads=1).score_texts(texts)
    strict = Scorer(replace(model, familiarity=Familiarity(typical_rarity=1.0, limit=0.6)), threads=1)
    limited = strict.score_texts(texts)
    for name in ("positive_probability", "sentiment", "n_tokens", "n_unknown", "truncated"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(limited, name))
    changed = limited.status != plain.status
    assert set(limited.status[changed]) == {"unfamiliar"}
    assert set(plain.status[changed]) == {"ok", "truncated"}
    assert not plain.unfamiliar.any()
    assert set(limited.status) <= set(STATUSES)
    explained = [explanation.status for explanation in strict.explain_texts(texts)]
    assert explained == limited.status.tolist()


def test_it_is_stored_in_the_model_and_older_models_do_without() -> None:
    model = tiny_model(familiarity=Familiarity(typical_rarity=4.5, limit=1.0))
    again = Model.from_bytes(model.to_bytes())
    assert again.familiarity == model.familiarity
    assert "familiarity" not in json.loads(tiny_model().files["config.json"])
    assert Model.from_bytes(tiny_model().to_bytes()).familiarity is None


@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf, True, "1", None])
def test_settings_that_are_no_positive_numbers_are_refused(value: object) -> None:
    with pytest.raises(ModelError, match="limit must be above 0"):
        Familiarity(typical_rarity=1.0, limit=value)  # type: ignore[arg-type]


def test_a_language_model_has_none() -> None:
    with pytest.raises(ModelError, match="leave its familiarity out"):
        tiny_model(kind="language_model", familiarity=Familiarity(typical_rarity=1.0, limit=1.0))


def test_training_finds_the_limit_that_few_reviews_pass(bundled: TextPipeline) -> None:
    rng = np.random.default_rng(0)
    frequent = bundled.vocabulary.words[4:3000]
    weight = 1 / np.arange(1, len(frequent) + 1)
    texts = [" ".join(rng.choice(frequent, rng.integers(3, 60), p=weight / weight.sum())) for _ in range(2000)]
    familiarity = fit_familiarity(bundled.encode(pa.array(texts)), bundled.vocabulary)
    assert familiarity is not None
    assert familiarity.limit == LEAST_LIMIT
    assert not any(flags(familiarity, list(texts), bundled))
    # Of reviews in which every 20th is of another language, the limit is that of the language of the others.
    mixed = texts[:1900] + FOREIGN["German"].split("\n") * 25
    of_mixed = fit_familiarity(bundled.encode(pa.array(mixed)), bundled.vocabulary)
    assert of_mixed is not None
    assert LEAST_LIMIT < of_mixed.limit < 2
    assert fit_familiarity(bundled.encode(pa.array(["!!", ""])), bundled.vocabulary) is None


@pytest.mark.parametrize("language", FOREIGN)
def test_other_languages_and_noise_are_unfamiliar(bundled: TextPipeline, language: str) -> None:
    familiarity = load_model(bundled_model_path()).familiarity or Familiarity(typical_rarity=4.85, limit=LEAST_LIMIT)
    texts = FOREIGN[language].split("\n")
    assert all(flags(familiarity, list(texts), bundled)), texts


def test_plain_english_with_names_and_typos_is_not(bundled: TextPipeline) -> None:
    familiarity = load_model(bundled_model_path()).familiarity or Familiarity(typical_rarity=4.85, limit=LEAST_LIMIT)
    texts = ENGLISH.split("\n")
    found = flags(familiarity, list(texts), bundled)
    assert not any(found), [text for text, flag in zip(texts, found) if flag]
