from __future__ import annotations

import inspect
import json
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiment_core.artifact import Architecture, Decision, bundled_model_path, load_model
from sentiment_core.behaviour.suite import DEFINITIONS, behaviour_suite, measure_behaviour, texts_of
from sentiment_core.evaluation.card import FEWEST_REVIEWS, write_card
from sentiment_core.evaluation.metrics import calibration_table, evaluate_probabilities, neutral_band
from sentiment_core.evaluation.slices import slice_metrics
from sentiment_core.text.familiarity import Familiarity

DECISION = Decision(method="platt", slope=1.2345, intercept=-0.0678, negative_below=0.31, positive_from=0.69)
SETTINGS = {"learning_rate": 0.004, "epochs": 3, "seed": 17, "word_dropout": 0.15, "language_model": None}
# What an outsider's table may call a column or a product.
HOSTILE = ["a|b", "a\\|b", "x\n# Heading", "<script>", "![p](http://x)", "`code`", "| --- |", "", "é" * 200, "*b*"]


def example(seed: int = 1, *, n: int = 600, groups: list[str] | None = None) -> dict[str, Any]:
    """Arguments of a card, as training makes them."""
    rng = np.random.default_rng(seed)
    probabilities = rng.random(n)
    labels = rng.random(n) < probabilities
    labels[:2] = True, False
    texts = pa.array([("bad " if label else "not ") * (index % 300) for index, label in enumerate(labels)])
    metrics = {
        "validation": evaluate_probabilities(labels, probabilities).as_dict(),
        "labelled_share": 0.8123,
        "labels_right": 0.9534,
        "calibration_table": calibration_table(labels, probabilities),
        "slices": slice_metrics(
            texts,
            np.arange(n) % 700,
            labels,
            probabilities,
            label_values=rng.integers(1, 6, n).astype(float),
            label_name="stars",
            groups={"shop": pa.array(rng.choice(groups or ["books", "tools"], n).tolist())},
        ),
        "history": [
            {"epoch": 1, "train_loss": 0.5123, "validation_loss": 0.4231, "validation_accuracy": 0.8},
            {"epoch": 2, "train_loss": 0.3912, "validation_loss": 0.4456, "validation_accuracy": 0.79},
        ],
    }
    provenance = {
        "language_model_sha256": "02c6a20a6c510bc5" * 4,
        "training_reviews": 5432,
        "teacher_labelled_reviews": 7654,
        "validation_reviews": n,
        "data": "Reviews of a shop",
        "held_out_by": "product_id",
        "settings": SETTINGS,
    }
    return {"metrics": metrics, "provenance": provenance, "decision": DECISION}


def tables(card: str) -> dict[str, list[list[str]]]:
    """Rows below the header of each table, by the title of its first column, unescaped."""
    found: dict[str, list[list[str]]] = {}
    for block in re.findall(r"(?:^\|.*\n)+", card, re.MULTILINE):
        rows = [
            [re.sub(r"\\(.)", r"\1", cell.strip()) for cell in re.split(r"(?<!\\)(?:\\\\)*\|", line)[1:-1]]
            for line in block.splitlines()
        ]
        assert len({len(row) for row in rows}) == 1, f"a row of another length: {rows}"
        assert all(set(cell) <= set("-:") for cell in rows[1])
        assert rows[0][0] not in found
        found[rows[0][0]] = rows[2:]
    return found


def headings(card: str) -> list[str]:
    return re.findall(r"^#+ (.*)$", card, re.MULTILINE)


def weaknesses(card: str) -> str:
    return card.partition("## Known weaknesses\n\n")[2].partition("\n## ")[0]


# What it says.


def test_the_tables_hold_the_arguments() -> None:
    arguments = example()
    metrics, found = arguments["metrics"], tables(write_card(**arguments))
    names = ("accuracy", "standard_error", "auc", "f1", "log_loss", "brier", "ece")
    assert found["accuracy"] == [[f"{metrics['validation'][name]:.4f}" for name in names]]
    assert [row[1:] for row in found["probability"]] == [
        [str(row["n"]), f"{row['mean_probability']:.4f}", f"{row['positive_share']:.4f}"]
        for row in metrics["calibration_table"]
    ]
    names = ("positive_share", "mean_probability", "accuracy", "standard_error")
    for name in ("length", "negation", "stars", "shop"):
        assert found[name] == [
            [row["value"], str(row["n"]), *(f"{row[key]:.4f}" for key in names)]
            for row in metrics["slices"]
            if row["slice"] == name
        ]
    assert found["epoch"] == [["1", "0.5123", "0.8000", "0.4231"], ["2", "0.3912", "0.7900", "0.4456"]]
    assert dict(found["setting"]) == {f"`{name}`": str(value) for name, value in SETTINGS.items()}


