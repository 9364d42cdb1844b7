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
    sum(probability_sum) AS probability_sum
  FROM sentiment_product
  GROUP BY product
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
  positive / nullif(scored, 0) AS positive_share,
  (positive + 1.9207294e0 - 1.9599640e0 * sqrt(positive * (scored - positive) / nullif(scored, 0) + 0.9603647e0))
    / (scored + 3.8414588e0) AS positive_share_low,
  (positive + 1.9207294e0 + 1.9599640e0 * sqrt(positive * (scored - positive) / nullif(scored, 0) + 0.9603647e0))
    / (scored + 3.8414588e0) AS positive_share_high,
  CAST(probability_sum AS double) / nullif(scored, 0) AS mean_probability
FROM sums;
