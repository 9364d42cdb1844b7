"""The simulated file system is what the explorer believes in: this machine's does the same."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.storage import files as file_system
from jobs.storage.files import LocalFileSystem
from tests.support.file_operations import operations, perform, tree
from tests.support.publishing import assert_clean, disk_of, publishing
from tests.support.simulated_file_system import Disk, SimulatedFileSystem


@given(steps=operations())
def test_this_machines_file_system_does_what_the_simulated_one_does(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any]
) -> None:
    simulated = SimulatedFileSystem(Disk())
    local = LocalFileSystem(tmp_path_factory.mktemp("root"))
    assert perform(local, steps) == perform(simulated, steps)
    assert tree(local) == tree(simulated)


@given(steps=operations())
def test_without_linuxs_renames_it_does_what_the_simulated_one_does_without_exchange(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any]
) -> None:
    simulated = SimulatedFileSystem(Disk(exchanges=False))
    local = LocalFileSystem(tmp_path_factory.mktemp("root"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_system, "rename_by_kernel", lambda *names, flag: False)
        assert perform(local, steps) == perform(simulated, steps)
    assert tree(local) == tree(simulated)


def test_two_folders_change_places_on_this_machine(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    numbers = {name: (tmp_path / name).stat().st_ino for name in ("one", "other")}
    assert LocalFileSystem(tmp_path).exchange("one", "other")
    assert (tmp_path / "one").stat().st_ino == numbers["other"]
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["one"]


@given(old=st.dictionaries(st.sampled_from(["p=1", "p=2"]), st.dictionaries(st.just("old"), st.binary(max_size=4))))
def test_a_run_leaves_on_this_machine_what_it_leaves_on_the_simulated_one(
    tmp_path_factory: pytest.TempPathFactory, old: Any
) -> None:
    new = {"p=1": {"new": b"1"}, "p=3": {"new": b"3"}}
    disk, local = disk_of(old), LocalFileSystem(tmp_path_factory.mktemp("root"))
    for partition, files in old.items():
        local.make_folder(partition)
        for name, content in files.items():
            local.write(f"{partition}/{name}", content)
    for fs in (SimulatedFileSystem(disk), local):
        publishing("run", new)(fs)
    assert_clean(disk, old | new, reports={"run"})
    assert tree(local) == {path: content for path, content in disk.tree.items() if path}


def test_the_time_of_a_file_is_the_systems(tmp_path: Path) -> None:
    fs = LocalFileSystem(tmp_path)
    assert fs.modified("f") is None
    fs.write("f", b"x")
    os.utime(tmp_path / "f", (5, 5))
    assert fs.modified("f") == 5
    fs.write("f", b"x")
    assert (fs.modified("f") or 0) > 5
