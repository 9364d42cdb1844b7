"""The share of truly positive reviews with its 95 % interval, from sums that merge, as SQL.

Without labels it is the mean probability, corrected by what the model is known to be wrong by on other domains
(`jobs.statistics.corrections`). With labels it is prediction-powered inference (Angelopoulos et al. 2023) in its
power-tuned form (Angelopoulos, Duchi and Zrnic 2023), which for a mean is the regression estimator of survey sampling:
the mean label, moved by the slope of labels on probabilities times the distance of the mean probability of all reviews
from that of the labelled ones. A group of fewer than `ENOUGH_LABELS` labels takes the rest of its evidence from the
pool of all products.

The uncertainty is counted in reviews: of how many labelled reviews, drawn at random, the share would be as sure. The
interval is Wilson's for so many. The expressions are those of Spark SQL and DuckDB alike, in steps: each names columns
of the one before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = [
    "ENOUGH_LABELS",
    "LABEL_SUMS",
    "Prior",
    "Steps",
    "change_steps",
    "estimate_steps",
    "pool_columns",
    "pool_prior",
    "product_prior",
]

# From so many labels on, a group stands on its own: its prior counts nothing, and its coverage is that of the labels.
ENOUGH_LABELS = 20
# So many labels as the calibrated model expects them are added to the residuals: a few labels that all agree with the
# model would prove that it never errs.
_PRIOR_LABELS = 10
# The error of a product beside that of its pool, as a share of the model's standard deviation between domains. The
# products of one source of reviews differ less than sources do: 100 restaurants of one did not differ measurably.
_PRODUCT_PART = 0.5
# The spread of 0 and 1 around a share near one of them.
_LEAST_VARIANCE = 0.01
# Reviews of one mind vary by nothing but rounding.
_LEAST_CHANGE_VARIANCE = 1e-6
_Z = 1.959963984540054

# Sums over labelled reviews: w is the weight of the label, y the label (1 or 0), p the probability.
LABEL_SUMS = ("w", "wy", "wp", "wpp", "wyp", "ww", "wwy", "wwp", "wwpp", "wwyp")

Steps = list[dict[str, str]]


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What is known of a group before its own labels, as SQL over columns of a group or of its pool.

    Attributes
    ----------
    shift : str
        Of the true share from the corrected mean probability.
    variance : str
        Of that shift.
    slope : str
        Of labels on probabilities.
    residual : str
        The part of the labels' variance that probabilities do not explain; 0 to 1.
    """

    shift: str
    variance: str
    slope: str
    residual: str


def pool_prior(end: str = "") -> Prior:
    """Of all products together: the model alone."""
    return Prior(
        shift="0e0",
        variance=f"power(spread{end} / nullif(scored{end}, 0), 2)",
        slope="1e0",
        residual=f"least(1e0, greatest(0e0, p{end} - pp{end}) / nullif(scored{end} * prior_variance{end}, 0))",
    )


def product_prior(end: str = "", *, pooled: bool) -> Prior:
    """Of one product: the model, and where there are labels the pool, in columns whose names begin with ``pool_``."""
    own = f"{_PRODUCT_PART**2} * power(spread{end} / nullif(scored{end}, 0), 2)"
    if not pooled:
        model = pool_prior(end)
        return Prior(
            shift=model.shift, variance=f"{model.variance} + {own}", slope=model.slope, residual=model.residual
        )
    return Prior(
        shift="pool_shift", variance=f"pool_shift_variance + {own}", slope="pool_slope", residual="pool_residual"
    )


def pool_columns(end: str = "") -> dict[str, str]:
    """What `product_prior` reads of a pool, after its `estimate_steps` with labels."""
    alone = f"greatest(0e0, 1 / nullif(labels{end}, 0) - 1e0 / nullif(scored{end}, 0))"
    return {
        "pool_shift": f"coalesce(estimated_share{end} - corrected_mean{end}, 0e0)",
        "pool_shift_variance": f"coalesce({_spread(f'estimated_share{end}')}"
        f" * CASE WHEN plain{end} = 1 THEN {alone} ELSE unknown{end} END, 0e0)",
        "pool_slope": f"coalesce(slope{end}, 1e0)",
        "pool_residual": f"coalesce(residual{end}, 1e0)",
    }


def estimate_steps(prior: Prior, *, labelled: bool, end: str = "") -> Steps:
    """From sums to ``estimated_share``, its interval, and what changes and pools need of it.

    Parameters
    ----------
    prior : Prior
    labelled : bool
        Whether there are sums of labels; without, the columns ``labelled_count`` and `LABEL_SUMS` are not read.
    end : str
        Of the columns' names: ``_7d`` for a window. Read are ``scored``, ``p``, ``pp`` (sum of squares), ``q`` (sum of
        corrected probabilities), ``spread``, and with labels ``labelled_count`` and `LABEL_SUMS`.
    """
    steps = _labelled_steps(prior) if labelled else _model_steps(prior)
    return _ended(steps, end)


