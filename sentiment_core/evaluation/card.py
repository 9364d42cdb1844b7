"""What a model card says, in Markdown: all of it from the numbers and settings that the model's own files hold."""

from __future__ import annotations

import numbers
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from sentiment_core.artifact import Architecture, Decision
from sentiment_core.evaluation.metrics import LABEL_TARGET, WIDEST_BAND, Metrics
from sentiment_core.text.familiarity import Familiarity

__all__ = ["write_card"]

FEWEST_REVIEWS = 30  # with fewer, the standard error of a slice says little itself

_TITLES = {
    "n": "reviews",
    "standard_error": "standard error",
    "auc": "AUC",
    "f1": "F1",
    "log_loss": "log loss",
    "brier": "Brier",
    "ece": "calibration error",
}


def write_card(
    metrics: Mapping[str, Any],
    *,
    provenance: Mapping[str, Any],
    decision: Decision,
    architecture: Architecture | None = None,
    familiarity: Familiarity | None = None,
) -> str:
    """The model card of a sentiment model, in Markdown.

    Parameters
    ----------
    metrics : mapping
        ``validation`` as by `evaluate_probabilities`; optional: ``calibration_table``, ``slices`` as by
        `slice_metrics`, ``elsewhere`` (both, on texts of other domains), ``history``, ``labels_right`` with
        ``labelled_share``, ``behaviour`` as by `evaluate_behaviour`, ``unfamiliar_share``, ``domain_shift`` as by
        the function of that name, and ``recalibration`` with the metrics ``before`` and ``after``.
    provenance : mapping
        ``training_reviews``, ``validation_reviews``; optional: ``language_model_sha256``, ``trained_further_sha256``
        (the model before this training), ``teacher_labelled_reviews``, ``data`` (what the reviews are), ``held_out_by``
        (the column that decided), ``started_from_another_split``, ``settings``; ``recalibrated_from_sha256`` (the model
        before its calibration to own labels) with ``recalibration_labels`` and optional ``recalibration_data``.
    decision : Decision
        Calibration and cut-offs.
    architecture : Architecture
        Sizes of the network; left out of the card if None.
    familiarity : Familiarity
        From where on a text is unfamiliar; None if the model knows no limit.
    """
    sections = [
        _network(provenance, architecture),
        _INTENDED_USE,
        _data(provenance),
        _quality(metrics["validation"]),
        *([_recalibration(metrics["recalibration"], provenance)] if metrics.get("recalibration") else []),
        _calibration(metrics, decision),
        _labels(metrics, decision),
        *([_unfamiliar(familiarity, metrics.get("unfamiliar_share"))] if familiarity else []),
    ]
    if metrics.get("slices"):
        sections += [_slices(metrics["slices"]), _weaknesses(metrics["slices"], metrics["validation"]["accuracy"])]
    if metrics.get("elsewhere"):
        sections.append(_elsewhere(metrics["elsewhere"], metrics.get("domain_shift")))
    if metrics.get("behaviour"):
        sections.append(_behaviour(metrics["behaviour"]))
    if metrics.get("history"):
        sections.append(_history(metrics["history"]))
    if provenance.get("settings"):
        sections.append(_recipe(provenance["settings"]))
    return "\n\n".join(sections) + "\n"


def _network(provenance: Mapping[str, Any], architecture: Architecture | None) -> str:
    language_model, former = (provenance.get(name) for name in ("language_model_sha256", "trained_further_sha256"))
    origin = f"Fine-tuned from the language model `{language_model[:12]}`" if language_model else "Trained from scratch"
    if former:
        origin += f" and, as `{former[:12]}`, trained further,"
    sizes = ""
    if architecture is not None:
        n_weights = sum(int(np.prod(shape)) for shape in architecture.shapes("sentiment").values())
        layers = " and ".join(str(units) for _, units in architecture.layer_sizes)
        sizes = (
            f"{architecture.vocab_size:,} words, vectors of {architecture.embed_size} numbers, LSTM layers of {layers} "
            f"units: {n_weights:,} weights."
        )
    return "# SentimentNet\n\n" + _paragraph(
        "Scores how likely a review is positive. A word embedding, LSTM layers, the mean of their states over the "
        f"review's tokens, one sigmoid output. {sizes} {origin} on {provenance['training_reviews']:,} labelled reviews."
    )


