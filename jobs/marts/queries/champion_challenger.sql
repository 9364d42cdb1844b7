-- Do two models agree on the days that both scored, each its own reviews? The champion is the model that scored more.
-- Models that scored the same reviews side by side (score --model NAME=DIR, twice) are compared review by review, which
-- tells more: sentiment compare.
-- z: difference of the mean probabilities in standard errors; beyond 2 it is seldom chance, if the reviews are
-- comparable. The shares are estimates, each corrected by what its model is known to err by.
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
    a.estimated_share AS champion_share,
    b.estimated_share AS challenger_share,
    a.mean_probability AS champion_probability,
    b.mean_probability AS challenger_probability,
    CAST(a.probability_sum - a.variance_sum AS double) / a.scored - a.mean_probability * a.mean_probability
      AS champion_variance,
    CAST(b.probability_sum - b.variance_sum AS double) / b.scored - b.mean_probability * b.mean_probability
      AS challenger_variance
  FROM placed a JOIN placed b ON a.day = b.day
  WHERE a.place = 1 AND b.place = 2 AND a.scored > 0 AND b.scored > 0
)
SELECT
  day,
  champion,
  challenger,
  champion_scored,
  challenger_scored,
  champion_share,
  challenger_share,
  champion_probability,
  challenger_probability,
  challenger_share - champion_share AS difference,
  (challenger_probability - champion_probability) / nullif(
    sqrt(greatest(0e0, champion_variance / champion_scored + challenger_variance / challenger_scored)), 0
  ) AS z
FROM pairs
ORDER BY day DESC;
