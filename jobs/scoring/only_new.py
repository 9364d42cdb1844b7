"""A run with ``--only-new``: which rows are new, which older rows they replace, and which stay beside them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

from jobs.publishing.staging import Staging
from jobs.scoring.audit import digest_rows
from jobs.scoring.incremental import (
    ScoredTable,
    audit_keys,
    digest_keys,
    placed_ids,
    rows_of,
    unscored,
    with_ids,
    without,
)
from jobs.scoring.models import ScoringModels
from jobs.scoring.report import Timings
from jobs.scoring.settings import ScoringSettings
from jobs.scoring.source import ReviewSource
from sentiment_core.errors import AuditError, InputError

__all__ = ["OnlyNew"]


@dataclass(frozen=True, kw_only=True)
class OnlyNew:
    """What the published rows and the input have to do with each other.

    Parameters
    ----------
    settings : ScoringSettings
    table : ScoredTable
        The published rows.
    source : ReviewSource
        The input.
    models : ScoringModels
    run_date : date
    timings : Timings
        Takes the seconds of each step.
    """

    settings: ScoringSettings
    table: ScoredTable
    source: ReviewSource
    models: ScoringModels
    run_date: date
    timings: Timings

    @contextmanager
    def new_rows(self) -> Iterator[ReviewSource]:
        """The rows that the model has not scored yet; their ids are kept until it is left."""
        columns = self.source.columns
        with self.timings.of("find_new"):
            id_type = self.source.frame.schema[columns.id].dataType
            self.table.refuse_other_extras(columns, run_date=self.run_date)
            model_sha256 = self.models.first.sha256
            known = self.table.keys(columns, id_type, model_key=self.models.key, model_sha256=model_sha256)
            ids = unscored(self.source.frame, columns, known=known).persist()
            rows = rows_of(self.source.frame, columns, ids=ids)
            fresh = ReviewSource.digested(rows, columns, source=", ".join(self.settings.input))
        try:
            yield fresh
        finally:
            ids.unpersist()

    def replaced_rows(self, fresh: ReviewSource) -> int:
        """How many published rows the new ones take the place of.

        Raises
        ------
        InputError
            If there would be fewer rows of an id than before: the id then stands for several reviews, and nothing tells
            which of them the input brings.
        """
        with self.timings.of("find_replaced"):
            replaced, lossy = self.table.replaced_by(fresh.frame, fresh.columns, run_date=self.run_date)
        if lossy:
            raise InputError(
                f"{lossy:,} ids stand for more rows in {self.settings.output} than in the new rows of this input, so "
                "reviews would be lost; make the ids unique (--id-column none makes ids from the content), or score "
                "without --only-new"
            )
        return replaced

    def keep_older(self, fresh: ReviewSource, staging: Staging, partitions: list[str]) -> int:
        """Stage, beside the new scores, the rows that the partitions have already; returns how many.

        Raises
        ------
        AuditError
            If they did not come out as they went in, or others were left out than those that new rows replace.
        """
        with self.timings.of("keep_older"):
            rows = self.table.rows(partitions, staging.scores().schema, partition=fresh.columns.partition)
            if rows is None:
                return 0
            schema, columns = fresh.frame.schema, fresh.columns
            # Not cached: Spark would read a cached table of the staged files again after each write to them.
            ids = placed_ids(staging.scores(), columns)
            older, replaced = rows.count(), with_ids(rows, columns, ids=ids).count()
            rows = without(rows, columns, ids=ids)
            kept = digest_rows(rows, schema=schema, columns=columns)
            scored_again = with_ids(staging.scores(), columns, ids=ids).count()
            found = digest_rows(staging.write(rows), schema=schema, columns=columns)
            if found != fresh.digest + kept:
                raise AuditError(
                    f"{fresh.digest.count:,} new and {kept.count:,} older rows became {found.count:,}, digests "
                    f"{(fresh.digest + kept).as_dict()} and {found.as_dict()}; run again, nothing was published"
                )
            twins = with_ids(staging.scores(), columns, ids=ids).count() - scored_again
            if twins:
                raise AuditError(
                    f"{twins:,} older rows stand beside new ones of their ids; run again, nothing was published"
                )
            if older != kept.count + replaced:
                raise AuditError(
                    f"of {older:,} older rows {kept.count:,} were kept and {replaced:,} replaced; run again, nothing "
                    "was published"
                )
            keys = self.table.keys_of(partitions, staging.keys().schema)
            if keys is not None:
                keys = without(keys, columns, ids=ids)
                audit_keys(staging.write_keys(keys), expected=fresh.text_digest + digest_keys(keys))
            return kept.count
