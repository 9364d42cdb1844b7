-- Which scores became more or less frequent in the last 7 days, against the 7 days before? The terms of the stability
-- index: the step with the largest one moved most.
WITH latest AS (
  SELECT model_sha256 AS model, max(day) AS last_day FROM model_daily GROUP BY model_sha256
),
weeks AS (
  SELECT
    model_sha256,
    step,
    sum(CASE WHEN day > last_day - 7 THEN reviews ELSE 0 END) + 5e-1 AS now,
    sum(CASE WHEN day <= last_day - 7 THEN reviews ELSE 0 END) + 5e-1 AS before
  FROM score_steps JOIN latest ON model_sha256 = model
  WHERE day > last_day - 14
  GROUP BY model_sha256, step
),
shares AS (
  SELECT
    model_sha256,
    step,
    now / sum(now) OVER (PARTITION BY model_sha256) AS share_now,
    before / sum(before) OVER (PARTITION BY model_sha256) AS share_before
  FROM weeks
)
SELECT
  model_sha256,
  step / 15e0 AS probability_from,
  (step + 1) / 15e0 AS probability_to,
  share_before,
  share_now,
  (share_now - share_before) * ln(share_now / share_before) AS index_term
FROM shares
ORDER BY model_sha256, step;
