-- In which runs do reviews lack a date, or have one that cannot be true? They are in no other mart.
SELECT
  run_date,
  reviews,
  undated,
  misdated,
  undated / reviews AS undated_share,
  misdated / reviews AS misdated_share
FROM data_quality
WHERE undated + misdated > 0
ORDER BY run_date;
