"""The `explain` verb: JSON in a pipe, colours in a terminal, a page without surprises."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.dashboard.explanation import explanation_page
from jobs.verbs import explain as explain_texts
from jobs.verbs.explanation_text import explanation_text
from sentiment_core.artifact import save_model
from sentiment_core.scoring.explanation import Explanation
from sentiment_core.scoring.scorer import Scorer
from tests.support.models import tiny_model

MODEL = tiny_model(3, max_tokens=7)
PAYLOADS = (
    "<script>alert(1)</script> good",
    "good \"><img src=x onerror='alert(1)'>",
    "&lt;svg onload=alert(1)&gt; bad",
    "</style><style>*{display:none}</style>",
    "good \x1b[31mred\x1b[0m \x07 {{7*7}} ${jndi:x} <!-- -->",
)


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    save_model(MODEL, tmp_path / "model")
    return tmp_path / "model"


class Page(HTMLParser):
    """Elements and words of a page."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


def explain(*texts: str) -> list[Explanation]:
    return Scorer(MODEL, threads=1).explain_texts(texts)


def test_one_object_a_text_in_order(sentiment: Any, model_path: Path) -> None:
    texts = ["a great film, isn't it though", "", "worst"]
    code, found, sentence = sentiment("explain", *texts, "--model", model_path)
    assert (code, sentence) == (0, "sentiment explain: done: explained 3 texts")
    for row, expected in zip(found, explain(*texts), strict=True):
        assert [token["token"] for token in row["tokens"]] == expected.tokens[: len(expected.changes)]
        assert row["n_tokens"] == len(expected.tokens)
        if row["logit"] is not None:
            for split in ("contribution", "change"):
                assert sum(token[split] for token in row["tokens"]) + row["bias"] == pytest.approx(
                    row["logit"], abs=1e-5
                )
    assert [row["score_status"] for row in found] == ["truncated", "empty", "ok"]


def test_lines_of_standard_input(sentiment: Any, model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Input:
        buffer = io.BytesIO(b"good film\r\n\n\xff bad\n")

    monkeypatch.setattr("sys.stdin", Input())
    code, found, _ = sentiment("explain", "--model", model_path)
    assert code == 0
    assert [[token["token"] for token in row["tokens"]] for row in found] == [["good", "film"], [], ["bad"]]


@pytest.mark.parametrize(
    ("variable", "options", "shown"),
    [
        ({}, [], "colours"),
        ({"NO_COLOR": "1"}, [], "words"),
        ({"NO_COLOR": ""}, [], "colours"),
        ({"TERM": "dumb"}, [], "words"),
        ({}, ["--json"], "json"),
    ],
)
def test_a_terminal_shows_colours_unless_it_shall_not(
    model_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: dict[str, str],
    options: list[str],
    shown: str,
) -> None:
    from jobs import cli

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variable.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cli, "stop_spark", lambda: None)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert cli.main(["explain", "a great film", "--model", str(model_path), *options]) == 0
    out = capsys.readouterr().out
    assert out.startswith("{") == (shown == "json")
    assert ("\033[48;5;" in out) == (shown == "colours")
    if shown == "words":
        assert out.startswith("a great film\n")
        assert re.search(r"lifted by|lowered by", out)


def test_a_terminal_gets_no_escape_of_a_text() -> None:
    for explanation in explain(*PAYLOADS):
        assert "\033" not in explanation_text(explanation, coloured=False)
        assert "\007" not in explanation_text(explanation, coloured=True)
    assert explanation_text(explain("")[0], coloured=True) == "no token, no score\n\n"


def test_the_page_shows_every_text_as_text_and_loads_nothing() -> None:
    explained = explain("a great film", "", *PAYLOADS)
    page = Page(explanation_page(explained, model_sha256=MODEL.sha256, engine="onnx int8"))
    names = {tag for tag, _ in page.elements}
    assert not names & {"script", "img", "svg", "link", "iframe", "object", "a", "form", "base"}
    assert [tag for tag, _ in page.elements].count("style") == 1
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert not [name for _, attributes in page.elements for name in ("src", "href") if name in attributes]
    policy = [attributes for tag, attributes in page.elements if attributes.get("http-equiv")]
    assert policy[0]["content"] == "default-src 'none'; style-src 'unsafe-inline'"
    squeezed = re.sub(r"\s", "", page.words)
    for explanation in explained:
        assert "".join(explanation.tokens) in squeezed


def test_words_are_marked_by_direction_and_strength() -> None:
    changes = np.array([2.0, -1.0, 0.1, 0.0])
    explanation = Explanation(
        chunks=[["great", "bad"], ["a", "film", "unread"]],
        contributions=changes,
        changes=changes,
        bias=0.0,
        logit=1.1,
        positive_probability=0.75,
        sentiment="positive",
        status="truncated",
    )
    page = Page(explanation_page([explanation], model_sha256="0" * 64, engine="onnx int8"))
    marks = [attributes for tag, attributes in page.elements if tag == "mark"]
    assert [(mark["class"], mark["style"]) for mark in marks] == [("up", "--s:1.00"), ("down", "--s:0.50")]
    assert explanation.strongest(1) == ([("great", 2.0)], [("bad", -1.0)])
    text = explanation_text(explanation, coloured=False)
    assert text.startswith("greatbad afilm ... and 1 tokens that the model does not read\npositive, probability 0.750")
    doubted = replace(explanation, status="unfamiliar")
    for plain, doubtful in (
        (text, explanation_text(doubted, coloured=False)),
        (page.words, Page(explanation_page([doubted], model_sha256="0" * 64, engine="onnx int8")).words),
    ):
        assert "the model knows too few of the words" not in plain
        assert "the model knows too few of the words" in doubtful


def test_a_page_replaces_a_page_and_nothing_else(sentiment: Any, model_path: Path, tmp_path: Path) -> None:
    page, table = tmp_path / "new" / "x.html", tmp_path / "table.csv"
    table.write_text("id,text")
    code, found, sentence = sentiment("explain", "good", "--model", model_path, "--html", table)
    assert (code, found, table.read_text()) == (2, [], "id,text")
    assert "exists and is no HTML page; name another file" in sentence
    code, _, sentence = sentiment("explain", "good", "--model", model_path, "--html", page)
    assert (code, sentence.endswith("x.html")) == (0, True)
    before = page.read_text()
    assert "good" in before
    code, _, _ = sentiment("explain", "bad", "--model", tmp_path / "no_model", "--html", page)
    assert (code, page.read_text()) == (3, before)


def test_it_starts_neither_spark_nor_mxnet(model_path: Path) -> None:
    call = (
        "import sys\nfrom jobs import cli\n"
        f"assert cli.main(['explain', 'good', '--model', {str(model_path)!r}]) == 0\n"
        "assert not {'mxnet', 'gluonnlp', 'pyspark', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", call], capture_output=True, text=True, cwd=Path(explain_texts.__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr
