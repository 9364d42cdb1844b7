-- Why did a product move? Of the ten products whose mean probability moved most from a month to the next, the latest two
-- that have drivers, the terms whose contribution changed most, in logit units a scored review, with 95 % intervals.
-- A term that is not kept in a month (not among its strongest) counts as 0 there. Needs `score --drivers`.
WITH months AS (
  SELECT
    max(month) AS month,
    max(CASE WHEN month < latest THEN month END) AS month_before
  FROM (SELECT month, max(month) OVER () AS latest FROM sentiment_drivers) dated
),
moved AS (
  SELECT
    now.product,
    months.month,
    months.month_before,
    now.mean_probability - before.mean_probability AS change_in_probability,
    row_number() OVER (
      ORDER BY abs(now.mean_probability - before.mean_probability) DESC, now.product NULLS FIRST
    ) AS place
  FROM months
  JOIN sentiment_product now ON now.month = months.month
  JOIN sentiment_product before
    ON before.month = months.month_before AND before.product IS NOT DISTINCT FROM now.product
  WHERE now.mean_probability IS NOT NULL AND before.mean_probability IS NOT NULL
),
per_review AS (
  SELECT
    product,
    month,
    kind,
    term,
    reviews,
    contribution * review_share / reviews AS contribution,
    (contribution_high - contribution_low) / 2 * review_share / reviews AS half_width
  FROM sentiment_drivers
),
terms AS (
  SELECT DISTINCT m.product, m.month, m.month_before, m.change_in_probability, m.place, d.kind, d.term
  FROM moved m JOIN per_review d
    ON d.product IS NOT DISTINCT FROM m.product AND (d.month = m.month OR d.month = m.month_before)
  WHERE m.place <= 10
),
compared AS (
  SELECT
    t.*,
    coalesce(before.reviews, 0) AS reviews_before,
    coalesce(now.reviews, 0) AS reviews,
    coalesce(before.contribution, 0e0) AS contribution_before,
    coalesce(now.contribution, 0e0) AS contribution,
    coalesce(now.contribution, 0e0) - coalesce(before.contribution, 0e0) AS change_in_contribution,
    sqrt(coalesce(now.half_width * now.half_width, 0e0) + coalesce(before.half_width * before.half_width, 0e0))
      AS half_width
  FROM terms t
  LEFT JOIN per_review now
    ON now.product IS NOT DISTINCT FROM t.product AND now.month = t.month AND now.kind = t.kind AND now.term = t.term
  LEFT JOIN per_review before
    ON before.product IS NOT DISTINCT FROM t.product AND before.month = t.month_before
      AND before.kind = t.kind AND before.term = t.term
),
ranked AS (
  SELECT
    *,
    row_number() OVER (PARTITION BY place, kind ORDER BY abs(change_in_contribution) DESC, term) AS rank
  FROM compared
)
SELECT
  product,
  month_before,
  month,
  change_in_probability,
  kind,
  rank,
  term,
  reviews_before,
  reviews,
  contribution_before,
  contribution,
  change_in_contribution,
  change_in_contribution - half_width AS change_low,
  change_in_contribution + half_width AS change_high
FROM ranked
WHERE rank <= 10
ORDER BY place, kind, rank;
