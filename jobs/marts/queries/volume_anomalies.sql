-- On which days did a product get far more reviews than it used to? A campaign, a fault in the news, or bought reviews.
-- Against the mean of the 28 days before (days without reviews count as 0), as a multiple of a Poisson deviation. The first
-- 28 days of a product are not judged: of the days before them nothing is known.
WITH volumes AS (
  SELECT
    product,
    day,
    reviews,
    min(day) OVER (PARTITION BY product) + INTERVAL '28' DAY AS judged_from,
    coalesce(sum(reviews) OVER before, 0) / 28e0 AS usual
  FROM sentiment_daily
  WINDOW before AS (
    PARTITION BY product ORDER BY day RANGE BETWEEN INTERVAL '28' DAY PRECEDING AND INTERVAL '1' DAY PRECEDING
  )
)
SELECT product, day, reviews, usual, (reviews - usual) / sqrt(usual) AS deviations
FROM volumes
WHERE day >= judged_from AND usual >= 0.25 AND reviews >= 5 AND reviews > usual + 3 * sqrt(usual)
ORDER BY deviations DESC, product NULLS FIRST, day
LIMIT 50;
