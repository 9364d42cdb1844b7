-- Arrays as rows, for DuckDB.
CREATE OR REPLACE VIEW probability_steps AS
SELECT product, day, entry.bin AS bin, entry.reviews AS reviews
FROM (SELECT product, day, unnest(probability_sketch) AS entry FROM sentiment_daily);

CREATE OR REPLACE VIEW score_steps AS
SELECT model_sha256, day, generate_subscripts(score_histogram, 1) - 1 AS step, unnest(score_histogram) AS reviews
FROM model_daily;
