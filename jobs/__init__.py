"""The ``sentiment`` command and its Spark jobs."""
