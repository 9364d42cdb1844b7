"""The ``sentiment`` command: one verb a job.

Results go to standard output as JSON, one object a line; progress goes to standard error, whose last line says in
one sentence what happened. The exit code is 0, or that of the error (`sentiment_core.errors`).
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from importlib.metadata import version
from typing import Any, NoReturn

from jobs.spark.errors import describe_unexpected
from jobs.status_file import StatusFile
from jobs.telemetry.log import LOG_FORMATS, configure_log, end_log, log_verdict
from jobs.telemetry.privacy import redact, redact_values
from sentiment_core import errors
from sentiment_core.mxnet_setup import prepare_mxnet

__all__ = ["EXIT_CODES", "VERBS", "main", "parser_of"]

VERBS = {
    "pretrain": ("jobs.verbs.models.pretrain", "train a word language model on review tables"),
    "train": ("jobs.verbs.models.train", "fine-tune a model on labelled reviews"),
    "teach": ("jobs.verbs.models.teach", "fine-tune a sentence encoder to label reviews"),
    "label": ("jobs.verbs.models.label", "label reviews with an ensemble of models, to train one model on"),
    "evaluate": ("jobs.verbs.models.evaluate", "measure a model on labelled reviews"),
    "inspect": ("jobs.verbs.inspect", "show what a run would find in an input, and the command that scores it"),
    "score": ("jobs.verbs.score", "score a review table with Spark"),
    "backfill": ("jobs.verbs.backfill", "score a review table for each date of a range"),
    "summarize": ("jobs.verbs.summarize", "make marts for dashboards from scores, and watch for drift"),
    "dashboard": ("jobs.verbs.dashboard", "write the marts as one HTML page"),
    "compare": ("jobs.verbs.compare", "compare two models that scored the same reviews"),
    "sample": ("jobs.verbs.sample", "draw the scored reviews that are worth a label of your own"),
    "calibrate": ("jobs.verbs.models.calibrate", "fit a model's probabilities to a few hundred labels of your own"),
    "predict": ("jobs.verbs.predict", "score texts from the command line or standard input"),
    "explain": ("jobs.verbs.explain", "show what each word adds to the score of a text"),
    "doctor": ("jobs.verbs.doctor", "check this machine"),
}
EXIT_CODES = {
    0: "done",
    1: "internal error, or interrupted",
    2: "wrong option or value",
    3: "input refused: missing column, wrong type, unreadable file, bad model",
    4: "too many rows failed, or the audit found a difference",
    5: "a gate is closed: drift, or a calibration that is no better",
    6: "environment: a package, Java, a GPU, memory or room is missing",
}
_OF_MXNET = "it has wheels for Python 3.11 on Linux x86-64 only"
_OF_THE_PAGE = "pip install 'sentiment-warehouse[page]'"
_CURES = dict.fromkeys(("mxnet", "gluonnlp"), _OF_MXNET) | dict.fromkeys(
    ("duckdb", "jinja2", "markdown_it", "vl_convert"), _OF_THE_PAGE
)
# Spark reports a worker's exception as text.
_WORKER_ERROR = re.compile(r"^(?:sentiment_core\.errors\.)(\w+): (.+)$", re.MULTILINE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = _Parser(
        prog="sentiment",
        description="Score review tables, and train and check what scores them.",
        epilog="verbs:\n" + "\n".join(f"  {verb:10} {text}" for verb, (_, text) in VERBS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=version("sentiment-warehouse"))
    parser.add_argument("verb", choices=VERBS, metavar="VERB", help="`sentiment VERB --help` shows its options")
    try:
        verb = parser.parse_args(given[:1]).verb
    except errors.UsageError as error:
        print(f"sentiment: failed: {error}", file=sys.stderr, flush=True)
        return error.exit_code

    signal.signal(signal.SIGTERM, _interrupt)  # as schedulers stop a job: clean up, and say so
    status: StatusFile | None = None
    results = _Results()
    try:
        # Before anything can fail, so that no verdict of an earlier command is left to be read.
        location = _status_location(given[1:])
        status = StatusFile(location, verb=verb) if location else None
        configure_log(verb)
        prepare_mxnet()
        job = _load(VERBS[verb][0])
        chosen = parser_of(verb).parse_args(given[1:])
        configure_log(verb, log_format=chosen.log_format)
        sentence = job.run(chosen, results.emit)
        if results.unwritten is not None and "output" not in chosen:
            raise errors.EnvironmentFault(
                f"the result cannot be written ({results.unwritten}); make room and run again"
            )
        code = 0
    except KeyboardInterrupt:
        sentence, code = "interrupted; what was published or saved before stays, run again", 1
    except Exception as error:
        known = as_known(error)
        if known is None:
            logging.getLogger(__name__).debug("internal error", exc_info=error)
            sentence, code = f"{describe_unexpected(error)}; SENTIMENT_LOG_LEVEL=DEBUG shows it", 1
        else:
            sentence, code = str(known), known.exit_code
    signal.signal(signal.SIGTERM, _too_late)
    sentence = redact(sentence)
    log_verdict(code, sentence)
    if status is not None:
        status.end(code, sentence, result=results.last)
    stop_spark()
    end_log()
    print(f"sentiment {verb}: {'done' if code == 0 else 'failed'}: {sentence}", file=sys.stderr, flush=True)
    return code


def parser_of(verb: str) -> argparse.ArgumentParser:
    """The options of a verb.

    Raises
    ------
    EnvironmentFault
        If the verb needs a package that is not installed.
    """
    purpose = VERBS[verb][1]
    parser = _Parser(prog=f"sentiment {verb}", description=f"{purpose[0].upper()}{purpose[1:]}.", allow_abbrev=False)
    _load(VERBS[verb][0]).add_arguments(parser)
    _add_arguments(parser)
    return parser


class _Parser(argparse.ArgumentParser):
    """Its errors end as those of the job do, with a closing sentence and a verdict."""

    def error(self, message: str) -> NoReturn:
        raise errors.UsageError(f"{message}; see `{self.prog} --help`")


def _status_location(given: Sequence[str]) -> str | None:
    """Where the verdict goes, known before the other options are; None if only help was asked for."""
    if {"-h", "--help"} & set(given):
        return None
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--status-file", default=os.environ.get("SENTIMENT_STATUS_FILE"))
    location: str | None = parser.parse_known_args(given)[0].status_file
    return location


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every verb understands."""
    group = parser.add_argument_group("log")
    group.add_argument(
        "--log-format", choices=LOG_FORMATS, help="default: text in a terminal, else one JSON object a line"
    )
    group.add_argument(
        "--status-file",
        default=os.environ.get("SENTIMENT_STATUS_FILE"),
        metavar="PATH|URI",
        help="where the verdict is written as JSON, failed or not",
    )


