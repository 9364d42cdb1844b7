-- What share of each product's reviews is positive, month by month, and how sure is that?
SELECT product, month, scored, positive_share, positive_share_low, positive_share_high, expected_share
FROM sentiment_product
ORDER BY product NULLS FIRST, month;
