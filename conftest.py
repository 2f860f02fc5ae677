"""Makes ``pytest --benchmark-only`` run the benchmarks, alone in one process, and say in which environment they run.

``pytest`` runs the tests in two processes and skips benchmarks: pyproject.toml says so, and what stands there would
otherwise hold for both.
"""

from __future__ import annotations

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent / "benchmarks" / "speed" / "bench_ops.py"


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Take back what is meant for tests, before pytest-xdist and pytest-benchmark read it."""
    if not config.option.benchmark_only:
        return
    config.option.benchmark_skip = False
    config.option.numprocesses, config.option.dist, config.option.tx = 0, "no", []
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        config.args = [str(BENCHMARKS)]


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say in which environment the benchmarks are run, and by which versions."""
    if not config.option.benchmark_only:
        return []
    from benchmarks.speed.interleaved import conditions

    return [f"benchmarks: {conditions()}"]
