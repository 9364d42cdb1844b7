-- Do the scores still look as they did last week and when the model was validated, and did the texts change?
SELECT
  day,
  model_sha256,
  scored,
  week_scored,
  psi_week,
  psi_validation,
  CASE
    WHEN least(scored, week_scored) < 500 OR psi_week IS NULL THEN 'not judged'
    WHEN psi_week >= 0.25 THEN 'fail'
    WHEN psi_week >= 0.1 THEN 'warn'
    ELSE 'ok'
  END AS week_level,
  mean_probability,
  unknown_rate,
  tokens_p50,
  truncated_share,
  unfamiliar_share
FROM model_daily
ORDER BY day DESC, model_sha256
LIMIT 60;
