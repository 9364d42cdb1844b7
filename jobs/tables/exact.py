"""A reader for which a path is the name of one file or folder."""

from __future__ import annotations

from pyspark.sql import DataFrameReader, SparkSession

__all__ = ["exact_reader"]


def exact_reader(session: SparkSession) -> DataFrameReader:
    """A reader that takes no name for a pattern, as Spark's own does with ``[final]``, and passes over no file."""
    # A cluster's defaults must not make Spark pass over a damaged or vanished file.
    return session.read.options(ignoreCorruptFiles="false", ignoreMissingFiles="false", __globPaths__="false")
