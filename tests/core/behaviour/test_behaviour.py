"""The texts made of templates: the lessons that teach, the suite that tests, and that they have nothing in common."""

from __future__ import annotations

import re
import tomllib
from importlib import resources
from pathlib import Path
from random import Random

import numpy as np
import pyarrow.parquet as pq
import pytest

from sentiment_core.behaviour import lessons as lessons_module
from sentiment_core.behaviour.grammar import Grammar, Template, read_grammar
from sentiment_core.behaviour.lessons import LESSON_SCHEMA, Lessons, lesson_table
from sentiment_core.behaviour.suite import (
    DEFINITIONS,
    Case,
    behaviour_suite,
    measure_behaviour,
    texts_of,
)

FILES = ("lessons.toml", "suite.toml")
# Words without a sentiment or a subject of their own, which no English text can do without.
FUNCTION_WORDS = re.findall(
    r"\S+",
    """
    a about above all am an and any are as at be been before behind below beside between both but by
    came can co com come could did do does down every first for from get gets getting got had half
    has have he her hers his how http https i if in into is it its last left made make makes many
    me more most my never new no not of off old on once one only onto or org other our out over own set
    she so some still than that the their them there they third this those through to too two under
    up us very was we were what when where which who whose will with without would www you your
    """,
)


def words_of(file_name: str) -> dict[str, str]:
    """The lists of a file by name, those that both share left out."""
    content = tomllib.loads((resources.files("sentiment_core.behaviour") / file_name).read_text(encoding="utf-8"))
    domains = {f"{name}.{key}": text for name, lists in content["domains"].items() for key, text in lists.items()}
    return {**content["words"], **domains}


def content_words(file_name: str) -> set[str]:
    """Letters only; emoticons and emoji are compared entry by entry."""
    text = " ".join(re.sub(r"\{[^}]*\}", " ", words) for words in words_of(file_name).values())
    return set(re.findall(r"[a-zà-ÿ][a-zà-ÿ'-]+", text.lower())) - set(FUNCTION_WORDS)


def patterns_of(file_name: str) -> set[str]:
    """Patterns without the words in their slots, capitals and marks at the end."""
    content = tomllib.loads((resources.files("sentiment_core.behaviour") / file_name).read_text(encoding="utf-8"))
    tables = content["lesson"] if "lesson" in content else content["test"]
    found = set()
    for table in tables:
        if "around" in table:
            continue  # those are changes of texts: there is one way to make a typo
        for pattern in re.split(r"\||=>|\n", table["patterns"]):
            plain = re.sub(r"\{[^}]*\}", "{}", pattern.lower()).strip(" .!?")
            if re.search("[a-z]", plain):
                found.add(re.sub(r"[^a-z{}]+", " ", plain))
    return found


@pytest.fixture(scope="module")
def suite() -> tuple[Case, ...]:
    return behaviour_suite()


def test_what_is_tested_shares_no_word_with_what_is_taught() -> None:
    taught, tested = map(content_words, FILES)
    assert len(taught) > 1500
    assert len(tested) > 500
    assert taught & tested == set()
    emoji = [
        {entry.strip() for name in names for entry in words_of(file_name)[name].split("|")}
        for file_name, names in zip(FILES, (("good_emoji", "bad_emoji"), ("smile", "frown")))
    ]
    assert emoji[0] & emoji[1] == set()


def test_what_is_tested_shares_no_pattern_with_what_is_taught() -> None:
    taught, tested = map(patterns_of, FILES)
    assert len(taught) > 400
    assert len(tested) > 80
    assert taught & tested == set()


def test_no_tested_text_is_taught(suite: tuple[Case, ...]) -> None:
    table = lesson_table(Lessons.bundled(), rows=20_000, seed=3)
    assert set(table["text"].to_pylist()) & set(texts_of(suite)) == set()


