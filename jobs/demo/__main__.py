"""The demo: made-up reviews are scored, summed up and drawn, each step by the function behind its verb.

python -m jobs.demo DIRECTORY
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from pyspark.sql import SparkSession

from jobs.dashboard import DashboardSettings, make_dashboard
from jobs.demo.sample_reviews import write_reviews
from jobs.demo.show import describe_estimate, describe_scores
from jobs.marts import SummarizeSettings, summarize
from jobs.scoring import ScoreSettings, score
from jobs.spark.session import spark_session
from jobs.telemetry.log import configure_log, end_log
from sentiment_core.errors import SentimentError

__all__ = ["main", "run_demo"]

RUN_DATE = date(2026, 11, 1)
# Of the reviews; so the estimate from the texts alone stands beside that from the texts and a few labels.
STAR_SHARE = 0.3


def run_demo(session: SparkSession, directory: Path, *, n_reviews: int = 600) -> None:
    """Write reviews, scores, marts and the dashboard into a directory, and print what they say.

    Parameters
    ----------
    session : SparkSession
    directory : Path
        What an earlier demo wrote there is replaced.
    n_reviews : int, default 600

    Raises
    ------
    SentimentError
        As the functions of the verbs raise it.
    """
    reviews, scores, marts = directory / "reviews.parquet", directory / "scores", directory / "marts"
    marts_of_texts, page = directory / "marts-of-texts", directory / "dashboard.html"
    write_reviews(reviews, n_reviews=n_reviews, star_share=STAR_SHARE)
    settings = ScoreSettings(
        input=(str(reviews),),
        output=str(scores),
        keep_columns="product_id,review_date,stars",
        run_date=RUN_DATE,
        drivers=5,
    )
    report = score(session, settings)
    print("\n".join(describe_scores(scores, reviews_per_second=report.facts["throughput"]["reviews_per_second"])))
    summarize(session, SummarizeSettings(scores=str(scores), output=str(marts_of_texts), date_column="review_date"))
    labelled = SummarizeSettings(
        scores=str(scores),
        output=str(marts),
        date_column="review_date",
        label_column="stars",
        positive_above=3.0,
    )
    summarize(session, labelled)
    print(describe_estimate(marts_of_texts))
    print(describe_estimate(marts))
    make_dashboard(DashboardSettings(marts=str(marts), output=page))
    print(f"Dashboard: {page}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo from the command line; returns the exit code."""
    parser = argparse.ArgumentParser("python -m jobs.demo", description="Score, sum up and draw made-up reviews.")
    parser.add_argument("directory", type=Path, metavar="DIRECTORY", help="where everything is written")
    options = parser.parse_args(arguments)
    try:
        configure_log("demo")
        run_demo(spark_session("sentiment demo"), options.directory)
    except SentimentError as error:
        print(f"demo: failed: {error}", file=sys.stderr)
        return error.exit_code
    finally:
        end_log()
    return 0


if __name__ == "__main__":
    sys.exit(main())
