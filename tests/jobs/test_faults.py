"""A few cells of the fault matrix (``make test-faults`` has all): a real run, a fault, and the run after it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from tests.faults.cells import Cell, all_cells, sabotaged_cells
from tests.faults.cluster import cluster
from tests.faults.trial import run_cell
from tests.faults.world import World

CELLS = {cell.name: cell for cell in [*all_cells(), *sabotaged_cells()]}


@pytest.fixture(scope="module")
def world(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.build(tmp_path_factory.mktemp("world") / "stub", real_model=False)


@pytest.fixture
def run(world: World, tmp_path: Path) -> Any:
    def run(cell: Cell, **cluster: Any) -> dict[str, Any]:
        given = {"master": None, "shuffle": None, **cluster}
        return run_cell(cell, world, tmp_path / "cell", seconds=0, **given)

    return run


@pytest.mark.parametrize(
    "name",
    [
        "local[2]: driver killed, publishing, before change 9",
        # It waits for half a minute until the silent worker is ended.
        pytest.param("local[2]: worker hangs, middle batch", marks=pytest.mark.slow),
        pytest.param("local[2]: a text crashes the engine", marks=pytest.mark.slow),
    ],
)
def test_nothing_is_lost_and_the_next_run_needs_no_help(run: Any, name: str) -> None:
    result = run(CELLS[name])
    assert result["violations"] == []
    assert result["looks"] > 0


@pytest.fixture
def master(tmp_path: Path) -> Iterator[str]:
    with cluster(tmp_path / "cluster") as found:
        yield found


@pytest.mark.slow
def test_a_cluster_survives_the_loss_of_an_executor(run: Any, master: str) -> None:
    assert run(CELLS["cluster: executor killed, middle batch"], master=master)["violations"] == []


@pytest.mark.slow
def test_the_matrix_notices_a_naive_overwrite(run: Any) -> None:
    violations = run(CELLS["sabotage: naive overwrite"])["violations"]
    assert any("absent" in violation or "missing" in violation for violation in violations), violations


def test_the_matrix_is_as_large_as_it_says() -> None:
    cells = all_cells()
    assert len({cell.name for cell in cells}) == len(cells)
    assert sum(not cell.kills for cell in cells) >= 40
    assert sum(len(cell.kills) for cell in cells) >= 60
    assert {cell.where for cell in cells} == {"local[2]", "cluster"}
    assert all_cells() == cells, "the random ones are the same each time"