def test_the_lessons_are_distinct_texts_with_targets_the_same_for_the_same_seed() -> None:
    table = lesson_table(Lessons.bundled(), rows=6000, seed=1)
    assert table.schema == LESSON_SCHEMA
    assert 6000 <= len(table) < 6010
    assert table == lesson_table(Lessons.bundled(), rows=6000, seed=1)
    assert table != lesson_table(Lessons.bundled(), rows=6000, seed=2)
    texts = table["text"].to_pylist()
    assert len(set(texts)) == len(texts)
    assert not [text for text in texts if re.search(r"[{}|]|=>|  ", text) or text != text.strip() or not text]
    positive = table["positive"].to_numpy()
    assert positive.min() == 0
    assert positive.max() == 1
    for part in (positive < 0.4, (positive >= 0.4) & (positive <= 0.6), positive > 0.6):
        assert part.mean() > 0.25


def test_texts_of_one_group_have_one_target() -> None:
    frame = lesson_table(Lessons.bundled(), rows=6000, seed=1).to_pandas().dropna(subset="pair_id")
    assert (frame.groupby("pair_id")["positive"].nunique() == 1).all()
    assert (frame.groupby("pair_id").size() >= 2).all()
    groups = frame[frame["capability"].str.startswith("groups of people")]
    assert len(groups) > 300
    assert (groups.groupby("pair_id").size() == 5).all()


def test_more_lessons_than_there_are_texts_are_refused() -> None:
    lessons = Lessons.bundled()
    few = [lesson for lesson in lessons.lessons if lesson.capability == "stars"]
    with pytest.raises(ValueError, match=r"the lessons make .* different texts"):
        lesson_table(Lessons(grammar=lessons.grammar, lessons=tuple(few[:1])), rows=10**5, seed=1)


def test_the_command_writes_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lessons_module.main([str(tmp_path / "lessons.parquet"), "500", "7"])
    assert pq.read_table(tmp_path / "lessons.parquet") == lesson_table(Lessons.bundled(), rows=500, seed=7)
    with pytest.raises(SystemExit, match="usage: python -m"):
        lessons_module.main([])


def test_every_pattern_of_both_files_makes_texts() -> None:
    for file_name in FILES:
        grammar, tables = read_grammar(file_name)
        for table in tables["lesson"] if "lesson" in tables else tables["test"]:
            template = Template.of(**{key: table[key] for key in ("patterns", "across", "around") if key in table})
            for pattern in template.patterns:
                one = Template(patterns=(pattern,), across=template.across)
                for seed in range(3):
                    texts = grammar.texts(one, Random(seed), around="A text." if template.around else None)
                    assert all(texts)
                    assert not any("{" in text for text in texts), pattern


def test_slots_share_entries_by_list_and_number() -> None:
    grammar = Grammar(
        lists={
            "love/loved": (("love", "loved"), ("like", "liked")),
            "thing": (("hat",), ("{love} hat",)),
            "end": ((".",), ("",)),
        },
        domains={"shop": {"thing": (("bag",),)}},
    )
    for seed in range(30):
        pattern = "I {love} it and {loved} it, not {love 2}. {Thing} or {thing 2}. an apple, a apple, a useful one{end}"
        (text,) = grammar.texts(Template(patterns=(pattern,)), Random(seed))
        found = re.match(
            r"I (\w+) it and (\w+) it, not (\w+)\. ([A-Z].*) or (.*)\. An apple, an apple, a useful one", text
        )
        assert found, text
        assert found[2] in (found[1] + "d", found[1])
        assert found[3] != found[1]
        assert found[4].lower() != found[5]
        assert found[4].split()[-1].lower() in ("hat", "bag")


def test_typos_keep_all_other_words(suite: tuple[Case, ...]) -> None:
    for case in suite:
        if case.type == "invariance" and case.capability == "typos":
            first, second = (text.split() for text in case.texts)
            assert 1 <= sum(one != other for one, other in zip(first, second, strict=True)) <= 2


