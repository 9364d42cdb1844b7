"""The questions that a dashboard asks, as SQL that runs unchanged in Spark SQL and DuckDB."""
