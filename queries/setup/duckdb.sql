-- The marts, the scores and their arrays as rows, for DuckDB. Say first where they are:
--   SET VARIABLE marts = 'marts'; SET VARIABLE scores = 'scores';
CREATE OR REPLACE VIEW sentiment_daily AS
SELECT * FROM read_parquet(getvariable('marts') || '/sentiment_daily/month=*/*.parquet', hive_types = {'month': VARCHAR});

CREATE OR REPLACE VIEW sentiment_product AS
SELECT * FROM read_parquet(getvariable('marts') || '/sentiment_product/month=*/*.parquet', hive_types = {'month': VARCHAR});

CREATE OR REPLACE VIEW model_daily AS
SELECT * FROM read_parquet(getvariable('marts') || '/model_daily/month=*/*.parquet', hive_types = {'month': VARCHAR});

CREATE OR REPLACE VIEW run_history AS
SELECT * FROM read_parquet(getvariable('marts') || '/run_history/month=*/*.parquet', hive_types = {'month': VARCHAR});

CREATE OR REPLACE VIEW scores AS
SELECT * FROM read_parquet(getvariable('scores') || '/*=*/*.parquet', hive_partitioning = true);

CREATE OR REPLACE VIEW probability_steps AS
SELECT product, day, entry.bin AS bin, entry.reviews AS reviews
FROM (SELECT product, day, unnest(probability_sketch) AS entry FROM sentiment_daily);

CREATE OR REPLACE VIEW score_steps AS
SELECT model_sha256, day, generate_subscripts(score_histogram, 1) - 1 AS step, unnest(score_histogram) AS reviews
FROM model_daily;
