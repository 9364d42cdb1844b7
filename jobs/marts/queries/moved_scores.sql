-- Which scores became more or less frequent in the last 7 days, against the 7 days before? The terms of the stability
-- index, with half a review added to each step: the step with the largest one moved most. NULL where there was no review.
WITH latest AS (
  SELECT model_sha256 AS model, max(day) AS last_day FROM model_daily GROUP BY model_sha256
),
weeks AS (
  SELECT
    model_sha256,
    step,
    sum(CASE WHEN day > last_day - 7 THEN reviews ELSE 0 END) AS now,
    sum(CASE WHEN day <= last_day - 7 THEN reviews ELSE 0 END) AS before
  FROM score_steps JOIN latest ON model_sha256 = model
  WHERE day > last_day - 14
  GROUP BY model_sha256, step
),
shares AS (
  SELECT
    model_sha256,
    step,
    1e0 * now / nullif(sum(now) OVER of_model, 0) AS share_now,
    1e0 * before / nullif(sum(before) OVER of_model, 0) AS share_before,
    (now + 5e-1) / sum(now + 5e-1) OVER of_model AS smooth_now,
    (before + 5e-1) / sum(before + 5e-1) OVER of_model AS smooth_before
  FROM weeks
  WINDOW of_model AS (PARTITION BY model_sha256)
)
SELECT
  model_sha256,
  step / 15e0 AS probability_from,
  (step + 1) / 15e0 AS probability_to,
  share_before,
  share_now,
  CASE
    WHEN share_now + share_before IS NOT NULL THEN (smooth_now - smooth_before) * ln(smooth_now / smooth_before)
  END AS index_term
FROM shares
ORDER BY model_sha256, step;