def _load(module: str) -> Any:
    """Import a verb's module, which may need a package that has no wheel here or was left out on executors."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package in ("jobs", "sentiment_core"):
            raise
        cure = _CURES.get(package, "run `make setup`")
        raise errors.EnvironmentFault(f"this verb needs {package}, which is not installed; {cure}") from error
    except OSError as error:
        raise errors.EnvironmentFault(f"MXNet cannot be loaded ({error}); install libgomp1 and libquadmath0") from error


class _Results:
    """What goes to standard output: one object a line."""

    def __init__(self) -> None:
        self.last: dict[str, Any] | None = None
        self.unwritten: str | None = None

    def emit(self, value: dict[str, Any]) -> None:
        """Write an object; if it cannot be written, what the job did still holds."""
        self.last = value
        is_unicode = (sys.stdout.encoding or "").lower().startswith("utf")
        try:
            print(json.dumps(redact_values(value), ensure_ascii=not is_unicode, default=str), flush=True)
        except OSError as error:
            # Or the rest of the line would be tried again when Python ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if not isinstance(error, BrokenPipeError):  # nobody reads the result
                self.unwritten = error.strerror
                logging.getLogger(__name__).warning("standard output cannot be written: %s", error.strerror)


def _too_late(_signal: int, _frame: object) -> None:
    """The verdict is known. Not ``SIG_IGN``, which child processes would inherit."""


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def as_known(error: Exception) -> errors.SentimentError | None:
    """The error itself, or the one that a worker raised inside Spark's."""
    if isinstance(error, errors.SentimentError):
        return error
    found = _WORKER_ERROR.search(str(error))
    kind = getattr(errors, found[1], None) if found else None
    if found is None or not isinstance(kind, type) or not issubclass(kind, errors.SentimentError):
        return None
    known = errors.SentimentError(found[2])
    known.exit_code = kind.exit_code
    return known


def stop_spark() -> None:
    """Stop Spark before the closing sentence, so that nothing follows it."""
    if "pyspark" in sys.modules:
        from pyspark.sql import SparkSession

        session = SparkSession.getActiveSession()
        if session is not None:
            with suppress(Exception):  # its JVM may be what failed
                session.stop()


if __name__ == "__main__":
    sys.exit(main())
