"""What the marts were made of: a small JSON file beside them, which says the next refresh what changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from jobs.marts.days import Folder
from jobs.marts.schemas import MARTS_VERSION
from jobs.statistics.corrections import ShareCorrection
from jobs.storage.files import FileSystem
from sentiment_core.errors import InputError, UsageError

__all__ = ["MartState"]

# Of the two the second is there while the first is replaced.
_FILE, _NEW = "_state.json", "_state.json.new"


class _Reader(Protocol):
    """As much of a `FileSystem` as loading needs."""

    def read(self, path: str) -> bytes | None:
        """Content of a file; None if there is none."""


@dataclass(kw_only=True)
class MartState:
    """What the marts were made of.

    Attributes
    ----------
    settings : mapping
        Options that decide what every row means; marts of other settings are made anew only on request.
    core_hour_price : float or None
    folders : mapping
        Of the scores table, by path.
    reports : mapping
        Size and time of each run report, by name.
    validation : mapping
        Validation histograms by the model's SHA-256.
    corrections : mapping
        How shares follow from probabilities, by the model's SHA-256.
    labels : str
        Digest of the file of labels; "" without.
    """

    settings: Mapping[str, str]
    core_hour_price: float | None = None
    folders: dict[str, Folder] = field(default_factory=dict)
    reports: dict[str, str] = field(default_factory=dict)
    validation: dict[str, Sequence[int]] = field(default_factory=dict)
    corrections: dict[str, ShareCorrection] = field(default_factory=dict)
    labels: str = ""

    @classmethod
    def load(cls, fs: _Reader, *, output: str, settings: Mapping[str, str]) -> MartState:
        """The state of the marts in the root of a file system; an empty one where there are none.

        Raises
        ------
        InputError
            If the marts are of another version or the file is damaged.
        UsageError
            If they were made with other settings.
        """
        content = fs.read(_FILE) or fs.read(_NEW)
        if content is None:
            return cls(settings=settings)
        try:
            stored = json.loads(content)
            version = stored["version"]
            state = cls(
                settings=stored["settings"],
                core_hour_price=stored["core_hour_price"],
                folders={name: Folder.from_dict(value) for name, value in stored["folders"].items()},
                reports=stored["reports"],
                validation=stored["validation"],
                corrections={name: ShareCorrection(**one) for name, one in stored.get("corrections", {}).items()},
                labels=stored.get("labels", ""),
            )
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise InputError(f"{output}/{_FILE} is damaged ({error!r}); summarize with --rebuild") from error
        if version != MARTS_VERSION:
            raise InputError(
                f"{output} holds marts of version {version}, this program writes {MARTS_VERSION}; summarize with "
                "--rebuild"
            )
        for name, value in settings.items():
            if state.settings.get(name) != value:
                raise UsageError(
                    f"{output} was made with the {name} {state.settings.get(name)!r}, not {value!r}; name another "
                    "--output, or summarize with --rebuild"
                )
        return state

    def save(self, fs: FileSystem) -> None:
        """Write the state: beside, then put into its place, so that one of both is whole at any time."""
        value = {
            "version": MARTS_VERSION,
            "settings": dict(self.settings),
            "core_hour_price": self.core_hour_price,
            "folders": {name: folder.as_dict() for name, folder in self.folders.items()},
            "reports": self.reports,
            "validation": {sha256: list(counts) for sha256, counts in self.validation.items()},
            "corrections": {sha256: one.as_dict() for sha256, one in self.corrections.items()},
            "labels": self.labels,
        }
        fs.write(_NEW, (json.dumps(value, sort_keys=True) + "\n").encode())
        fs.delete(_FILE)
        fs.rename(_NEW, _FILE)