def test_the_behaviour_is_told_with_its_rules() -> None:
    arguments = example()
    assert "## Behaviour" not in write_card(**arguments)
    cases = behaviour_suite()
    probabilities = np.random.default_rng(0).random(len(texts_of(cases)))
    measured = measure_behaviour(cases, probabilities, negative_below=0.31, positive_from=0.69)
    arguments["metrics"]["behaviour"] = measured
    card = write_card(**arguments)
    found = tables(card)
    rates = ("failure_rate", "failure_rate_checklist", "failure_rate_by_label", "standard_error")
    for first, rows in (("type", measured["types"]), ("capability", measured["capabilities"])):
        assert [row[0] for row in found[first]] == [row[first] for row in rows]
        for shown, row in zip(found[first], rows, strict=True):
            assert shown[-5:] == [f"{row['cases']:,}", *(f"{row[rate]:.4f}" if rate in row else "-" for rate in rates)]
    for definition in DEFINITIONS.values():
        assert definition in card


def test_the_limit_of_unfamiliar_texts_is_told() -> None:
    arguments = example()
    assert "unfamiliar" not in write_card(**arguments)
    arguments["metrics"]["unfamiliar_share"] = 0.0123
    card = write_card(**arguments, familiarity=Familiarity(typical_rarity=4.875, limit=0.95))
    text = " ".join(card.split())
    assert "Mean rarity 4.875, limit 0.95. 1.23% of the held-out reviews are." in text


def test_a_start_that_may_have_learnt_what_is_measured_is_told() -> None:
    told = "had held out other reviews: some of those measured may have been learnt before"
    arguments = example()
    assert told not in write_card(**arguments)
    arguments["provenance"] |= {"started_from_another_split": True}
    assert told in write_card(**arguments).partition("## Data")[2].partition("\n## ")[0]


def test_the_text_says_what_when_and_from_where() -> None:
    card = write_card(**example(), architecture=Architecture(vocab_size=10, embed_size=3, hidden_size=4))
    text = " ".join(card.split())
    for words in (
        "language model `02c6a20a6c51`",
        "10 words, vectors of 3 numbers, LSTM layers of 4 and 3 units: 286 weights.",
        "Source: Reviews of a shop.",
        "5,432 labelled reviews",
        "7,654 more texts",
        'Measured on 600 others, held out by a hash of their "product_id"',
        "`sigmoid(1.2345*logit-0.0678)`",
        "`negative` below 0.31, `positive` from 0.69 on",
        "81.2% are outside the band, and of those 95.3% have the right label",
        "![reliability](reliability.svg)",
        "reviews in English",
        "Not for judging persons",
    ):
        assert words in text, words
    n_weights = 10 * 3 + (4 * 4 * (3 + 4) + 2 * 16) + (4 * 3 * (4 + 3) + 2 * 12) + 3 + 1
    assert n_weights == 286


def test_every_number_is_one_of_the_arguments_or_of_the_rules() -> None:
    """So a card never says what another model measured."""
    arguments = example(7)
    card = re.sub(r"^## Quality.*|^\|.*\||`[^`]*`", "", write_card(**arguments), flags=re.MULTILINE)
    said = set(re.findall(r"\d[\d.,]*(?<=\d)", card))
    measured = json.dumps(arguments["metrics"]) + json.dumps(arguments["provenance"])
    known = {f"{float(number):.4f}" for number in re.findall(r"\d+\.\d+", measured)}
    known |= {f"{float(number):,.0f}" for number in re.findall(r"(?<![.\d])\d+(?![.\d])", measured)}
    known |= {f"{100 * arguments['metrics'][name]:.1f}" for name in ("labelled_share", "labels_right")}
    known |= {"0.31", "0.69", "0.5", "0.2", "0.8", "95", str(FEWEST_REVIEWS), "40"}
    known |= {str(sum(row["n"] >= FEWEST_REVIEWS for row in arguments["metrics"]["slices"]))}
    known |= {number for row in arguments["metrics"]["slices"] for number in re.findall(r"\d+", row["value"])}
    assert said <= known


def test_the_rule_of_the_labels_is_that_of_the_band() -> None:
    labels, probabilities = np.array([True, False]), np.array([0.01, 0.99])
    widest = "{:g} to {:g}".format(*neutral_band(labels, probabilities))
    target = inspect.signature(neutral_band).parameters["target"].default
    text = " ".join(write_card(**example()).split())
    assert f"outside which {target:.0%} of the labels are right, but at most {widest}." in text


# Weaknesses.


@given(
    st.lists(
        st.tuples(st.sampled_from([1, 29, 30, 31, 500]), st.floats(0, 1), st.sampled_from([0.0, 0.01, 0.1])), max_size=8
    ),
    st.floats(0, 1),
)
def test_the_weaknesses_are_the_large_slices_well_below_the_whole(
    rows: list[tuple[int, float, float]], accuracy: float
) -> None:
    arguments = example()
    arguments["metrics"]["validation"]["accuracy"] = accuracy
    arguments["metrics"]["slices"] = [
        {"slice": "s", "value": f"value {index}", "n": n, "positive_share": 0.5, "mean_probability": 0.5}
        | {"accuracy": accuracy_here, "standard_error": standard_error}
        for index, (n, accuracy_here, standard_error) in enumerate(rows)
    ]
    text = weaknesses(write_card(**arguments))
    expected = sorted(
        (here, index)
        for index, (n, here, standard_error) in enumerate(rows)
        if n >= 30 and here < accuracy - 2 * standard_error
    )
    assert [int(index) for index in re.findall(r"^- s, value (\d+):", text, re.MULTILINE)] == [i for _, i in expected]
    if rows and not any(n >= 30 for n, *_ in rows):
        assert "too few to tell" in text
    elif rows and not expected:
        assert text.startswith("None of the ")


