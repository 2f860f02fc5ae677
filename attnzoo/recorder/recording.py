"""The recorder: it captures a model's gates inside a ``with`` block, in bounded memory."""

from __future__ import annotations

import fnmatch
import threading
import warnings
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from attnzoo import checks, files
from attnzoo.recorder import compiled, picture, statistics
from attnzoo.recorder.passes import Pass, listen
from attnzoo.recorder.sources import foreign_gate, foreign_gates
from attnzoo.recorder.statistics import GateStatistics, RunningStatistics, thinned

MAX_ALERTS = 5
_opened: ContextVar[frozenset[int]] = ContextVar("attnzoo_recorders", default=frozenset())
"""Ids of the recorders opened in this context, or in the context that it was copied from (``asyncio.to_thread``)."""


def record(
    model: nn.Module,
    *,
    only: str = "*",
    stride: int = 1,
    images: int = 4,
    keep: int = 1,
    max_elements: int = 2**20,
) -> Recorder:
    """Return a context manager that captures all gates that ``model`` computes.

    Gates are named ``module:gate``, such as ``layer1.2.attnzoo.0.layer:spatial``; at the second call of a module in one
    pass ``#2`` is added. A pass is a call of ``model`` itself. Memory is bounded by ``keep``, ``images`` and
    ``max_elements``, whatever the number of passes. At the end, gates that are dead or saturated cause a warning.

    Recorded passes run eagerly, even if the model is compiled; its other passes (see ``stride``) run compiled. Passes
    of the same model in other threads are neither recorded nor affected.

    Args:
        model: Any model with layers of attnzoo, attached or built in, or with gates of timm or torchvision.
        only: Shell-style pattern; only gates whose name matches are captured.
        stride: Record every ``stride``-th pass, beginning with the first. The others take one more function call.
        images: Number of images per batch, the first ones, that are kept and enter the statistics.
        keep: Number of recorded passes, the latest ones, whose gates are kept; 0 keeps statistics only.
        max_elements: Largest number of values of a kept gate; of a larger one every second, third, .. pixel is kept.

    Returns:
        The recorder, to be used in a ``with`` statement.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a number is out of range, or the model was compiled in place by ``model.compile()``, so that its
            hooks are inside the compiled code: use ``torch.compile(model)``.

    Example:
        >>> from attnzoo import create
        >>> model = nn.Sequential(nn.Conv2d(3, 16, 3), create("cbam", 16))
        >>> with record(model) as r:
        ...     _ = model(torch.rand(2, 3, 8, 8))
        >>> {name: tuple(gate.shape) for name, gate in r.gates.items()}
        {'1:channel': (2, 16, 1, 1), '1:spatial': (2, 1, 6, 6)}
    """
    return Recorder(model, only=only, stride=stride, images=images, keep=keep, max_elements=max_elements)


