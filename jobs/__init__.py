"""The jobs behind the ``sentiment`` command: one module a verb, and what runs in Spark's workers."""
