"""A small grammar of texts: patterns with slots, and lists of words that fill them.

A file of it is TOML. ``[words]`` and ``[glue]`` hold lists, ``[domains.NAME]`` the lists of one kind of thing that is
reviewed. A list is one string, its entries separated by ``|``; ``good *3`` is three times as likely as ``nice``. A
list named ``love/loved`` has entries of two forms, and the slots ``{love}`` and ``{loved}`` of a pattern are forms of
one entry. ``{good}`` and ``{good 2}`` are two entries, ``{Good}`` begins with a capital. Entries may hold slots.

Every other table is a template: its ``patterns`` and, if it makes several texts that belong together, ``=>`` between
them, the list ``across`` which they differ, or the templates ``around`` whose texts they change.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from random import Random
from typing import Any

__all__ = ["Choices", "Entry", "Grammar", "Template", "read_grammar"]

Entry = tuple[str, ...]
# Of each list and number, or of the slot that holds it, the entry that a text has.
Choices = dict[tuple[str, str], Entry]

# Texts of one group that differ in one entry.
_MEMBERS = 5
_SLOT = re.compile(r"\{(\w+)(?: (\d))?\}")
_ARTICLE = re.compile(r"\b([Aa]) (?=[AEIOaeio8]|[Uu](?!ni[fqtv]|s[ei]|rug)|11 |18|hour|honest)(?!Euro|euro|[Oo]ne\b)")
_SENTENCE = re.compile(r"(^|[.!?] )([a-z])")


@dataclass(frozen=True, kw_only=True)
class Template:
    """What texts are made of.

    Attributes
    ----------
    patterns : tuple of str
    across : str, optional
        List: a group of texts has one entry of it each.
    around : tuple of str
        Capabilities: a text of one of them is the slot ``{text}``, and ``{typo}``, ``{caps}`` and ``{bare}`` are other
        writings of it.
    """

    patterns: tuple[str, ...]
    across: str | None = None
    around: tuple[str, ...] = ()

    @classmethod
    def of(cls, *, patterns: str, across: str | None = None, around: Iterable[str] = ()) -> Template:
        """As it is written in a file."""
        separate = patterns.replace("\n", "|").split("|")
        return cls(patterns=tuple(filter(None, map(str.strip, separate))), across=across, around=tuple(around))


@dataclass(frozen=True, kw_only=True)
class Grammar:
    """Word lists and domains.

    Attributes
    ----------
    lists : mapping of str to tuple of Entry
        The entries of each list, all forms of each, repeated by weight.
    domains : mapping of str to mapping
        Lists of each domain, which add to those of the same name.
    """

    lists: Mapping[str, tuple[Entry, ...]]
    domains: Mapping[str, Mapping[str, tuple[Entry, ...]]]
    _slots: dict[str, tuple[str, int]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        names = [*self.lists, *(name for lists in self.domains.values() for name in lists)]
        slots = {slot: (name, form) for name in names for form, slot in enumerate(name.split("/"))}
        object.__setattr__(self, "_slots", slots)

    def texts(self, template: Template, random: Random, *, around: str | None = None) -> list[str]:
        """Texts that belong together, or one text.

        Parameters
        ----------
        template : Template
        random : Random
        around : str, optional
            The text that the template changes.
        """
        domain = random.choice(list(self.domains))
        choices = {} if around is None else _writings(around, random)
        parts = random.choice(template.patterns).split("=>")
        texts = [self._fill(part.strip(), domain, random, choices) for part in parts]
        if template.across is not None:
            name = self._slots[template.across][0]
            others = sorted(set(self._entries(name, domain)) - {choices[name, ""]})
            drawn = random.sample(others, min(_MEMBERS - 1, len(others)))
            texts += [self._fill(parts[0].strip(), domain, random, choices | {(name, ""): entry}) for entry in drawn]
        return texts if around is not None else [_finished(text) for text in texts]

    def _fill(self, pattern: str, domain: str, random: Random, choices: Choices, path: str = "") -> str:
        """The pattern with words in its slots; what is drawn for it joins the choices."""

        def filled(match: re.Match[str]) -> str:
            slot, number = match[1], path + (match[2] or "")
            capital = slot not in self._slots and slot.lower() in self._slots
            name, form = self._slots.get(slot.lower() if capital else slot, (slot, 0))
            if (name, number) not in choices:
                choices[name, number] = self._drawn(name, domain, random, choices, path)
            word = self._fill(choices[name, number][form], domain, random, choices, f"{path}{name}{match[2] or ''}.")
            return word[:1].upper() + word[1:] if capital else word

        return _SLOT.sub(filled, pattern)

    def _drawn(self, name: str, domain: str, random: Random, choices: Choices, path: str) -> Entry:
        """An entry that no other slot of the text has."""
        taken = [entry for (other, number), entry in choices.items() if other == name and number[: len(path)] == path]
        possible = self._entries(name, domain)
        if taken:
            possible = tuple(entry for entry in possible if entry not in taken)
        if not possible:
            raise KeyError(f"{domain}: the list {name!r} has too few entries")
        return random.choice(possible)

    def _entries(self, name: str, domain: str) -> tuple[Entry, ...]:
        return (*self.lists.get(name, ()), *self.domains.get(domain, {}).get(name, ()))


def _finished(text: str) -> str:
    """The text with capitals where sentences begin, and ``an`` where it belongs."""
    text = _ARTICLE.sub(r"\1n ", re.sub(r" {2,}", " ", text).strip())
    return _SENTENCE.sub(lambda match: match[1] + match[2].upper(), text)


def _writings(text: str, random: Random) -> Choices:
    """A text in other writings."""
    typo = _with_typo(text, random)
    written = {"text": text, "typo": typo, "caps": text.upper(), "bare": text.rstrip(".!?").lower()}
    choices: Choices = {(slot, ""): (writing,) for slot, writing in written.items()}
    return choices | {("typo", "2"): (_with_typo(typo, random),)}


def _with_typo(text: str, random: Random) -> str:
    """Two letters inside a word swapped, a letter left out or doubled."""
    places = [place for place in range(1, len(text) - 2) if text[place - 1 : place + 3].isalpha()]
    if not places:
        return text
    place = random.choice(places)
    one, two = text[place], text[place + 1]
    kinds = [two + one, two + one, two, one + one + two]
    return text[:place] + random.choice(kinds) + text[place + 2 :]


def _split(text: str) -> tuple[Entry, ...]:
    """The entries of a list as it is written."""
    found: list[Entry] = []
    for entry in text.replace("\n", " ").split("|"):
        word, _, weight = entry.partition("*")
        found += [tuple(form.strip() for form in word.split("/"))] * int(weight or 1)
    return tuple(found)


def read_grammar(file_name: str) -> tuple[Grammar, dict[str, Any]]:
    """The grammar of a file of this package, and the file's other tables."""
    content = tomllib.loads((resources.files(__package__) / file_name).read_text(encoding="utf-8"))
    words = content.pop("words") | content.pop("glue")
    domains = content.pop("domains")
    grammar = Grammar(
        lists={name: _listed(name, text) for name, text in words.items()},
        domains={name: {key: _listed(key, text) for key, text in lists.items()} for name, lists in domains.items()},
    )
    return grammar, content


def _listed(name: str, text: str) -> tuple[Entry, ...]:
    n_forms = name.count("/") + 1
    found = _split(text) if n_forms > 1 else tuple(("/".join(entry),) for entry in _split(text))
    wrong = [entry for entry in found if len(entry) != n_forms]
    if wrong:
        raise ValueError(f"the list {name!r} needs {n_forms} forms of each entry, not {wrong[0]}")
    return found
