-- Do two models agree on the days that both scored, each its own reviews? The champion is the model that scored more.
-- Models that scored the same reviews side by side (score --model NAME=DIR, twice) are compared review by review, which
-- tells more: sentiment compare.
-- z: difference of the positive shares in standard errors; beyond 2 it is seldom chance, if the reviews are comparable.
WITH places AS (
  SELECT model_sha256, row_number() OVER (ORDER BY sum(scored) DESC, model_sha256) AS place
  FROM model_daily
  GROUP BY model_sha256
),
placed AS (
  SELECT m.*, p.place FROM model_daily m JOIN places p ON m.model_sha256 = p.model_sha256
),
pairs AS (
  SELECT
    a.day,
    a.model_sha256 AS champion,
    b.model_sha256 AS challenger,
    a.scored AS champion_scored,
    b.scored AS challenger_scored,
    a.positive_share AS champion_share,
    b.positive_share AS challenger_share,
    a.mean_probability AS champion_probability,
    b.mean_probability AS challenger_probability,
    (a.positive + b.positive) / (a.scored + b.scored) AS pooled
  FROM placed a JOIN placed b ON a.day = b.day
  WHERE a.place = 1 AND b.place = 2 AND a.scored > 0 AND b.scored > 0
)
SELECT
  *,
  challenger_share - champion_share AS difference,
  (challenger_share - champion_share)
    / sqrt(nullif(pooled * (1 - pooled) * (1e0 / champion_scored + 1e0 / challenger_scored), 0)) AS z
FROM pairs
ORDER BY day DESC;
