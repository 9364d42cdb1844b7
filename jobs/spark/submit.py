"""Spark's settings as the command line and files give them, before any Java runs.

``python -m jobs.spark.submit FILE`` prints NAME=VALUE of each setting in a properties file, one a line.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

__all__ = ["named_settings", "read_properties", "submit_settings"]

_BLANK = " \t\f"
# The name ends at the first blank, = or : that no backslash stands before; around one = or : there may be blanks.
_PROPERTY = re.compile(rf"((?:\\.|[^\\=:{_BLANK}])*)[{_BLANK}]*[=:]?[{_BLANK}]*(.*)", re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPED = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
# What Spark leaves out at both ends of a value: all controls but line breaks.
_TRIMMED = "".join(chr(code) for code in range(33) if chr(code) not in "\r\n")


def submit_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Settings of the session that would be started: of `spark-submit.sh`'s options and Spark's own file of defaults.

    Parameters
    ----------
    environment : mapping
        Of the process; ``PYSPARK_SUBMIT_ARGS`` holds the options.
    """
    options = _options(environment)
    found: dict[str, str] = {}
    if options.load_spark_defaults or not options.properties_file:
        folder = environment.get("SPARK_CONF_DIR") or Path(environment.get("SPARK_HOME", "."), "conf")
        found |= read_properties(Path(folder, "spark-defaults.conf"))
    found |= named_settings(environment)
    found |= dict(setting.split("=", 1) for setting in options.conf if "=" in setting)
    return found | ({"spark.master": options.master} if options.master else {})


def named_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Settings in the file that `--properties-file` names."""
    file = _options(environment).properties_file
    return read_properties(Path(file)) if file else {}


def read_properties(path: Path) -> dict[str, str]:
    """Settings in a file of Java's form, as Spark reads it; none if it is not there."""
    found: dict[str, str] = {}
    # Only these end a line; `str.splitlines` knows more.
    lines = iter(path.read_text(errors="replace").split("\n") if path.is_file() else ())
    for line in lines:
        line = line.lstrip(_BLANK)
        if line in ("", "\\") or line[0] in "#!":
            continue
        while (len(line) - len(line.rstrip("\\"))) % 2:
            line = line[:-1] + next(lines, "").lstrip(_BLANK)
        name, value = (_ESCAPE.sub(_unescaped, part) for part in _PROPERTY.findall(line)[0])
        found[name] = value.strip(_TRIMMED)
    return found


def _unescaped(found: re.Match[str]) -> str:
    text = found[1]
    return chr(int(text[1:], 16)) if len(text) > 1 else _ESCAPED.get(text, text)


def _options(environment: Mapping[str, str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--conf", "-c", action="append", default=[])
    parser.add_argument("--master")
    parser.add_argument("--properties-file")
    parser.add_argument("--load-spark-defaults", action="store_true")
    options, _ = parser.parse_known_args(shlex.split(environment.get("PYSPARK_SUBMIT_ARGS", "")))
    return options


if __name__ == "__main__":
    for name, value in read_properties(Path(sys.argv[1])).items():
        sys.stdout.write(f"{name}={' '.join(value.split())}\n")
