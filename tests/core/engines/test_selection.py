from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from sentiment_core.engines import selection
from sentiment_core.engines.selection import ENGINES, PRECISIONS, choose_engine, make_engine
from sentiment_core.errors import EnvironmentFault, SentimentError, UsageError
from sentiment_core.mxnet_setup import available_cores
from tests.support.models import tiny_model
from tests.support.packages import needs_mxnet

EVERYTHING = {"onnxruntime", "onnx", "mxnet", "torch"}
# What each engine computes in on each device, the default first.
ABLE = {
    ("onnx", "cpu"): ["int8", "float32"],
    ("mxnet", "cpu"): ["float32"],
    ("torch", "cpu"): ["float32"],
    ("onnx", "gpu:1"): [],
    ("mxnet", "gpu:1"): ["float32"],
    ("torch", "gpu:1"): ["float16", "float32"],
}


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(packages: set[str]) -> None:
        monkeypatch.setattr(selection, "find_spec", lambda name: object() if name in packages else None)

    return install


def test_every_engine_has_its_place() -> None:
    assert set(ENGINES) == {"auto"} | {engine for engine, _ in ABLE}
    assert set(PRECISIONS) == {"auto"} | {precision for able in ABLE.values() for precision in able}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("engine", "device"), ABLE)
@pytest.mark.parametrize("packages", [EVERYTHING, set()], ids=["installed", "missing"])
def test_a_named_engine_is_taken_or_refused_but_never_replaced(
    install: Any, packages: set[str], engine: str, device: str, precision: str
) -> None:
    install(packages)
    able = ABLE[engine, device]
    if not able:
        with pytest.raises(
            EnvironmentFault, match=f"the {engine} engine does not compute on a GPU; use the engine auto"
        ):
            choose_engine(engine, precision=precision, device=device)
    elif precision == "auto":
        assert choose_engine(engine, precision=precision, device=device) == (engine, able[0])
    elif precision in able:
        assert choose_engine(engine, precision=precision, device=device) == (engine, precision)
    else:
        fault = f"the {engine} engine computes in {' or '.join(able)} on a {device[:3].upper()}, not in {precision}"
        with pytest.raises(UsageError, match=fault):
            choose_engine(engine, precision=precision, device=device)


@pytest.mark.parametrize(
    ("device", "precision", "missing", "chosen"),
    [
        ("cpu", "auto", set(), ("onnx", "int8")),
        ("cpu", "int8", set(), ("onnx", "int8")),
        ("cpu", "float32", set(), ("onnx", "float32")),
        ("cpu", "auto", {"mxnet", "torch"}, ("onnx", "int8")),
        ("cpu", "auto", {"onnxruntime"}, ("mxnet", "float32")),
        ("cpu", "float32", {"onnxruntime"}, ("mxnet", "float32")),
        ("cpu", "float32", {"onnxruntime", "mxnet"}, ("torch", "float32")),
        # Nothing else can: the engine says what to install.
        ("cpu", "int8", {"onnxruntime"}, ("onnx", "int8")),
        ("cpu", "auto", EVERYTHING, ("onnx", "int8")),
        ("gpu:0", "auto", set(), ("torch", "float16")),
        ("gpu:7", "float16", set(), ("torch", "float16")),
        ("gpu:0", "float32", set(), ("torch", "float32")),
        ("gpu:0", "auto", {"torch"}, ("mxnet", "float32")),
        ("gpu:0", "float32", {"torch"}, ("mxnet", "float32")),
        ("gpu:0", "float16", {"torch"}, ("torch", "float16")),
        ("gpu:0", "auto", EVERYTHING, ("torch", "float16")),
    ],
)
def test_auto_takes_the_fastest_that_is_installed(
    install: Any, device: str, precision: str, missing: set[str], chosen: tuple[str, str]
) -> None:
    install(EVERYTHING - missing)
    assert choose_engine("auto", precision=precision, device=device) == chosen


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"engine": "steam"}, "engine must be one of auto, onnx, mxnet, torch, not 'steam'"),
        ({"engine": ""}, "engine must be one of auto, .*, not ''"),
        ({"precision": "int4"}, "precision must be one of auto, float32, int8, float16, not 'int4'"),
        ({"precision": "float16"}, "no engine computes in float16 on a CPU; leave out the precision"),
        ({"precision": "int8", "device": "gpu:0"}, "no engine computes in int8 on a GPU; leave out the precision"),
        ({"device": "gpu"}, "device must be cpu or gpu:N, not 'gpu'"),
        ({"device": "gpu:"}, "device must be cpu or gpu:N, not 'gpu:'"),
        ({"device": "gpu:x"}, "device must be cpu or gpu:N"),
        ({"device": "gpu:-1"}, "device must be cpu or gpu:N"),
        ({"device": "cuda:0"}, "device must be cpu or gpu:N"),
        ({"device": "auto"}, "device must be cpu or gpu:N"),
    ],
)
def test_what_no_engine_knows_is_wrong_usage(options: dict[str, str], fault: str) -> None:
    with pytest.raises(UsageError, match=fault) as caught:
        choose_engine(options.pop("engine", "auto"), **{"precision": "auto", "device": "cpu"} | options)
    assert caught.value.exit_code == 2


# Making one.


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def without(package: str, engine: str) -> None:
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.delitem(sys.modules, f"sentiment_core.engines.{engine}", raising=False)

    return without


@pytest.mark.parametrize(
    ("engine", "package", "cure"),
    [
        ("onnx", "onnxruntime", "pip install onnxruntime onnx"),
        ("onnx", "onnx", "pip install onnxruntime onnx"),
        ("mxnet", "mxnet", "Linux x86-64"),
        ("torch", "torch", r"pip install 'sentiment-warehouse\[gpu\]'"),
    ],
)
def test_a_missing_package_is_a_fault_with_its_cure(without: Any, engine: str, package: str, cure: str) -> None:
    without(package, engine)
    with pytest.raises(
        EnvironmentFault, match=f"the {engine} engine cannot be loaded .*{package}.*; .*{cure}"
    ) as caught:
        make_engine(tiny_model(), engine=engine, precision="auto", device="cpu", threads=1)
    assert (caught.value.exit_code, isinstance(caught.value, SentimentError)) == (6, True)


@needs_mxnet
def test_auto_goes_on_without_onnx_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    made = make_engine(tiny_model(), engine="auto", precision="auto", device="cpu", threads=1)
    assert (made.name, made.device) == ("mxnet float32", "cpu")


@pytest.mark.parametrize(("threads", "given"), [(None, available_cores()), (1, 1), (3, 3)])
def test_an_engine_takes_the_cores_that_the_process_may_use(
    monkeypatch: pytest.MonkeyPatch, threads: int | None, given: int
) -> None:
    told: list[Any] = []
    monkeypatch.setattr("sentiment_core.engines.onnx.OnnxEngine", lambda model, **options: told.append(options))
    make_engine(tiny_model(), engine="auto", precision="auto", device="cpu", threads=threads)
    assert told == [{"precision": "int8", "threads": given}]
