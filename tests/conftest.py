"""What all tests share: one thread, a fixed seed, and a registry that forgets what a test registers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from attnzoo import registry


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Two workers share two cores; more threads than cores only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed() -> None:
    """Draw the same numbers in every run, whatever ran before."""
    torch.manual_seed(20)


@pytest.fixture
def own_layers() -> Iterator[None]:
    """Remove again what the test registers."""
    registry.list_layers()  # what is imported later is not registered again
    before = dict(registry._registered)
    yield
    registry._registered.clear()
    registry._registered.update(before)
