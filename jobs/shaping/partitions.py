"""Partition values as names of folders: which of them a file system or a reader could not give back."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from jobs.shaping.checks import RowCheck
from jobs.tables.scores import column

__all__ = ["partition_checks"]

# Of this machine's file systems and of HDFS.
_LONGEST_BYTES = 255
# What Spark writes as % and two digits (its ExternalCatalogUtils).
_ESCAPED = r"""[\x01-\x1F"#%'*/:=?\\\x7F{}\[\]^]"""


def partition_checks(name: str) -> list[RowCheck]:
    """Rows whose value in a column cannot be the name of a partition's folder."""
    value = column(name).cast("string")
    longest = _LONGEST_BYTES - _bytes(F.lit(name)) - len("=")
    cure = "partition by another column"
    return [
        RowCheck(
            wrong=value.isin("", "__HIVE_DEFAULT_PARTITION__"),
            said=f"have an empty or reserved {name!r}, which as a partition would be read back as NULL; {cure}",
        ),
        RowCheck(
            wrong=_bytes(value) > longest,
            said=f"have a {name!r} that is longer than the name of a folder may be ({_LONGEST_BYTES} bytes); {cure}",
        ),
        RowCheck(
            wrong=value.contains("\0") | ~F.is_valid_utf8(value),
            said=f"have a {name!r} with NUL or bytes that are no UTF-8, which no folder can be named after; {cure}",
        ),
    ]


def _bytes(value: Column) -> Column:
    return F.octet_length(F.regexp_replace(value, _ESCAPED, "xxx"))
