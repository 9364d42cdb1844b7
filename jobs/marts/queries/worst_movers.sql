-- Which products fell most this week against the week before, and is it more than chance?
-- Each product as of its last day with reviews in the last 7 days. q: p corrected for the number of products tested
-- (Benjamini-Hochberg); of products with q below 0.1, one in ten is expected to have moved by chance. In the order of the
-- fall that is sure, the upper end of its interval: a product of two reviews may fall by 100 points and prove nothing.
WITH latest AS (
  SELECT max(day) AS last_day FROM sentiment_daily
),
recent AS (
  SELECT s.*, row_number() OVER (PARTITION BY s.product ORDER BY s.day DESC) AS age
  FROM sentiment_daily s CROSS JOIN latest
  WHERE s.day > latest.last_day - 7
),
tested AS (
  SELECT *, change_7d_p * count(*) OVER () / count(*) OVER (ORDER BY change_7d_p) AS scaled
  FROM recent
  WHERE age = 1 AND change_7d_p IS NOT NULL
),
corrected AS (
  SELECT *, least(1e0, min(scaled) OVER (ORDER BY change_7d_p DESC)) AS q
  FROM tested
)
SELECT product, day, scored_7d, estimated_share_7d, change_7d, change_7d_low, change_7d_high, change_7d_p, q
FROM corrected
WHERE change_7d < 0
ORDER BY change_7d_high, change_7d, product NULLS FIRST
LIMIT 20;