def test_a_weak_slice_is_listed_with_its_numbers() -> None:
    arguments = example()
    weak = {"slice": "stars", "value": "3", "n": 1234, "positive_share": 0.5, "mean_probability": 0.5}
    arguments["metrics"]["slices"].append(weak | {"accuracy": 0.1234, "standard_error": 0.0056})
    expected = "- stars, 3: accuracy 0.1234 (standard error 0.0056) on 1,234 reviews"
    assert expected in weaknesses(write_card(**arguments))


# What may be absent, and what may be there.


@given(
    st.sets(st.sampled_from(["calibration_table", "slices", "history", "labelled_share", "labels_right"])), st.data()
)
def test_what_is_optional_may_be_absent_or_empty(absent: set[str], data: st.DataObject) -> None:
    arguments = example(n=40)
    sections = {"slices": "Quality by slice", "history": "Epochs", "settings": "Recipe"}
    for name in absent:
        arguments["metrics"][name] = None
        if data.draw(st.booleans()):
            del arguments["metrics"][name]
    for name in data.draw(st.sets(st.sampled_from(sorted(arguments["provenance"].keys() - {"training_reviews"})))):
        if name != "validation_reviews":
            del arguments["provenance"][name]
            absent = absent | {name}
    card = write_card(**arguments)
    tables(card)
    for name, heading in sections.items():
        assert (heading in headings(card)) == (name not in absent)
    assert ("reliability.svg" in card) == ("calibration_table" not in absent)
    assert ("have the right label" in card) == (not absent & {"labelled_share", "labels_right"})
    assert ("Trained from scratch" in card) == ("language_model_sha256" in absent)
    assert "None" not in card.replace("| `language_model` | None |", "").replace("None of the", "")
    assert card.endswith("\n")
    assert "\n\n\n" not in card


@settings(max_examples=20)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=3), st.integers(0, 2))
def test_the_smallest_training_set_has_a_card(rows: list[tuple[bool, float]], n_epochs: int) -> None:
    labels = np.array([True, False, *(label for label, _ in rows)])
    probabilities = np.array([0.0, 1.0, *(probability for _, probability in rows)])
    n = len(labels)
    metrics = {
        "validation": evaluate_probabilities(labels, probabilities).as_dict(),
        "labelled_share": 0.0,
        "labels_right": 0.0,
        "calibration_table": calibration_table(labels, probabilities),
        "slices": slice_metrics(pa.nulls(n, pa.string()), np.zeros(n, int), labels, probabilities),
        "history": [{"epoch": 1, "train_loss": 0.7, "validation_loss": 0.7, "validation_accuracy": 0}] * n_epochs,
    }
    provenance = {"language_model_sha256": None, "training_reviews": 2, "validation_reviews": n, "settings": SETTINGS}
    card = write_card(metrics, provenance=provenance, decision=Decision())
    tables(card)
    assert "No slice has 30 reviews: too few to tell." in weaknesses(card)


@pytest.mark.parametrize("name", HOSTILE)
def test_names_and_values_of_others_stay_in_their_place(name: str) -> None:
    arguments = example(groups=[name, "books"])
    for row in arguments["metrics"]["slices"]:
        row["slice"] = f"{row['slice']} {name}"
    arguments["provenance"] |= {"data": name, "held_out_by": name, "settings": {name: name}}
    card = write_card(**arguments)
    found = tables(card)
    assert headings(card) == headings(write_card(**example()))
    assert "<" not in card.replace("\\<", "")
    assert card.count("![") == 1
    assert not any(len(cell) > 80 + 2 for rows in found.values() for row in rows for cell in row)
    assert len(found) == 8


def test_the_card_of_a_model_can_be_written_again_from_its_files() -> None:
    """Also that of a model older than the card: keys in another order, some of them unknown then."""
    model = load_model(bundled_model_path())
    arguments = {"metrics": model.metrics, "provenance": model.provenance, "decision": model.decision}
    card = write_card(**arguments, architecture=model.architecture)
    tables(card.partition("## Quality elsewhere")[0])  # whose tables have the same names
    assert f"| {model.metrics['validation']['accuracy']:.4f} |" in card
    again = json.loads(json.dumps([example()["metrics"], example()["provenance"]], sort_keys=True))
    parts = {"calibration_table", "slices", "history"}
    same = write_card(again[0], provenance=again[1] | {"settings": SETTINGS}, decision=DECISION)
    assert parts <= again[0].keys()
    assert same == write_card(**example())
