"""The documents name files and sections that there are, and the README stays short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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
# What a run or a set-up makes, and files of a model directory.
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
