-- What does a million reviews cost, by month, model and engine?
SELECT
  month,
  model_sha256,
  engine,
  precision,
  count(*) AS runs,
  sum(reviews) AS reviews,
  sum(core_hours) AS core_hours,
  sum(core_hours) * 1e6 / nullif(sum(reviews), 0) AS core_hours_per_million,
  sum(cost) AS cost,
  sum(cost) * 1e6 / nullif(sum(reviews), 0) AS cost_per_million
FROM run_history
GROUP BY month, model_sha256, engine, precision
ORDER BY month, model_sha256, engine NULLS FIRST, precision NULLS FIRST;
