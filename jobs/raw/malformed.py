"""Records that cannot be read: refused, or set aside and listed by file, line and reason, never by their text."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from sentiment_core.errors import InputError

__all__ = ["POLICIES", "MalformedRecord", "MalformedRecords"]

POLICIES = ("refuse", "set-aside")
# Of one input: when they are refused, more of them tell nothing new; in a file of another kind, all records are.
_MOST_NAMED = 5
_ENOUGH_TO_REFUSE = 100
_FEWEST_TO_GIVE_UP = 1000


@dataclass(frozen=True, kw_only=True)
class MalformedRecord:
    """One record.

    Attributes
    ----------
    file : str
    line : int
        At which it begins, from 1.
    reason : str
    """

    file: str
    line: int
    reason: str


@dataclass(kw_only=True)
class MalformedRecords:
    """Those of an input.

    Attributes
    ----------
    policy : str
        One of `POLICIES`.
    max_ratio : float
        Largest share of malformed records that may be set aside.
    records : list of MalformedRecord
    """

    policy: str = "refuse"
    max_ratio: float = 0.001
    records: list[MalformedRecord] = field(default_factory=list)

    def add(self, *, file: str, line: int, reason: str) -> None:
        """Note a record."""
        self.records.append(MalformedRecord(file=file, line=line, reason=reason))

    def are_hopeless(self, *, rows: int) -> bool:
        """Whether reading on makes no difference, after so many good rows."""
        count = len(self.records)
        if self.policy == "refuse":
            return count >= _ENOUGH_TO_REFUSE
        return count >= _FEWEST_TO_GIVE_UP and count > max(0.5, 10 * self.max_ratio) * (rows + count)

    def check(self, source: str, *, rows: int, is_csv: bool = True) -> None:
        """Refuse the input if they are not to be set aside, or are too many beside the good rows.

        Parameters
        ----------
        source : str
        rows : int
        is_csv : bool
            Whether a dialect may be what is wrong.

        Raises
        ------
        InputError
        """
        count = len(self.records)
        if not count:
            return
        least = "at least " if self.are_hopeless(rows=rows) else ""
        named = "; ".join(f"{each.file} line {each.line:,}: {each.reason}" for each in self.records[:_MOST_NAMED])
        more = f"; and {count - _MOST_NAMED:,} more" if count > _MOST_NAMED else ""
        found = f"{source}: {least}{count:,} of {rows + count:,} records are malformed ({named}{more})"
        if self.policy == "refuse":
            dialect = "the dialect with --csv-delimiter, --csv-quote, --csv-escape or --encoding"
            stated = dialect if is_csv else "the encoding with --encoding"
            raise InputError(f"{found}; repair them, state {stated}, or set them aside with --malformed-rows set-aside")
        if count > self.max_ratio * (rows + count):
            raise InputError(f"{found}, more than --max-malformed-ratio {self.max_ratio}; repair them or allow more")

    def as_json_lines(self) -> str:
        """One object a line."""
        return "".join(json.dumps(asdict(record)) + "\n" for record in self.records)