_INTENDED_USE = """## Intended use and limits

- For reviews in English, of the kind that it was trained on. Texts of other languages have no meaningful score.
- For sums over many reviews, or for finding reviews to read. A single score is a probability and can be wrong.
- Not for judging persons, neither those who wrote a review nor those of whom it speaks.
- A review longer than `max_tokens` of `config.json` is scored on its beginning."""


_LEARNT_BEFORE = (
    "- The model that it started from had held out other reviews: some of those measured may have been learnt before."
)


_BLIND = (
    "- {:,} words for groups of people, names or places have the vector of an unknown word. A text scores the same "
    "whichever of them it holds."
)


def _data(provenance: Mapping[str, Any]) -> str:
    data, held_out_by = provenance.get("data"), provenance.get("held_out_by")
    rule = "their product, or of their text where the input has no or few products"
    if held_out_by:
        rule = f'their "{_cell(held_out_by)}": all reviews that share one are held out, or none is'
    taught, blind = provenance.get("teacher_labelled_reviews"), provenance.get("blind_words")
    measured = "Its network was chosen on" if "recalibrated_from_sha256" in provenance else "Measured on"
    return "## Data\n\n" + "\n".join(
        [
            *([f"- Source: {_cell(data, longest=300)}."] if data else []),
            f"- Trained on {provenance['training_reviews']:,} labelled reviews.",
            *([f"- Trained on {taught:,} more texts with labels by other models."] if taught else []),
            f"- {measured} {provenance['validation_reviews']:,} others, held out by a hash of {rule}.",
            *([_LEARNT_BEFORE] if provenance.get("started_from_another_split") else []),
            *([_BLIND.format(blind)] if blind else []),
        ]
    )


def _quality(validation: Mapping[str, Any]) -> str:
    names = [field.name for field in fields(Metrics) if field.name in validation and field.name != "n"]
    return f"""## Quality on {validation["n"]:,} held-out reviews

{_table([_title(name) for name in names], [[_number(validation[name]) for name in names]])}

Accuracy and F1 cut at probability 0.5; the standard error is that of the accuracy."""


_COMPARED = ("accuracy", "ece", "log_loss", "share_error")


def _recalibration(found: Mapping[str, Any], provenance: Mapping[str, Any]) -> str:
    data = provenance.get("recalibration_data")
    rows = [[when, *(_number(found[when][name]) for name in _COMPARED)] for when in ("before", "after")]
    return "\n\n".join(
        [
            "## Calibrated to own labels",
            _paragraph(
                f"The model `{provenance['recalibrated_from_sha256'][:12]}` with another calibration and other "
                f"cut-offs, fitted to {provenance['recalibration_labels']:,} labels. Half of them were fitted and the "
                "other half was measured, then the other way round. The parameters in use are fitted to all of them. "
                "All figures of this card but those of the epochs and the behaviour tests are of these labels."
            ),
            *([f"The labels: {_cell(data, longest=300)}."] if data else []),
            _table(["", *map(_title, _COMPARED)], rows),
            "The share error is the mean probability less the share of positive reviews.",
        ]
    )


_SAME_REVIEWS = (
    "The epoch was chosen and the probabilities were calibrated on the same held-out reviews, so the figures of this "
    "card are a little optimistic."
)


def _calibration(metrics: Mapping[str, Any], decision: Decision) -> str:
    text = "## Calibration\n\n" + _paragraph(
        f"Method `{_cell(decision.method)}`: the probability is "
        f"`sigmoid({decision.slope:.4f}*logit{decision.intercept:+.4f})`. `temperature` or `platt` is chosen by "
        f"cross-validated log loss. {'' if metrics.get('recalibration') else _SAME_REVIEWS}"
    )
    rows = metrics.get("calibration_table")
    if not rows:
        return text
    bins = [
        [
            f"{row['from']:.3f} to {row['to']:.3f}",
            _number(row["n"]),
            *(_number(row[name]) for name in ("mean_probability", "positive_share")),
        ]
        for row in rows
    ]
    table = _table(["probability", "reviews", "mean probability", "positive share"], bins)
    return f"{text}\n\n![reliability](reliability.svg)\n\n{table}"


