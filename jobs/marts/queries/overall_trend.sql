-- How does sentiment over all products go, day by day and over the 7 days that end on the day? The estimated share of
-- positive reviews with its 95 % interval, and how many reviews with a known label it rests on.
SELECT
  day,
  reviews,
  scored,
  labelled_count,
  estimated_share,
  estimated_share_low,
  estimated_share_high,
  scored_7d,
  labelled_count_7d,
  estimated_share_7d,
  estimated_share_7d_low,
  estimated_share_7d_high,
  positive_share_7d,
  change_7d,
  change_7d_low,
  change_7d_high,
  change_7d_p
FROM sentiment_overall
ORDER BY day;
