-- Where do stars and text disagree? Many stars beside a negative text are often a sale forced or a star bought.
-- Reads the scores; they must hold the column stars (score --keep-columns product_id,stars).
SELECT
  product_id AS product,
  count(*) AS reviews,
  count(*) FILTER (WHERE stars >= 4 AND sentiment = 'negative') AS many_stars_negative_text,
  count(*) FILTER (WHERE stars <= 2 AND sentiment = 'positive') AS few_stars_positive_text,
  count(*) FILTER (WHERE stars >= 4 AND sentiment = 'negative' OR stars <= 2 AND sentiment = 'positive')
    / count(*) AS disagreement
FROM scores
WHERE stars IS NOT NULL AND score_status IN ('ok', 'truncated')
GROUP BY product_id
HAVING count(*) >= 20
ORDER BY disagreement DESC, product NULLS FIRST
LIMIT 20;
