"""Make the tables of dashboards from scores, in native Spark SQL."""
