"""Pages and SQL files that are made from code."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.cli import EXIT_CODES, VERBS, parser_of
from sentiment_core.errors import EnvironmentFault, SentimentError
from tools.reference.__main__ import GENERATED, ROOT, main
from tools.reference.marts import marts_page


@pytest.fixture(scope="module")
def page() -> str:
    try:
        return GENERATED["docs/cli.md"]("")
    except EnvironmentFault as error:
        pytest.skip(f"not all verbs can be loaded here: {error}")


@pytest.mark.parametrize("name", GENERATED)
def test_a_file_is_current(page: str, name: str) -> None:
    now = (ROOT / name).read_text()
    assert GENERATED[name](now) == now, "run `make docs`"


def test_each_file_is_written(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["tools.reference", str(tmp_path)])
    assert main() == 0
    assert {name for name in GENERATED if (tmp_path / name).read_text() == (ROOT / name).read_text()} == {*GENERATED}


def test_a_changed_column_is_written_anew_and_nothing_else() -> None:
    page = (ROOT / "docs" / "reference" / "marts.md").read_text()
    old = page.replace(
        "| `reviews` | bigint | Rows of the scores table |\n", "| `reviews` | int | old |\n| `gone` | a | b |\n"
    )
    assert old != page
    assert marts_page(old) == page
    with pytest.raises(ValueError, match="one section `## data_quality`"):
        marts_page(page.replace("## data_quality", "## quality"))


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
