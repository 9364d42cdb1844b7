"""A reader who looks at the table every 10 ms, in two ways, and notes whatever he should not see."""

from __future__ import annotations

import threading
from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.parquet as pq

from tests.faults.world import Scores, partition_rows, same_rows

__all__ = ["Reader"]

_PAUSE_SECONDS = 0.01
# One look in so many reads all data again; the others list, and open what is new.
_FULL_LOOKS = 25


class Reader:
    """Reads in a thread of its own while the block runs.

    Parameters
    ----------
    table : Path
    nights : list of Scores
        What may be seen; the first of them is there from the start.

    Attributes
    ----------
    looks, vanished : int
        How often it looked; how often a file was gone between listing and opening, which an exchange of partitions
        does not hide.
    violations : list of str
    """

    def __init__(self, table: Path, nights: list[Scores]) -> None:
        self._table = table
        self._nights = nights
        self._whole: set[tuple[str, tuple[str, ...]]] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.looks = self.vanished = 0
        self.violations: list[str] = []

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._ended.wait(_PAUSE_SECONDS):
            try:
                self._look(full=self.looks % _FULL_LOOKS == 0)
            except FileNotFoundError:
                self.vanished += 1
            except (ValueError, OSError) as error:
                self._note(f"{type(error).__name__}: {error}")
            self.looks += 1

    def _look(self, *, full: bool) -> None:
        """As Spark: list the partitions, then open the files."""
        there = {path.name: path for path in self._table.iterdir() if path.name[0] not in "._"}
        for name in self._nights[0].keys() - there.keys():
            self._note(f"{name} is absent")
        for name, path in there.items():
            files = tuple(sorted(file.name for file in path.iterdir() if file.name[0] not in "._"))
            if full or (name, files) not in self._whole:
                rows = partition_rows(path)
                if not any(same_rows(rows, night.get(name)) for night in self._nights):
                    # Files of both nights can be listed in the moment of the exchange; they cannot be opened.
                    if tuple(sorted(file.name for file in path.iterdir() if file.name[0] not in "._")) != files:
                        raise FileNotFoundError(name)
                    self._note(f"{name} has {len(rows)} rows, which are those of no night")
                self._whole.add((name, files))
            for file in files[:1]:
                pq.read_metadata(path / file)
        if full:
            # As pyarrow does, which lists all before it opens the first.
            table = ds.dataset(self._table, partitioning="hive", exclude_invalid_files=False).to_table()
            found = table.group_by("product_id").aggregate([("review_id", "count")]).to_pylist()
            for row in found:
                name, n_rows = f"product_id={row['product_id']}", row["review_id_count"]
                if not any(n_rows == len(night.get(name, {})) for night in self._nights):
                    self._note(f"{name} has {n_rows} rows, as in no night, for pyarrow")

    def _note(self, violation: str) -> None:
        if f"a reader: {violation}" not in self.violations:
            self.violations.append(f"a reader: {violation}")
