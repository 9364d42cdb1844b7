"""The steps of an estimate as one expression: names of columns become those of the steps that make them."""

from __future__ import annotations

from jobs.statistics.one_expression import one_expression


def test_a_step_reads_what_an_earlier_one_made_and_else_the_frame() -> None:
    steps = [{"a": "x + 1e0", "b": "greatest(x, y)"}, {"c": "a * b / nullif(ab, 0)"}]
    assert one_expression(steps) == (
        "transform(array(named_struct('a', x + 1e0, 'b', greatest(x, y))), step_0 -> "
        "transform(array(named_struct('c', step_0.a * step_0.b / nullif(ab, 0))), step_1 -> "
        "named_struct('a', step_0.a, 'b', step_0.b, 'c', step_1.c))[0])[0]"
    )


def test_names_that_are_no_columns_of_the_frame_have_their_places() -> None:
    assert "named_struct('a', group.p + q)" in one_expression([{"a": "p + q"}], places={"p": "group.p"})


def test_an_expression_is_about_as_long_as_its_steps() -> None:
    doubled = [{f"a{number + 1}": f"a{number} + a{number}"} for number in range(40)]
    assert len(one_expression(doubled, places={"a0": "x"})) < 10_000
