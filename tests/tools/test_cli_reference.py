"""The page of all options."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.cli import EXIT_CODES, VERBS, parser_of
from sentiment_core.errors import EnvironmentFault, SentimentError
from tools import cli_reference

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


@pytest.fixture(scope="module")
def page() -> str:
    try:
        return cli_reference.reference()
    except EnvironmentFault as error:
        pytest.skip(f"not all verbs can be loaded here: {error}")


def test_the_page_is_current(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert PAGE.read_text() == page, "run `make docs`"
    monkeypatch.setattr("sys.argv", ["cli_reference", str(tmp_path / "cli.md")])
    assert cli_reference.main() == 0
    assert (tmp_path / "cli.md").read_text() == page


@pytest.mark.parametrize("verb", VERBS)
def test_each_option_of_a_verb_is_in_its_part(page: str, verb: str) -> None:
    part = page.partition(f"\n## {verb}\n")[2].partition("\n## ")[0]
    options = {option for action in parser_of(verb)._actions for option in action.option_strings}
    for option in options - {"-h", "--help", "--log-format", "--status-file"}:
        assert f"`{option}`" in part, option


def test_each_exit_code_that_an_error_has_is_explained() -> None:
    def codes(kind: type[SentimentError]) -> set[int]:
        return {kind.exit_code}.union(*map(codes, kind.__subclasses__()))

    assert codes(SentimentError) <= set(EXIT_CODES)
