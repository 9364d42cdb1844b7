from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.telemetry.privacy import SPARK_REDACTION, redact, redact_values

SECRETS = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"], exclude_characters="'\""), min_size=4)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3a://AKIA:p/w+d@bucket/reviews: no such path", "s3a://AKIA:***@bucket/reviews: no such path"),
        ("jdbc:x://u:a@b@host/db 'x://v:w@h'", "jdbc:x://u:***@host/db 'x://v:***@h'"),
        ("wasbs://c@a.net/p?sv=2&sig=abc%3D&x=1", "wasbs://c@a.net/p?sv=2&sig=***&x=1"),
        ("https://h/p?X-Amz-Signature=1f&accessToken=t", "https://h/p?X-Amz-Signature=***&accessToken=***"),
        ("jdbc:h2:mem;user=a;Password=b", "jdbc:h2:mem;user=a;Password=***"),
        ("s3a://AKIA:123/abc+def@bucket/reviews", "s3a://AKIA:***@bucket/reviews"),
        ("sftp://me@corp.com:pass@host/in", "sftp://me@corp.com:***@host/in"),
        ("jdbc:x://h/db?user=a&pwd=b;x=1", "jdbc:x://h/db?user=a&pwd=***"),
        (
            "unrecognized arguments: --conf spark.hadoop.fs.s3a.secret.key=SECRET -v",
            "unrecognized arguments: --conf spark.hadoop.fs.s3a.secret.key=*** -v",
        ),
        (
            "--conf=spark.my.password=a spark.hadoop.fs.azure.account.key=b",
            "--conf=spark.my.password=*** spark.hadoop.fs.azure.account.key=***",
        ),
        # What might be a port is hidden where it might be a password.
        ("hdfs://name-node:8020/data/a@b.parquet", "hdfs://name-node:***@b.parquet"),
    ],
)
def test_secrets_in_uris_are_not_shown(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "abfss://container@account.dfs.core.windows.net/reviews",
        "hdfs://name-node:8020/data/b.parquet",
        "spark://127.0.0.1:7077",
        "reviews.parquet: no such path; check --input",
        "12:30 a@b.example, C:\\data, x?y=1",
        "--max-tokens=500 n_tokens=3 spark.sql.shuffle.partitions=2",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


@given(password=SECRETS)
def test_no_password_survives_in_a_message_or_a_plan(password: str) -> None:
    text = f"Location: InMemoryFileIndex(1 paths)[s3a://user:{password}@bucket/folder]"
    assert redact(text) == text.replace(f":{password}@", ":***@")
    assert redact_values({"a": [text, {"b": text}], "n": 1}) == {"a": [redact(text), {"b": redact(text)}], "n": 1}
    assert re.search(re.sub(r"\(\?i\)", "", SPARK_REDACTION["spark.redaction.regex"]), text)