def test_the_suite_is_large_varied_and_the_same_for_the_same_seed(suite: tuple[Case, ...]) -> None:
    assert len(suite) >= 2000
    assert suite == behaviour_suite()
    assert suite != behaviour_suite(seed=1)
    assert {case.type for case in suite} == set(DEFINITIONS)
    grammar, _ = read_grammar("suite.toml")
    assert len(grammar.domains) >= 8
    for (_, name), texts in _first_texts(suite).items():
        assert len(set(texts)) == len(texts), name
    expected = {"minimum functionality": {"positive", "negative", "neutral", "not negative"}, "invariance": {"same"}}
    expected["direction"] = {"not up", "not down"}
    for kind, values in expected.items():
        assert {case.expected for case in suite if case.type == kind} == values
    assert {len(case.texts) for case in suite if case.type == "minimum functionality"} == {1}
    assert {len(case.texts) for case in suite if case.type == "direction"} == {2}


def _first_texts(suite: tuple[Case, ...]) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for case in suite:
        found.setdefault((case.type, f"{case.capability}, {case.expected}"), []).append(case.texts[0])
    return found


def perfect(suite: tuple[Case, ...]) -> np.ndarray:
    """Probabilities of a model that makes no mistake."""
    value = {"positive": 0.9, "negative": 0.1, "neutral": 0.5, "not negative": 0.6}
    return np.concatenate([np.full(len(case.texts), value.get(case.expected, 0.5)) for case in suite])


def test_a_model_without_a_mistake_fails_nowhere_and_its_opposite_everywhere(suite: tuple[Case, ...]) -> None:
    right = measure_behaviour(suite, perfect(suite), negative_below=0.4, positive_from=0.6)
    assert {row["failure_rate"] for row in right["types"] + right["capabilities"]} == {0}
    assert sum(row["cases"] for row in right["types"]) == len(suite)
    assert [row["type"] for row in right["types"]] == list(DEFINITIONS)
    wrong = []
    for case in suite:
        moved = {"same": [0.5, *[0.2] * (len(case.texts) - 1)], "not up": [0.2, 0.9], "not down": [0.9, 0.2]}
        wrong += moved.get(case.expected, [{"positive": 0.1, "not negative": 0.1}.get(case.expected, 0.9)])
    found = measure_behaviour(suite, np.array(wrong), negative_below=0.4, positive_from=0.6)
    for row in found["types"] + found["capabilities"]:
        assert {value for name, value in row.items() if name.startswith("failure_rate")} == {1}, row


@pytest.mark.parametrize(
    ("kind", "expected", "probabilities", "fails", "checklist"),
    [
        ("minimum functionality", "positive", [0.5], False, True),
        ("minimum functionality", "positive", [0.4999], True, True),
        ("minimum functionality", "positive", [0.7], False, False),
        ("minimum functionality", "negative", [0.5], True, True),
        ("minimum functionality", "negative", [0.4], False, True),
        ("minimum functionality", "neutral", [0.34], False, False),
        ("minimum functionality", "neutral", [0.32], True, True),
        ("minimum functionality", "neutral", [0.68], True, True),
        ("minimum functionality", "not negative", [0.9], False, False),
        ("minimum functionality", "not negative", [0.3], True, True),
        ("invariance", "same", [0.5, 0.59, 0.41], False, False),
        ("invariance", "same", [0.5, 0.61, 0.5], True, False),
        ("invariance", "same", [0.6, 0.5, 0.75], True, True),
        ("invariance", "same", [0.65, 0.7, 0.65], False, False),
        ("direction", "not up", [0.5, 0.59], False, None),
        ("direction", "not up", [0.5, 0.61], True, None),
        ("direction", "not up", [0.9, 0.1], False, None),
        ("direction", "not down", [0.5, 0.39], True, None),
        ("minimum functionality", "positive", [np.nan], True, True),
    ],
)
def test_what_fails(kind: str, expected: str, probabilities: list[float], fails: bool, checklist: bool | None) -> None:
    case = Case(capability="any", type=kind, expected=expected, texts=("text",) * len(probabilities))
    found = measure_behaviour([case], np.array(probabilities), negative_below=0.2, positive_from=0.8)
    (row,) = found["capabilities"]
    assert row["failure_rate"] == fails
    assert row.get("failure_rate_checklist") == (None if checklist is None else checklist)
