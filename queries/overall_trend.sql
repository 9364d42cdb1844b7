-- How does sentiment over all products go, day by day and over the 7 days that end on the day, with Wilson 95 % intervals?
WITH days AS (
  SELECT day, sum(reviews) AS reviews, sum(scored) AS scored, sum(positive) AS positive
  FROM sentiment_daily
  GROUP BY day
),
weeks AS (
  SELECT
    *,
    sum(positive) OVER week AS positive_7d,
    sum(scored) OVER week AS scored_7d
  FROM days
  WINDOW week AS (ORDER BY day RANGE BETWEEN INTERVAL '6' DAY PRECEDING AND CURRENT ROW)
)
SELECT
  day,
  reviews,
  scored,
  positive / nullif(scored, 0) AS positive_share,
  (positive + 1.9207294e0 - 1.9599640e0 * sqrt(positive * (scored - positive) / nullif(scored, 0) + 0.9603647e0))
    / (scored + 3.8414588e0) AS positive_share_low,
  (positive + 1.9207294e0 + 1.9599640e0 * sqrt(positive * (scored - positive) / nullif(scored, 0) + 0.9603647e0))
    / (scored + 3.8414588e0) AS positive_share_high,
  scored_7d,
  positive_7d / nullif(scored_7d, 0) AS positive_share_7d,
  (positive_7d + 1.9207294e0
    - 1.9599640e0 * sqrt(positive_7d * (scored_7d - positive_7d) / nullif(scored_7d, 0) + 0.9603647e0))
    / (scored_7d + 3.8414588e0) AS positive_share_7d_low,
  (positive_7d + 1.9207294e0
    + 1.9599640e0 * sqrt(positive_7d * (scored_7d - positive_7d) / nullif(scored_7d, 0) + 0.9603647e0))
    / (scored_7d + 3.8414588e0) AS positive_share_7d_high
FROM weeks
ORDER BY day;
