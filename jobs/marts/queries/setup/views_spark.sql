-- Arrays as rows, for Spark SQL.
CREATE OR REPLACE VIEW probability_steps AS
SELECT product, day, entry.bin AS bin, entry.reviews AS reviews
FROM sentiment_daily LATERAL VIEW explode(probability_sketch) sketch AS entry;

CREATE OR REPLACE VIEW score_steps AS
SELECT model_sha256, day, step, reviews_in_step AS reviews
FROM model_daily LATERAL VIEW posexplode(score_histogram) histogram AS step, reviews_in_step;
