"""Ask the questions of a dashboard, as SQL that runs unchanged in Spark SQL and DuckDB."""
