"""Define what tables look like, and read them with Spark."""
