"""Write the marts as one HTML page, without Spark."""