def _labels(metrics: Mapping[str, Any], decision: Decision) -> str:
    measured = ""
    if metrics.get("labelled_share") and metrics.get("labels_right") is not None:
        measured = (
            f"Of the held-out reviews {metrics['labelled_share']:.1%} are outside the band, and of those "
            f"{metrics['labels_right']:.1%} have the right label."
        )
    return "## Labels\n\n" + _paragraph(
        f"`negative` below {decision.negative_below:g}, `positive` from {decision.positive_from:g} on, `neutral` "
        f"between: the narrowest band around 0.5 outside which {LABEL_TARGET:.0%} of the labels are right, but at most "
        f"{0.5 - WIDEST_BAND:g} to {0.5 + WIDEST_BAND:g}. {measured}"
    )


def _unfamiliar(familiarity: Familiarity, share: float | None) -> str:
    measured = "" if share is None else f"{share:.2%} of the held-out reviews are."
    return "## Texts that it does not know\n\n" + _paragraph(
        "A review gets the status `unfamiliar` if it holds no known word, or if its words are so much rarer in the "
        "model's vocabulary than those of the held-out reviews that it is of another language or noise. It keeps its "
        f"probability, which means little. Mean rarity {familiarity.typical_rarity:g}, limit {familiarity.limit:g}. "
        f"{measured}"
    )


def _behaviour(behaviour: Mapping[str, Any]) -> str:
    rates = ("cases", "failure_rate", "failure_rate_checklist", "failure_rate_by_label", "standard_error")

    def table(rows: Sequence[Mapping[str, Any]], *names: str) -> str:
        cells = [[*(_cell(row[name]) for name in names), *(_number(row.get(rate)) for rate in rates)] for row in rows]
        return _table(map(_title, (*names, *rates)), cells)

    return "\n\n".join(
        [
            "## Behaviour",
            _paragraph(
                "Texts made of templates, as in CheckList (Ribeiro et al. 2020). None of their words and patterns is "
                "in the lessons of this project, which a model may have learnt."
            ),
            "\n".join(f"- {_cell(kind).capitalize()}: {text}" for kind, text in behaviour["definitions"].items()),
            table(behaviour["types"], "type"),
            table(behaviour["capabilities"], "capability", "type", "expected"),
        ]
    )


def _slices(slices: Sequence[Mapping[str, Any]]) -> str:
    return "\n\n".join(["## Quality by slice", *_slice_tables(slices)])


def _slice_tables(slices: Sequence[Mapping[str, Any]]) -> list[str]:
    columns = ("n", "positive_share", "mean_probability", "accuracy", "standard_error")
    tables = []
    for name in dict.fromkeys(row["slice"] for row in slices):
        rows = [
            [_cell(row["value"]), *(_number(row[column]) for column in columns)]
            for row in slices
            if row["slice"] == name
        ]
        tables.append(_table([_cell(name), *map(_title, columns)], rows))
    return tables


def _elsewhere(elsewhere: Mapping[str, Any], shift: Mapping[str, Any] | None) -> str:
    names = [field.name for field in fields(Metrics) if field.name in elsewhere]
    return "\n\n".join(
        [
            "## Quality elsewhere",
            "Other texts, on which nothing was trained and no epoch, calibration or cut-off was chosen.",
            _table([_title(name) for name in names], [[_number(elsewhere[name]) for name in names]]),
            *_slice_tables(elsewhere["slices"]),
            *([_calibration_by_domain(elsewhere["calibration_errors"])] if elsewhere.get("calibration_errors") else []),
            *([_shift(shift)] if shift else []),
        ]
    )


