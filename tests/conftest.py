"""Settings for all tests."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support.campaign import Campaign
from tests.support.order import long_files_first, number_of_workers
from tests.support.progress import Progress

# MXNet reads it at its import. On batches this small, threads only wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # of benchmarks that import it themselves

# The same examples on every run and machine; slow machines are no failure.
settings.register_profile(
    "sentiment", deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
# What `make test` takes: a third of the examples that `make test-all` has.
settings.register_profile("fewer", settings.get_profile("sentiment"), max_examples=20)
settings.load_profile("sentiment")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="campaigns of full size, as in `make test-integrity`")
    parser.addoption("--store-seconds", action="store_true", help="keep how long each test took, for the time left")


def pytest_configure(config: pytest.Config) -> None:
    """Hide what MXNet and GluonNLP, which will not change any more, could do better."""
    config.addinivalue_line("filterwarnings", "ignore::DeprecationWarning:mxnet")
    config.addinivalue_line("filterwarnings", "ignore:WARNING. New optimizer:UserWarning:mxnet")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Progress(config))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    long_files_first(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    return number_of_workers()


@pytest.fixture(scope="session")
def campaign(request: pytest.FixtureRequest) -> Campaign:
    return Campaign(full=request.config.getoption("--full"))


@pytest.fixture
def sentiment(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a verb: exit code, results, and the closing sentence."""
    from jobs import cli

    monkeypatch.setattr(cli, "stop_spark", lambda: None)

    def run(*arguments: Any) -> tuple[int, list[dict[str, Any]], str]:
        code = cli.main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return code, [json.loads(line) for line in captured.out.splitlines()], captured.err.strip().splitlines()[-1]

    return run
