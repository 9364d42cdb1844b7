-- Which products are surely liked, and which surely not? By the end of the interval that is nearer to the middle, so that
-- three reviews of one mind do not win.
WITH bounds AS (
  SELECT
    product,
    scored,
    estimated_share,
    estimated_share_low,
    estimated_share_high,
    row_number() OVER (ORDER BY estimated_share_low DESC, product NULLS FIRST) AS best,
    row_number() OVER (ORDER BY estimated_share_high, product NULLS FIRST) AS worst
  FROM product_total
  WHERE scored > 0
)
SELECT product, scored, estimated_share, estimated_share_low, estimated_share_high, best, worst
FROM bounds
WHERE best <= 10 OR worst <= 10
ORDER BY best;
