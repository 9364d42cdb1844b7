-- The mart of drivers, for DuckDB, after duckdb.sql; only where the scores were made with `score --drivers`, since
-- DuckDB makes no view of files that are not there.
CREATE OR REPLACE VIEW sentiment_drivers AS
SELECT * FROM read_parquet(getvariable('marts') || '/sentiment_drivers/month=*/*.parquet', hive_types = {'month': VARCHAR});
