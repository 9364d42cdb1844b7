-- How many reviews have no text, could not be scored, are of words that the model does not know (another language, say),
-- were cut or hold unknown words, by month and model?
SELECT
  month,
  model_sha256,
  sum(reviews) AS reviews,
  sum(empty) / sum(reviews) AS empty_share,
  sum(failed) / sum(reviews) AS failed_share,
  sum(unfamiliar) / sum(reviews) AS unfamiliar_share,
  sum(truncated) / nullif(sum(scored), 0) AS truncated_share,
  sum(unknown_ok) / nullif(sum(tokens_ok), 0) AS unknown_rate,
  sum(tokens) / sum(reviews) AS tokens_per_review
FROM model_daily
GROUP BY month, model_sha256
ORDER BY month, model_sha256;
