"""The models of a scoring run: one, or several by name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.tables.extras import ExtraColumns
from sentiment_core.artifact import Model, bundled_model_path, load_model
from sentiment_core.errors import UsageError

__all__ = ["ScoringModels"]

_NAMED = re.compile(r"([A-Za-z][A-Za-z0-9_]*)=(.+)")


@dataclass(frozen=True, kw_only=True)
class ScoringModels:
    """Models that score the same rows.

    Attributes
    ----------
    models : tuple of Model
        The first one fills the contract's columns.
    names : tuple of str
        One for each; none for a single model without a name.
    """

    models: tuple[Model, ...]
    names: tuple[str, ...] = ()

    @classmethod
    def load(cls, given: Sequence[str]) -> ScoringModels:
        """Load what ``--model`` names: a directory, or ``NAME=DIR`` once or several times; else the bundled model.

        Raises
        ------
        UsageError
            If several models have no name, or the same.
        ModelError
            If one is refused.
        """
        pairs = [_parsed(option) for option in given] or [(None, bundled_model_path())]
        names = tuple(name for name, _ in pairs if name is not None)
        if len(pairs) > 1 and len(names) < len(pairs):
            raise UsageError("several models need a name each, like --model champion=DIR --model challenger=DIR")
        folded = [name.casefold() for name in names]
        for name in names:
            if folded.count(name.casefold()) > 1:
                raise UsageError(f"--model names {name!r} twice (case does not count); give each model its own name")
        return cls(models=tuple(load_model(path) for _, path in pairs), names=names)

    @property
    def first(self) -> Model:
        """The model of the contract's columns."""
        return self.models[0]

    @property
    def key(self) -> str:
        """What rows are scored by: the model's SHA-256, or a digest of all names and models."""
        if len(self.models) == 1:
            return self.first.sha256
        return hashlib.sha256(repr(self.by_name()).encode()).hexdigest()

    def by_name(self) -> list[tuple[str, str]]:
        """Names and SHA-256 of the named models."""
        return [(name, model.sha256) for name, model in zip(self.names, self.models)]

    def extra_columns(self, *, drivers: bool) -> ExtraColumns:
        """What they add to the output."""
        return ExtraColumns(model_names=self.names, drivers=drivers)


def _parsed(option: str) -> tuple[str | None, Path]:
    named = _NAMED.fullmatch(option)
    # A directory may have such a name itself.
    if named is None or Path(option).exists():
        return None, Path(option)
    return named[1], Path(named[2])
