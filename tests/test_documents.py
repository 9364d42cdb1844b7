"""The documents name files and sections that there are, and the README stays short."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.cli import VERBS
from jobs.tables.scores import SCORE_FIELDS
from sentiment_core import errors
from sentiment_core.scoring.status import STATUSES

ROOT = Path(__file__).parents[1]
_MOST_BYTES_OF_README = 9_000
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
# A path below a folder of the repository, or one of its files at the top.
_FILE = re.compile(
    r"(?:\.ci|docs|jobs|notebooks|sentiment_core|tests|tools)/[\w./-]*|[\w.-]+\.(?:md|sh|toml|lock)|Makefile"
)
_SUFFIX = re.compile(r"\.(?:css|csv|html|ipynb|js|json|lock|md|mk|properties|py|sh|sql|toml|txt|yml)$")
# Files of a model directory.
_MADE = {"README.md", "vocabulary.txt", "metrics.json", "config.json"}


def documents() -> list[Path]:
    """README, CONTRIBUTING, SECURITY and all pages below docs."""
    top = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
    return [*top, *sorted((ROOT / "docs").rglob("*.md"))]


def anchors(text: str) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_links(page: Path, text: str) -> list[str]:
    """Relative links of a page that lead nowhere."""
    found = []
    for target in _LINK.findall(_FENCE.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or not file.is_relative_to(ROOT):
            found.append(f"{target}: there is no such file")
        elif anchor and anchor not in anchors(text if file == page else file.read_text()):
            found.append(f"{target}: there is no such heading")
    return found


def missing_files(text: str) -> list[str]:
    """Files of the repository that a page names in code, and that are not there."""
    names = {word.partition("::")[0] for code in _CODE.findall(_FENCE.sub("", text)) for word in code.split()}
    files = {name for name in names if _FILE.fullmatch(name) and (name.endswith("/") or _SUFFIX.search(name))}
    return sorted(name for name in files - _MADE if "NAME" not in name and not (ROOT / name).exists())


@pytest.mark.parametrize("page", documents(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_and_every_named_file_is_there(page: Path) -> None:
    text = page.read_text()
    assert broken_links(page, text) == []
    assert missing_files(text) == []


@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.name)
def test_every_link_of_a_notebook_is_there(notebook: Path) -> None:
    cells = json.loads(notebook.read_text())["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert broken_links(notebook, text) == []


def cells(page: str) -> Iterator[list[str]]:
    """The cells of each row of a page's tables."""
    for line in (ROOT / page).read_text().splitlines():
        if line.startswith("|"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize("page", ["README.md", "docs/reference/scores.md"])
def test_the_columns_of_the_scores_are_those_of_the_contract(page: str) -> None:
    columns = {f"`{field.name}`": field.dataType.simpleString() for field in SCORE_FIELDS}
    assert {row[0]: row[1] for row in cells(page) if row[0] in columns} == columns


def test_every_status_has_its_meaning() -> None:
    assert {f"`{status}`" for status in STATUSES} <= {row[0] for row in cells("docs/reference/scores.md")}


def test_the_readme_lists_every_verb() -> None:
    listed = {verb for row in cells("README.md") for verb in re.findall(r"`(\w+)`", row[0])}
    assert set(VERBS) <= listed


def test_the_nightly_guide_lists_every_exit_code() -> None:
    codes = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")}
    listed = {int(row[0]) for row in cells("docs/guides/nightly.md") if row[0].isdigit()}
    assert listed == codes | {0}


def test_the_architecture_shows_the_rooms_and_the_order_of_imports() -> None:
    tree, arrows = re.findall(
        r"^```\n(.*?)^```", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE | re.DOTALL
    )
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    rooms = [name.rpartition(".")[2] for name in settings["setuptools"]["packages"] if ".models." not in name]
    assert [room for room in rooms if f"{room}/ " not in tree and room != "setup"] == []
    left, right = zip(*((line[:43].strip(), line[43:].strip()) for line in arrows.splitlines()[2:]))
    shown = {"jobs": [layer for layer in left if layer], "sentiment_core": [layer for layer in right if layer]}
    contracts = {
        contract["containers"][0]: contract["layers"]
        for contract in settings["importlinter"]["contracts"]
        if contract["type"] == "layers"
    }
    assert shown == {name: contracts[name] for name in shown}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= _MOST_BYTES_OF_README


def test_every_page_is_found_from_the_readme() -> None:
    reached, left = set(), [ROOT / "README.md"]
    while left:
        page = left.pop()
        if page in reached or page.suffix != ".md" or not page.is_file():
            continue
        reached.add(page)
        targets = (target.partition("#")[0] for target in _LINK.findall(_FENCE.sub("", page.read_text())))
        left += [(page.parent / target).resolve() for target in targets if target and ":" not in target]
    lonely = set(documents()) - reached - set((ROOT / "docs" / "decisions").iterdir())  # README links their folder
    assert not lonely


def test_the_readmes_picture_is_small() -> None:
    assert 10_000 < (ROOT / "docs" / "dashboard.png").stat().st_size < 200_000


def test_faults_are_found() -> None:
    page = ROOT / "README.md"
    text = "# One Title\n[a](#one-title) [b](docs/gone.md) [c](#no-title) [d](https://example.org) [e](../x.md)\n"
    assert [link.partition(":")[0] for link in broken_links(page, text)] == ["docs/gone.md", "#no-title", "../x.md"]
    assert broken_links(page, "```\n[a](gone.md)\n```\n") == []
    named = "`jobs/cli.py` `jobs/gone.py` `jobs/gone/` `gone.sh` `tests/jobs/test_cli.py::test_x` `docs/decisions`"
    assert missing_files(named) == ["gone.sh", "jobs/gone.py", "jobs/gone/"]
