-- What share of each product's reviews is positive, month by month, and how sure is that? positive_share counts the
-- model's labels, which is no estimate: neutral reviews count in it as not positive.
SELECT
  product,
  month,
  scored,
  labelled_count,
  estimated_share,
  estimated_share_low,
  estimated_share_high,
  positive_share
FROM sentiment_product
ORDER BY product NULLS FIRST, month;
