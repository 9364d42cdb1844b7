-- Over which products do people quarrel? Percentiles of three months, from the merged sketches of their days: a product
-- that is loved and hated has a low 10th and a high 90th.
WITH latest AS (
  SELECT max(day) AS last_day FROM sentiment_daily
),
merged AS (
  SELECT product, bin, sum(reviews) AS reviews
  FROM probability_steps CROSS JOIN latest
  WHERE day > last_day - 91
  GROUP BY product, bin
),
ranked AS (
  SELECT
    product,
    (bin + 5e-1) / 1000 AS probability,
    sum(reviews) OVER (PARTITION BY product ORDER BY bin) AS seen,
    sum(reviews) OVER (PARTITION BY product) AS total
  FROM merged
)
SELECT
  product,
  max(total) AS scored,
  min(CASE WHEN seen * 10 >= total THEN probability END) AS probability_p10,
  min(CASE WHEN seen * 2 >= total THEN probability END) AS probability_p50,
  min(CASE WHEN seen * 10 >= total * 9 THEN probability END) AS probability_p90
FROM ranked
WHERE total >= 20
GROUP BY product
ORDER BY
  min(CASE WHEN seen * 10 >= total * 9 THEN probability END) - min(CASE WHEN seen * 10 >= total THEN probability END)
    DESC,
  product NULLS FIRST
LIMIT 20;
