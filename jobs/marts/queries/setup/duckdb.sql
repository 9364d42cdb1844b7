-- The marts and the scores as views, for DuckDB. Say first where they are:
--   SET VARIABLE marts = 'marts'; SET VARIABLE scores = 'scores';
CREATE OR REPLACE VIEW sentiment_daily AS
SELECT * FROM read_parquet(getvariable('marts') || '/sentiment_daily/month=*/*.parquet', hive_types = {'month': VARCHAR});

CREATE OR REPLACE VIEW sentiment_overall AS
SELECT * FROM read_parquet(getvariable('marts') || '/sentiment_overall/month=*/*.parquet', hive_types = {'month': VARCHAR});

CREATE OR REPLACE VIEW sentiment_product AS
SELECT * FROM read_parquet(getvariable('marts') || '/sentiment_product/month=*/*.parquet', hive_types = {'month': VARCHAR});

CREATE OR REPLACE VIEW model_daily AS
SELECT * FROM read_parquet(getvariable('marts') || '/model_daily/month=*/*.parquet', hive_types = {'month': VARCHAR});

CREATE OR REPLACE VIEW data_quality AS
SELECT * FROM read_parquet(getvariable('marts') || '/data_quality/month=*/*.parquet', hive_types = {'month': VARCHAR});

CREATE OR REPLACE VIEW run_history AS
SELECT * FROM read_parquet(getvariable('marts') || '/run_history/month=*/*.parquet', hive_types = {'month': VARCHAR});

CREATE OR REPLACE VIEW scores AS
SELECT * FROM read_parquet(getvariable('scores') || '/*=*/*.parquet', hive_partitioning = true, union_by_name = true);
