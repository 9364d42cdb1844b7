-- Which runs were slower than usual? Against the median of all runs of the same engine and precision.
WITH medians AS (
  SELECT engine, precision, median(reviews_per_second) AS usual
  FROM run_history
  GROUP BY engine, precision
)
SELECT
  r.run_id,
  r.run_date,
  r.engine,
  r.precision,
  r.reviews,
  r.total_seconds,
  r.reviews_per_second,
  r.reviews_per_second / nullif(m.usual, 0) AS of_usual
FROM run_history r JOIN medians m ON coalesce(r.engine, '') = coalesce(m.engine, '')
  AND coalesce(r.precision, '') = coalesce(m.precision, '')
ORDER BY of_usual NULLS LAST, r.run_id
LIMIT 30;