def change_steps(*, now: str, before: str, labelled: bool) -> Steps:
    """From the estimates of two windows to their difference, its interval and its standard normal value.

    The error of the model is nearly the same in both windows of one product, so it cancels as far as both estimates
    rest on the model alike. What is left is the sampling of reviews and of labels. Its variance is that of all reviews
    of both windows together, as if nothing had changed: the interval excludes 0 where the test does, and of few
    reviews nothing is proven.

    Parameters
    ----------
    now, before : str
        Ends of the columns' names.
    labelled : bool
    """

    def pooled(squares: str, total: str) -> str:
        both = f"({total}{now} + {total}{before})"
        variance = f"({squares}{now} + {squares}{before} - {both} * {both} / scored_both) / nullif(scored_both - 1, 0)"
        return f"greatest({_LEAST_CHANGE_VARIANCE}, coalesce({variance}, 0e0))"

    steps: Steps = [
        {"scored_both": f"nullif(scored{now}, 0) + nullif(scored{before}, 0)"},
        {
            "change": f"estimated_share{now} - estimated_share{before}",
            "q_deviation": f"CASE WHEN scored_both IS NOT NULL THEN sqrt({pooled('qq', 'q')}) END",
        },
    ]
    if labelled:
        mean = f"(estimated_share{now} * scored{now} + estimated_share{before} * scored{before}) / scored_both"
        steps[1] |= {
            "p_deviation": f"sqrt({pooled('pp', 'p')})",
            "both_share": mean,
            "both_plain": f"plain{now} * plain{before}",
        }
        steps += _ended(
            [
                {
                    "sampling@": "CASE WHEN plain@ = 1 THEN 0e0"
                    " ELSE (1 - own_weight@) * q_deviation + own_weight@ * slope@ * p_deviation END",
                    "labelling@": "CASE WHEN plain@ = 1 THEN 1 / nullif(labels@, 0) ELSE coalesce("
                    "power(own_weight@ + (1 - own_weight@) * (1 - unlabelled@), 2) * residual@ / nullif(labels@, 0),"
                    " 0e0) END",
                    "modelled@": "CASE WHEN plain@ = 1 THEN 0e0 ELSE (1 - own_weight@) * unlabelled@ END",
                }
            ],
            now,
        )
        steps[-1] |= {name.replace(now, before): sql.replace(now, before) for name, sql in steps[-1].items()}
        variance = (
            f"sampling{now} * sampling{now} / scored{now} + sampling{before} * sampling{before} / scored{before}"
            f" + (labelling{now} + labelling{before}) * {_spread('both_share')}"
            " * scored_both / nullif(scored_both - 1, 0)"
            f" + power(modelled{now} - modelled{before}, 2) * shift_variance{now}"
        )
    else:
        variance = f"q_deviation * q_deviation * (1e0 / scored{now} + 1e0 / scored{before})"
    deviation = f"sqrt(CASE WHEN scored_both IS NOT NULL THEN {variance} END)"
    # Shares of labels alone go in steps of a whole review (Yates 1934).
    step = f"both_plain * 5e-1 * (1 / nullif(labels{now}, 0) + 1 / nullif(labels{before}, 0))" if labelled else "0e0"
    half = f"({_Z}e0 * change_deviation + change_step)"
    return [
        *steps,
        {"change_deviation": deviation, "change_step": f"coalesce({step}, 0e0)" if labelled else step},
        {
            "change_z": "CASE WHEN abs(change) <= change_step THEN 0e0"
            " ELSE (change - sign(change) * change_step) / nullif(change_deviation, 0) END",
            "change_low": f"CASE WHEN change IS NOT NULL THEN greatest(-1e0, change - {half}) END",
            "change_high": f"CASE WHEN change IS NOT NULL THEN least(1e0, change + {half}) END",
        },
    ]


def _model_steps(prior: Prior) -> Steps:
    return [
        {"estimated_share@": _clipped("q@ / nullif(scored@, 0)")},
        {"trials@": f"1 / (1e0 / nullif(scored@, 0) + ({prior.variance}) / {_spread('estimated_share@')})"},
        _interval("estimated_share@", "trials@", low="estimated_share@_low", high="estimated_share@_high"),
    ]


