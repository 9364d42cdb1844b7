-- Views that Spark SQL and DuckDB both read as they are; after the tables and the engine's own views.
CREATE OR REPLACE VIEW product_total AS
WITH sums AS (
SELECT
  product,
  min(first_day) AS first_day,
  max(last_day) AS last_day,
  sum(reviews) AS reviews,
  sum(scored) AS scored,
  sum(negative) AS negative,
  sum(neutral) AS neutral,
  sum(positive) AS positive,
  sum(labelled_count) AS labelled_count,
  CAST(sum(probability_sum) AS double) AS p,
  CAST(sum(probability_sum) - sum(variance_sum) AS double) AS pp,
  CAST(sum(corrected_sum) AS double) AS q,
  CAST(sum(spread_sum) AS double) AS spread,
  coalesce(CAST(sum(label_sums.w) AS double), 0e0) AS w,
  coalesce(CAST(sum(label_sums.wy) AS double), 0e0) AS wy,
  coalesce(CAST(sum(label_sums.wp) AS double), 0e0) AS wp,
  coalesce(CAST(sum(label_sums.wpp) AS double), 0e0) AS wpp,
  coalesce(CAST(sum(label_sums.wyp) AS double), 0e0) AS wyp,
  coalesce(CAST(sum(label_sums.ww) AS double), 0e0) AS ww,
  coalesce(CAST(sum(label_sums.wwy) AS double), 0e0) AS wwy,
  coalesce(CAST(sum(label_sums.wwp) AS double), 0e0) AS wwp,
  coalesce(CAST(sum(label_sums.wwpp) AS double), 0e0) AS wwpp,
  coalesce(CAST(sum(label_sums.wwyp) AS double), 0e0) AS wwyp
FROM sentiment_product
GROUP BY product
),
all_sums AS (
SELECT
  sum(reviews) AS reviews,
  sum(scored) AS scored,
  sum(negative) AS negative,
  sum(neutral) AS neutral,
  sum(positive) AS positive,
  sum(labelled_count) AS labelled_count,
  CAST(sum(probability_sum) AS double) AS p,
  CAST(sum(probability_sum) - sum(variance_sum) AS double) AS pp,
  CAST(sum(corrected_sum) AS double) AS q,
  CAST(sum(spread_sum) AS double) AS spread,
  coalesce(CAST(sum(label_sums.w) AS double), 0e0) AS w,
  coalesce(CAST(sum(label_sums.wy) AS double), 0e0) AS wy,
  coalesce(CAST(sum(label_sums.wp) AS double), 0e0) AS wp,
  coalesce(CAST(sum(label_sums.wpp) AS double), 0e0) AS wpp,
  coalesce(CAST(sum(label_sums.wyp) AS double), 0e0) AS wyp,
  coalesce(CAST(sum(label_sums.ww) AS double), 0e0) AS ww,
  coalesce(CAST(sum(label_sums.wwy) AS double), 0e0) AS wwy,
  coalesce(CAST(sum(label_sums.wwp) AS double), 0e0) AS wwp,
  coalesce(CAST(sum(label_sums.wwpp) AS double), 0e0) AS wwpp,
  coalesce(CAST(sum(label_sums.wwyp) AS double), 0e0) AS wwyp
FROM sentiment_product
),
all_1 AS (
SELECT
  *,
  q / nullif(scored, 0) AS corrected_mean,
  p / nullif(scored, 0) AS mean,
  1 - labelled_count / nullif(scored, 0) AS unlabelled,
  coalesce(w * w / nullif(ww, 0), 0e0) AS labels,
  wy / nullif(w, 0) AS label_mean,
  wp / nullif(w, 0) AS label_p
FROM all_sums
),
all_2 AS (
SELECT
  *,
  greatest(0e0, 1 - labels / 20e0) AS borrowed,
  greatest(0e0, pp / nullif(scored, 0) - mean * mean) AS p_variance,
  wyp / nullif(w, 0) - label_mean * label_p AS label_yp,
  CASE WHEN (corrected_mean + unlabelled * (0e0) + coalesce((1 - unlabelled) * (label_mean - label_p - corrected_mean + mean), 0e0)) IS NOT NULL THEN least(1e0, greatest(0e0, corrected_mean + unlabelled * (0e0) + coalesce((1 - unlabelled) * (label_mean - label_p - corrected_mean + mean), 0e0))) END AS prior_share
FROM all_1
),
all_3 AS (
SELECT
  *,
  greatest(0.01e0, prior_share * (1 - prior_share)) AS prior_variance,
  greatest(0e0, least(1 / nullif(greatest(0e0, unlabelled), 0), coalesce((labels * coalesce(label_yp / nullif(p_variance, 0), 1e0) + 10 * borrowed * (1e0)) / nullif(labels + 10 * borrowed, 0), 1e0))) AS slope
FROM all_2
),
all_4 AS (
SELECT
  *,
  CASE WHEN (label_mean + slope * (mean - label_p)) IS NOT NULL THEN least(1e0, greatest(0e0, label_mean + slope * (mean - label_p))) END AS own_share,
  label_mean - slope * label_p AS intercept,
  power(spread / nullif(scored, 0), 2) AS shift_variance,
  least(1e0, greatest(0e0, p - pp) / nullif(scored * prior_variance, 0)) AS prior_residual
FROM all_3
),
all_5 AS (
SELECT
  *,
  greatest(0e0, coalesce((wwy * (1 - 2 * intercept) - 2 * slope * wwyp + intercept * intercept * ww + 2 * intercept * slope * wwp + slope * slope * wwpp) / nullif(ww, 0), 0e0)) AS squares
FROM all_4
),
all_6 AS (
SELECT
  *,
  least(1e0, greatest(1e-3, (labels * squares * labels / greatest(labels - 2, 1e0) + 10 * prior_residual * prior_variance) / (labels * coalesce(label_mean * (1 - label_mean), 0e0) * labels / greatest(labels - 1, 1e0) + 10 * prior_variance))) AS residual
FROM all_5
),
all_7 AS (
SELECT
  *,
  labels / residual AS own_evidence,
  coalesce(borrowed * prior_variance / nullif(unlabelled * shift_variance, 0), 0e0) AS prior_evidence
FROM all_6
),
all_8 AS (
SELECT
  *,
  CASE WHEN labels = 0 THEN 0e0 WHEN unlabelled <= 0 THEN 1e0 ELSE own_evidence / (own_evidence + prior_evidence) END AS own_weight,
  coalesce(greatest(0e0, unlabelled) / nullif(own_evidence + prior_evidence, 0), 0e0) AS unknown
FROM all_7
),
all_9 AS (
SELECT
  *,
  CASE WHEN (own_weight * coalesce(own_share, prior_share) + (1 - own_weight) * prior_share) IS NOT NULL THEN least(1e0, greatest(0e0, own_weight * coalesce(own_share, prior_share) + (1 - own_weight) * prior_share)) END AS tuned_share,
  1 / (1e0 / nullif(scored, 0) + unknown) AS trials
FROM all_8
),
all_10 AS (
SELECT
  *,
  CASE WHEN tuned_share = 0 THEN 0e0 * trials ELSE ((tuned_share + 1.9207294103470627e0 / trials) - 1.959963984540054e0 * sqrt(tuned_share * (1 - tuned_share) / trials + 0.9603647051735313e0 / (trials * trials))) / (1 + 3.8414588206941254e0 / trials) END AS tuned_low,
  CASE WHEN tuned_share = 1 THEN 1e0 + 0e0 * trials ELSE ((tuned_share + 1.9207294103470627e0 / trials) + 1.959963984540054e0 * sqrt(tuned_share * (1 - tuned_share) / trials + 0.9603647051735313e0 / (trials * trials))) / (1 + 3.8414588206941254e0 / trials) END AS tuned_high,
  CASE WHEN label_mean = 0 THEN 0e0 * nullif(labels, 0) ELSE ((label_mean + 1.9207294103470627e0 / nullif(labels, 0)) - 1.959963984540054e0 * sqrt(label_mean * (1 - label_mean) / nullif(labels, 0) + 0.9603647051735313e0 / (nullif(labels, 0) * nullif(labels, 0)))) / (1 + 3.8414588206941254e0 / nullif(labels, 0)) END AS label_low,
  CASE WHEN label_mean = 1 THEN 1e0 + 0e0 * nullif(labels, 0) ELSE ((label_mean + 1.9207294103470627e0 / nullif(labels, 0)) + 1.959963984540054e0 * sqrt(label_mean * (1 - label_mean) / nullif(labels, 0) + 0.9603647051735313e0 / (nullif(labels, 0) * nullif(labels, 0)))) / (1 + 3.8414588206941254e0 / nullif(labels, 0)) END AS label_high
FROM all_9
),
all_11 AS (
SELECT
  *,
  CASE WHEN unlabelled <= 0 THEN 1 WHEN borrowed = 0 AND label_high - label_low < tuned_high - tuned_low THEN 1 ELSE 0 END AS plain
FROM all_10
),
all_12 AS (
SELECT
  *,
  CASE WHEN plain = 1 THEN label_mean ELSE tuned_share END AS estimated_share,
  CASE WHEN plain = 1 THEN label_low ELSE tuned_low END AS estimated_share_low,
  CASE WHEN plain = 1 THEN label_high ELSE tuned_high END AS estimated_share_high
FROM all_11
),
all_estimated AS (
SELECT
  *,
  coalesce(estimated_share - corrected_mean, 0e0) AS pool_shift,
  coalesce(greatest(0.01e0, estimated_share * (1 - estimated_share)) * CASE WHEN plain = 1 THEN greatest(0e0, 1 / nullif(labels, 0) - 1e0 / nullif(scored, 0)) ELSE unknown END, 0e0) AS pool_shift_variance,
  coalesce(slope, 1e0) AS pool_slope,
  coalesce(residual, 1e0) AS pool_residual
FROM all_12
),
pool AS (
SELECT
  pool_shift,
  pool_shift_variance,
  pool_slope,
  pool_residual
FROM all_estimated
),
pooled AS (
SELECT
  *
FROM sums CROSS JOIN pool
),
product_1 AS (
SELECT
  *,
  q / nullif(scored, 0) AS corrected_mean,
  p / nullif(scored, 0) AS mean,
  1 - labelled_count / nullif(scored, 0) AS unlabelled,
  coalesce(w * w / nullif(ww, 0), 0e0) AS labels,
  wy / nullif(w, 0) AS label_mean,
  wp / nullif(w, 0) AS label_p
FROM pooled
),
product_2 AS (
SELECT
  *,
  greatest(0e0, 1 - labels / 20e0) AS borrowed,
  greatest(0e0, pp / nullif(scored, 0) - mean * mean) AS p_variance,
  wyp / nullif(w, 0) - label_mean * label_p AS label_yp,
  CASE WHEN (corrected_mean + unlabelled * (pool_shift) + coalesce((1 - unlabelled) * (label_mean - label_p - corrected_mean + mean), 0e0)) IS NOT NULL THEN least(1e0, greatest(0e0, corrected_mean + unlabelled * (pool_shift) + coalesce((1 - unlabelled) * (label_mean - label_p - corrected_mean + mean), 0e0))) END AS prior_share
FROM product_1
),
product_3 AS (
SELECT
  *,
  greatest(0.01e0, prior_share * (1 - prior_share)) AS prior_variance,
  greatest(0e0, least(1 / nullif(greatest(0e0, unlabelled), 0), coalesce((labels * coalesce(label_yp / nullif(p_variance, 0), pool_slope) + 10 * borrowed * (pool_slope)) / nullif(labels + 10 * borrowed, 0), pool_slope))) AS slope
FROM product_2
),
product_4 AS (
SELECT
  *,
  CASE WHEN (label_mean + slope * (mean - label_p)) IS NOT NULL THEN least(1e0, greatest(0e0, label_mean + slope * (mean - label_p))) END AS own_share,
  label_mean - slope * label_p AS intercept,
  pool_shift_variance + 0.25 * power(spread / nullif(scored, 0), 2) AS shift_variance,
  pool_residual AS prior_residual
FROM product_3
),
product_5 AS (
SELECT
  *,
  greatest(0e0, coalesce((wwy * (1 - 2 * intercept) - 2 * slope * wwyp + intercept * intercept * ww + 2 * intercept * slope * wwp + slope * slope * wwpp) / nullif(ww, 0), 0e0)) AS squares
FROM product_4
),
product_6 AS (
SELECT
  *,
  least(1e0, greatest(1e-3, (labels * squares * labels / greatest(labels - 2, 1e0) + 10 * prior_residual * prior_variance) / (labels * coalesce(label_mean * (1 - label_mean), 0e0) * labels / greatest(labels - 1, 1e0) + 10 * prior_variance))) AS residual
FROM product_5
),
product_7 AS (
SELECT
  *,
  labels / residual AS own_evidence,
  coalesce(borrowed * prior_variance / nullif(unlabelled * shift_variance, 0), 0e0) AS prior_evidence
FROM product_6
),
product_8 AS (
SELECT
  *,
  CASE WHEN labels = 0 THEN 0e0 WHEN unlabelled <= 0 THEN 1e0 ELSE own_evidence / (own_evidence + prior_evidence) END AS own_weight,
  coalesce(greatest(0e0, unlabelled) / nullif(own_evidence + prior_evidence, 0), 0e0) AS unknown
FROM product_7
),
product_9 AS (
SELECT
  *,
  CASE WHEN (own_weight * coalesce(own_share, prior_share) + (1 - own_weight) * prior_share) IS NOT NULL THEN least(1e0, greatest(0e0, own_weight * coalesce(own_share, prior_share) + (1 - own_weight) * prior_share)) END AS tuned_share,
  1 / (1e0 / nullif(scored, 0) + unknown) AS trials
FROM product_8
),
product_10 AS (
SELECT
  *,
  CASE WHEN tuned_share = 0 THEN 0e0 * trials ELSE ((tuned_share + 1.9207294103470627e0 / trials) - 1.959963984540054e0 * sqrt(tuned_share * (1 - tuned_share) / trials + 0.9603647051735313e0 / (trials * trials))) / (1 + 3.8414588206941254e0 / trials) END AS tuned_low,
  CASE WHEN tuned_share = 1 THEN 1e0 + 0e0 * trials ELSE ((tuned_share + 1.9207294103470627e0 / trials) + 1.959963984540054e0 * sqrt(tuned_share * (1 - tuned_share) / trials + 0.9603647051735313e0 / (trials * trials))) / (1 + 3.8414588206941254e0 / trials) END AS tuned_high,
  CASE WHEN label_mean = 0 THEN 0e0 * nullif(labels, 0) ELSE ((label_mean + 1.9207294103470627e0 / nullif(labels, 0)) - 1.959963984540054e0 * sqrt(label_mean * (1 - label_mean) / nullif(labels, 0) + 0.9603647051735313e0 / (nullif(labels, 0) * nullif(labels, 0)))) / (1 + 3.8414588206941254e0 / nullif(labels, 0)) END AS label_low,
  CASE WHEN label_mean = 1 THEN 1e0 + 0e0 * nullif(labels, 0) ELSE ((label_mean + 1.9207294103470627e0 / nullif(labels, 0)) + 1.959963984540054e0 * sqrt(label_mean * (1 - label_mean) / nullif(labels, 0) + 0.9603647051735313e0 / (nullif(labels, 0) * nullif(labels, 0)))) / (1 + 3.8414588206941254e0 / nullif(labels, 0)) END AS label_high
FROM product_9
),
product_11 AS (
SELECT
  *,
  CASE WHEN unlabelled <= 0 THEN 1 WHEN borrowed = 0 AND label_high - label_low < tuned_high - tuned_low THEN 1 ELSE 0 END AS plain
FROM product_10
),
product_estimated AS (
SELECT
  *,
  CASE WHEN plain = 1 THEN label_mean ELSE tuned_share END AS estimated_share,
  CASE WHEN plain = 1 THEN label_low ELSE tuned_low END AS estimated_share_low,
  CASE WHEN plain = 1 THEN label_high ELSE tuned_high END AS estimated_share_high
FROM product_11
)
SELECT
  product,
  first_day,
  last_day,
  reviews,
  scored,
  negative,
  neutral,
  positive,
  labelled_count,
  estimated_share,
  estimated_share_low,
  estimated_share_high,
  positive / nullif(scored, 0) AS positive_share,
  p / nullif(scored, 0) AS mean_probability
FROM product_estimated;