def _calibration_by_domain(errors: Sequence[Mapping[str, Any]]) -> str:
    rows = [[_cell(row["domain"]), _number(row["n"]), _number(row["ece"])] for row in errors]
    text = "Calibration error of the domains with enough reviews to tell; chance adds more to it the fewer there are."
    return f"{text}\n\n{_table(['domain', 'reviews', 'calibration error'], rows)}"


def _shift(shift: Mapping[str, Any]) -> str:
    said = (
        f"Over {shift['domains']} domains the true share of positive reviews differs from the mean probability by "
        f"{shift['mean']:+.4f} on average (standard error {shift['standard_error']:.4f}), with a standard deviation of "
        f"{shift['standard_deviation']:.4f} between domains (random effects, DerSimonian and Laird 1986): this is the "
        "error to expect of a share in a domain that nobody labelled, beside that of sampling."
    )
    correction = shift.get("correction")
    if correction:
        said += (
            f" The estimated share of the tables for dashboards adds {correction['shift']:+.4f} times the mean of "
            f"p (1 - p) and {correction['sharpness']:+.4f} times the mean of p (1 - p) (1 - 2 p). On each of "
            f"{correction['domains']} domains, corrected by the others alone, it then errs by "
            f"{correction['mean_absolute_error']:.4f} on average instead of by "
            f"{correction['mean_absolute_error_uncorrected']:.4f}, with a standard deviation of "
            f"{correction['standard_deviation']:.4f}."
        )
    return _paragraph(said)


def _weaknesses(slices: Sequence[Mapping[str, Any]], accuracy: float) -> str:
    large = [row for row in slices if row["n"] >= FEWEST_REVIEWS]
    weak = [row for row in large if row["accuracy"] < accuracy - 2 * row["standard_error"]]
    if not large:
        text = f"No slice has {FEWEST_REVIEWS} reviews: too few to tell."
    elif not weak:
        text = _paragraph(
            f"None of the {len(large)} slices of {FEWEST_REVIEWS} reviews or more has an accuracy more than two of its "
            f"standard errors below the {accuracy:.4f} of all."
        )
    else:
        text = _paragraph(
            f"The slices, of the {len(large)} with {FEWEST_REVIEWS} reviews or more, whose accuracy is more than two "
            f"of its standard errors below the {accuracy:.4f} of all (of 40 slices about one would be by chance alone):"
        )
        weak.sort(key=lambda row: row["accuracy"])
        text += "\n\n" + "\n".join(
            f"- {_cell(row['slice'])}, {_cell(row['value'])}: accuracy {row['accuracy']:.4f} "
            f"(standard error {row['standard_error']:.4f}) on {row['n']:,} reviews"
            for row in weak
        )
    return f"## Known weaknesses\n\n{text}"


def _history(history: Sequence[Mapping[str, Any]]) -> str:
    names = sorted({name for row in history for name in row}, key=lambda name: (name != "epoch", name))
    table = _table([_title(name) for name in names], [[_number(row.get(name)) for name in names] for row in history])
    return f"## Epochs\n\n{table}\n\nThe epoch of lowest validation loss was kept. These losses are before calibration."


def _recipe(settings: Mapping[str, Any]) -> str:
    return "## Recipe\n\n" + _table(["setting", "value"], [[f"`{_cell(k)}`", _cell(v)] for k, v in settings.items()])


def _title(name: str) -> str:
    return _TITLES.get(name, _cell(name).replace("_", " "))


def _number(value: object) -> str:
    if isinstance(value, numbers.Integral):
        return f"{int(value):,}"
    return f"{float(value):.4f}" if isinstance(value, numbers.Real) else "-"


def _cell(value: object, *, longest: int = 80) -> str:
    """One line that cannot end its cell or begin a tag: names and values come from tables of others."""
    text = " ".join(str(value).split())
    if len(text) > longest:
        text = text[: longest - 3] + "..."
    return "".join(f"\\{mark}" if mark in r"\`|*<>[]" else mark for mark in text)


def _table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    header = [*titles]
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _paragraph(text: str) -> str:
    """Wrapped; not for words of others, of which one at the start of a line could make it a list or a heading."""
    return textwrap.fill(" ".join(text.split()), 120, break_long_words=False, break_on_hyphens=False)