def _labelled_steps(prior: Prior) -> Steps:
    return [
        {
            "corrected_mean@": "q@ / nullif(scored@, 0)",
            "mean@": "p@ / nullif(scored@, 0)",
            "unlabelled@": "1 - labelled_count@ / nullif(scored@, 0)",
            # Of labels of unequal weights, as many equal ones tell as much (Kish 1965).
            "labels@": "coalesce(w@ * w@ / nullif(ww@, 0), 0e0)",
            "label_mean@": "wy@ / nullif(w@, 0)",
            "label_p@": "wp@ / nullif(w@, 0)",
        },
        {
            "borrowed@": f"greatest(0e0, 1 - labels@ / {ENOUGH_LABELS}e0)",
            "p_variance@": "greatest(0e0, pp@ / nullif(scored@, 0) - mean@ * mean@)",
            "label_yp@": "wyp@ / nullif(w@, 0) - label_mean@ * label_p@",
            "prior_share@": _clipped(
                "corrected_mean@ + unlabelled@ * (" + prior.shift + ")"
                " + coalesce((1 - unlabelled@) * (label_mean@ - label_p@ - corrected_mean@ + mean@), 0e0)"
            ),
        },
        {
            "prior_variance@": _spread("prior_share@"),
            # The covariance of the labelled reviews over the variance of all, as the authors of the method have it.
            "slope@": "greatest(0e0, least(1 / nullif(greatest(0e0, unlabelled@), 0),"
            f" coalesce((labels@ * coalesce(label_yp@ / nullif(p_variance@, 0), {prior.slope})"
            f" + {_PRIOR_LABELS} * borrowed@ * ({prior.slope})) / nullif(labels@ + {_PRIOR_LABELS} * borrowed@, 0),"
            f" {prior.slope})))",
        },
        {
            "own_share@": _clipped("label_mean@ + slope@ * (mean@ - label_p@)"),
            "intercept@": "label_mean@ - slope@ * label_p@",
            "shift_variance@": prior.variance,
            "prior_residual@": prior.residual,
        },
        {
            "squares@": "greatest(0e0, coalesce((wwy@ * (1 - 2 * intercept@) - 2 * slope@ * wwyp@"
            " + intercept@ * intercept@ * ww@ + 2 * intercept@ * slope@ * wwp@ + slope@ * slope@ * wwpp@)"
            " / nullif(ww@, 0), 0e0))"
        },
        {
            "residual@": "least(1e0, greatest(1e-3,"
            f" (labels@ * squares@ * labels@ / greatest(labels@ - 2, 1e0) + {_PRIOR_LABELS} * prior_residual@"
            " * prior_variance@) / (labels@ * coalesce(label_mean@ * (1 - label_mean@), 0e0) * labels@"
            f" / greatest(labels@ - 1, 1e0) + {_PRIOR_LABELS} * prior_variance@)))"
        },
        {
            "own_evidence@": "labels@ / residual@",
            "prior_evidence@": "coalesce(borrowed@ * prior_variance@ / nullif(unlabelled@ * shift_variance@, 0), 0e0)",
        },
        {
            "own_weight@": "CASE WHEN labels@ = 0 THEN 0e0 WHEN unlabelled@ <= 0 THEN 1e0"
            " ELSE own_evidence@ / (own_evidence@ + prior_evidence@) END",
            "unknown@": "coalesce(greatest(0e0, unlabelled@) / nullif(own_evidence@ + prior_evidence@, 0), 0e0)",
        },
        {
            "tuned_share@": _clipped(
                "own_weight@ * coalesce(own_share@, prior_share@) + (1 - own_weight@) * prior_share@"
            ),
            "trials@": "1 / (1e0 / nullif(scored@, 0) + unknown@)",
        },
        {
            **_interval("tuned_share@", "trials@", low="tuned_low@", high="tuned_high@"),
            **_interval("label_mean@", "nullif(labels@, 0)", low="label_low@", high="label_high@"),
        },
        {
            # Where probabilities explain too little, or there is nothing left to explain, labels stand alone.
            "plain@": "CASE WHEN unlabelled@ <= 0 THEN 1 WHEN borrowed@ = 0"
            " AND label_high@ - label_low@ < tuned_high@ - tuned_low@ THEN 1 ELSE 0 END"
        },
        {
            "estimated_share@": "CASE WHEN plain@ = 1 THEN label_mean@ ELSE tuned_share@ END",
            "estimated_share@_low": "CASE WHEN plain@ = 1 THEN label_low@ ELSE tuned_low@ END",
            "estimated_share@_high": "CASE WHEN plain@ = 1 THEN label_high@ ELSE tuned_high@ END",
        },
    ]


def _clipped(sql: str) -> str:
    """Within 0 to 1; NULL stays NULL, which `least` and `greatest` would pass over."""
    return f"CASE WHEN ({sql}) IS NOT NULL THEN least(1e0, greatest(0e0, {sql})) END"


def _spread(share: str) -> str:
    return f"greatest({_LEAST_VARIANCE}e0, {share} * (1 - {share}))"


def _interval(share: str, trials: str, *, low: str, high: str) -> dict[str, str]:
    """Wilson's score interval; at a share of 0 or 1 rounding would leave a speck beside it."""
    centre = f"({share} + {_Z**2 / 2}e0 / {trials})"
    half = f"{_Z}e0 * sqrt({share} * (1 - {share}) / {trials} + {_Z**2 / 4}e0 / ({trials} * {trials}))"
    whole = f"(1 + {_Z**2}e0 / {trials})"
    return {
        low: f"CASE WHEN {share} = 0 THEN 0e0 * {trials} ELSE ({centre} - {half}) / {whole} END",
        high: f"CASE WHEN {share} = 1 THEN 1e0 + 0e0 * {trials} ELSE ({centre} + {half}) / {whole} END",
    }


def _ended(steps: Iterable[dict[str, str]], end: str) -> Steps:
    return [{name.replace("@", end): sql.replace("@", end) for name, sql in step.items()} for step in steps]
