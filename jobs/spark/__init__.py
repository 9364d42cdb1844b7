"""Start Spark with the settings that the jobs need, and translate its errors into sentences."""