class Recorder:
    """The recorded gates of a model and their statistics, from :func:`record`; printing it shows the statistics.

    Attributes:
        passes: Number of calls of the model inside the ``with`` block.
        recorded: Number of those that were recorded.
    """

    def __init__(self, model: nn.Module, *, only: str, stride: int, images: int, keep: int, max_elements: int) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be an nn.Module, got {type(model).__name__}")
        if getattr(model, "_compiled_call_impl", None) is not None:
            raise ValueError(
                "model must not be compiled in place by model.compile(), for its hooks are then inside the compiled "
                "code; record torch.compile(model), or the model before it is compiled"
            )
        if not isinstance(only, str):
            raise TypeError(f"only must be a shell-style pattern, got {only!r}")
        if isinstance(keep, bool) or not isinstance(keep, int) or keep < 0:
            raise ValueError(f"keep must be an int of at least 0, got {keep!r}")
        self.passes = 0
        self.recorded = 0
        self._model = model
        self._only = only
        self._stride = checks.positive_int("stride", stride)
        self._images = checks.positive_int("images", images)
        self._most = checks.positive_int("max_elements", max_elements)
        self._kept: deque[dict[str, Tensor]] = deque(maxlen=keep)
        self._running: dict[str, RunningStatistics] = {}
        self._names: dict[nn.Module, str] = {}
        self._foreign: dict[str, nn.Module] = {}
        self._hooks: list[RemovableHandle] = []
        self._compiled = ExitStack()
        self._thread = 0
        self._passes: dict[int, list[Pass | None]] = {}
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        """Start recording.

        Raises:
            RuntimeError: If the recorder is in use already.
        """
        if self._hooks:
            raise RuntimeError("the recorder is in use already")
        inner = getattr(self._model, "_orig_mod", self._model)
        self._names = {module: name for name, module in inner.named_modules()}
        self._foreign = foreign_gates(inner)
        self._thread = threading.get_ident()
        _opened.set(_opened.get() | {id(self)})
        self._compiled.enter_context(compiled.watch(self._model))
        self._hooks = [
            self._model.register_forward_pre_hook(self._begin),
            self._model.register_forward_hook(self._end, always_call=True),
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop recording, and warn of gates that are dead, open or saturated, or if nothing was recorded."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._compiled.close()
        _opened.set(_opened.get() - {id(self)})
        self._names, self._foreign, self._passes = {}, {}, {}
        if error is None and (warning := self._warning()):
            warnings.warn(warning, RuntimeWarning, stacklevel=2)

    @property
    def gates(self) -> Mapping[str, Tensor]:
        """The gates of the latest recorded pass by name: detached copies on the same device."""
        return dict(self._kept[-1]) if self._kept else {}

    def history(self, gate: str) -> list[Tensor]:
        """Return the kept values of one gate, the oldest pass first.

        Raises:
            KeyError: If no such gate was recorded; the message lists those that were.
        """
        if gate not in self._running:
            raise KeyError(f"no gate {gate!r} was recorded; there are {', '.join(self._running) or 'none'}")
        return [gates[gate] for gates in self._kept if gate in gates]

    def statistics(self) -> dict[str, GateStatistics]:
        """Return the statistics of each gate over all recorded passes, by name."""
        results = {name: running.result(name) for name, running in self._running.items()}
        return {name: result for name, result in results.items() if result is not None}

    def alerts(self) -> list[str]:
        """Return a sentence for each gate that is dead, always open, saturated or not finite."""
        return statistics.alerts(self.statistics().values())

    def planes(self, index: int = 0) -> dict[str, NDArray[np.float32]]:
        """Return each spatial gate of the latest pass as one plane (h, w), averaged over its channels.

        Args:
            index: Index of the image in the batch.

        Raises:
            IndexError: If ``index`` is not below the number of kept images.
        """
        return picture.planes(self.gates, index)

    def overlay(self, image: NDArray[np.uint8] | Tensor, *, index: int = 0) -> dict[str, NDArray[np.uint8]]:
        """Return each spatial gate as an overlay on the image, dark where the gate is least, bright where greatest.

        Args:
            image: The model's input image, of any size: pixels (H, W, 3), uint8, or a tensor (3, H, W) in 0 to 1.
            index: Index of the image in the batch.

        Returns:
            Name of the gate to pixels (H, W, 3), uint8.

        Raises:
            ImportError: If matplotlib is not installed.
            IndexError: If ``index`` is not below the number of kept images.
            TypeError: If ``image`` has another type.
            ValueError: If its shape or range is wrong.
        """
        return picture.overlays(image, self.planes(index))

    def sheet(
        self,
        path: str | Path,
        image: NDArray[np.uint8] | Tensor,
        *,
        index: int = 0,
        title: str = "Gates of the latest recorded pass",
    ) -> None:
        """Write all gates of the latest pass as one PNG: planes over the image, channels as curves, with statistics.

        The file is written atomically.

        Args:
            path: The file, ending in .png.
            image: As for :meth:`overlay`.
            index: Index of the image in the batch.
            title: Heading of the picture.

        Raises:
            ImportError: If matplotlib is not installed.
            OSError: If the file cannot be written.
            ValueError: If no gate is kept, or ``path`` does not end in .png, is a folder, or its folder does not exist.
        """
        from attnzoo.recorder import sheet

        files.check_writable(Path(path), ".png")
        drawn = sheet.draw(self.gates, self.statistics(), image, index=index, title=title)
        files.write_atomically(Path(path), drawn)

    def page(
        self,
        path: str | Path,
        image: NDArray[np.uint8] | Tensor,
        *,
        index: int = 0,
        title: str = "Gates of the latest recorded pass",
    ) -> None:
        """Write all gates of the latest pass as one HTML page: pictures, statistics, warnings.

        The page is self-contained: pictures, style and script are inside, and it sends no requests. The file is written
        atomically.

        Args:
            path: The file, ending in .html.
            image: As for :meth:`overlay`.
            index: Index of the image in the batch.
            title: Heading of the page.

        Raises:
            ImportError: If jinja2 or matplotlib is not installed.
            OSError: If the file cannot be written.
            ValueError: If no gate is kept, or ``path`` does not end in .html, is a folder, or its folder does not
                exist.
        """
        from attnzoo.recorder import page

        files.check_writable(Path(path), ".html")
        drawn = page.draw(self.gates, self.statistics(), image, index=index, title=title)
        files.write_atomically(Path(path), drawn)

    def table(self) -> Any:
        """Return the statistics as a ``rich`` table."""
        from attnzoo.recorder.table import table

        return table(self.statistics().values())

    def __repr__(self) -> str:
        """Return the counts and the statistics, one line per gate."""
        lines = [
            f"  {name}: mean {one.mean:.3f} in {one.low:.3f} to {one.high:.3f}, entropy {one.entropy:.2f}, "
            f"{one.saturated:.0%} saturated, {one.dead} dead and {one.open} open of {one.channels}"
            for name, one in self.statistics().items()
        ]
        return "\n".join([f"Recorder: {self.recorded} of {self.passes} passes, {len(lines)} gates", *lines])

    def _is_mine(self) -> bool:
        """Tell whether calls of the model in this thread are recorded: other threads may use the model too."""
        return threading.get_ident() == self._thread or id(self) in _opened.get()

    def _begin(self, *_: Any) -> None:
        """Pre-hook of the model: start capturing gates if this pass is to be recorded."""
        if torch.compiler.is_compiling() or not self._is_mine():
            return
        with self._lock:
            due = self.passes % self._stride == 0
            self.passes += 1
        begun = Pass() if due else None
        self._passes.setdefault(threading.get_ident(), []).append(begun)
        if begun is not None:
            begun.ends.enter_context(compiled.eagerly())
            begun.ends.callback(listen(self._on_gates))
            for name, module in self._foreign.items():
                begun.ends.callback(module.register_forward_hook(self._hook_for(name, begun)).remove)

    def _end(self, *_: Any) -> None:
        """Forward hook of the model, called after exceptions too: add the gates of the pass to the statistics."""
        mine = self._passes.get(threading.get_ident())
        if torch.compiler.is_compiling() or not mine:  # a pass of another thread, or one that began before recording
            return
        ended = mine.pop()
        if ended is None:
            return
        ended.ends.close()
        with self._lock, torch.no_grad(), torch.inference_mode(mode=False):
            for name, gate in ended.gates.items():
                self._running[name].add(gate)
            self._kept.append(ended.gates)
            self.recorded += 1

    def _on_gates(self, layer: nn.Module, gates: Mapping[str, Tensor], hard: bool) -> None:
        """Capture gates that a layer of the model reports."""
        mine = self._passes.get(threading.get_ident())
        current = mine[-1] if mine else None
        if current is not None and layer in self._names:
            for name, gate in gates.items():
                self._take(current, f"{self._names[layer]}:{name}", gate, hard)

    def _hook_for(self, name: str, current: Pass) -> Any:
        """Return a forward hook that captures the output of a gate's sigmoid in a layer of another library."""

        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            gate = foreign_gate(output) if not torch.compiler.is_compiling() and current.runs_here() else None
            if gate is not None:
                self._take(current, name, gate, hard=False)

        return hook

    def _take(self, current: Pass, name: str, gate: Tensor, hard: bool) -> None:
        if gate.dim() < 2:
            raise ValueError(f"gate {name} must have shape (B, C) or (B, C, H, W), got {tuple(gate.shape)}")
        if not fnmatch.fnmatchcase(name, self._only):
            return
        current.calls[name] = current.calls.get(name, 0) + 1
        if current.calls[name] > 1:
            name = f"{name}#{current.calls[name]}"
        with torch.no_grad(), torch.inference_mode(mode=False):
            current.gates[name] = thinned(gate.detach()[: self._images], self._most).clone()
        with self._lock:
            if name not in self._running:
                self._running[name] = RunningStatistics(hard)

    def _warning(self) -> str:
        if not self.passes:
            return "record: the model itself was not called in this thread, so that nothing is recorded"
        if not self._running:
            return "record: the model ran, but none of its modules notes a gate (or none matches only)"
        alerts = self.alerts()
        more = f"; and {len(alerts) - MAX_ALERTS} more" if len(alerts) > MAX_ALERTS else ""
        return f"record: {'; '.join(alerts[:MAX_ALERTS])}{more}" if alerts else ""
