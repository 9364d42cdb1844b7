"""The page of every verb, option and exit code, from the parsers themselves."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from jobs.cli import EXIT_CODES, VERBS, parser_of

__all__ = ["options_page"]

_HEAD = """# The `sentiment` command

`make docs` writes this page from the parsers. `sentiment VERB --help` prints the same in a terminal.

Each verb writes its results to standard output, one JSON object a line, and its progress to standard error. The last
line of standard error is one sentence with the outcome. `./spark-submit.sh VERB ...` takes the same options on a
cluster ([cluster](guides/cluster.md)).
"""
# Of what argparse calls the group without a name, and of those that every verb has.
_OPTIONS, _EVERY_VERB = "options", "log"


def options_page() -> str:
    """The page as Markdown."""
    verbs = "\n".join(f"| [`{verb}`](#{verb}) | {purpose} |" for verb, (_, purpose) in VERBS.items())
    codes = "\n".join(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())
    every = next(group for group in parser_of("doctor")._action_groups if group.title == _EVERY_VERB)
    parts = [_HEAD, f"| verb | what it does |\n|---|---|\n{verbs}\n"]
    parts.append(f"## Exit codes\n\n| code | meaning |\n|---|---|\n{codes}\n")
    parts.append("## Options of every verb\n\n" + _table(every._group_actions) + "\n")
    parts += [f"## {verb}\n\n{''.join(_verb(verb))}" for verb in VERBS]
    return "\n".join(parts)


def _verb(verb: str) -> Iterator[str]:
    parser = parser_of(verb)
    yield f"{parser.description}\n"
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if not isinstance(action, argparse._HelpAction)]
        if not actions or group.title == _EVERY_VERB:
            continue
        if group.title not in (_OPTIONS, None):
            yield f"\n**{group.title[0].upper()}{group.title[1:]}.**"
            yield f" {group.description}\n" if group.description else "\n"
        yield f"\n{_table(actions)}\n"


def _table(actions: list[argparse.Action]) -> str:
    rows = [f"| {_name(action)} | {_default(action)} | {_help(action)} |" for action in actions]
    return "\n".join(["| option | default | meaning |", "|---|---|---|", *rows])


def _name(action: argparse.Action) -> str:
    value = ""
    if action.nargs != 0:
        name = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
        value = "{" + ",".join(map(str, action.choices)) + "}" if action.choices and not action.metavar else name
        value += {"+": " ...", "*": " ..."}.get(str(action.nargs), "")
    names = ", ".join(f"`{option}`" for option in action.option_strings) or f"`{value}`"
    return _cell(f"{names} `{value}`" if value and action.option_strings else names)


def _default(action: argparse.Action) -> str:
    if action.required:
        return "required"
    if action.nargs == 0 or action.default is None or action.default in ([], (), "", argparse.SUPPRESS):
        return ""
    shown = ",".join(map(str, action.default)) if isinstance(action.default, list | tuple) else str(action.default)
    return _cell(f"`{shown}`")


def _help(action: argparse.Action) -> str:
    text = (action.help or "") % {**vars(action), "prog": "sentiment", "metavar": action.metavar or action.dest.upper()}
    return _cell(re.sub(r"\s*\(default: [^)]*\)$", "", re.sub(r"\s+", " ", text).strip()))


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("<", r"\<")
