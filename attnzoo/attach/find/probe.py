"""Run a copy of the model on small images: which modules are called, which tensors affect the output, and their shapes.

The copy is in evaluation mode and float32. The model, its buffers, flags and hooks, and the random number generators
are not changed.
"""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attnzoo.attach.attend import Attend
from attnzoo.attach.find.inputs import Inputs
from attnzoo.attach.find.trace import Trace, record
from attnzoo.attach.tensors import Path, replace, walk

REFUSALS = (
    RuntimeError,
    AssertionError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    ZeroDivisionError,
)
"""The exceptions that models raise for an input size that they do not support."""

_SIZES = (96, 64, 128, 160, 192, 224, 240, 256, 288, 299, 320, 384, 448, 512)
_BATCH = 2
_SEED = 20


@dataclass(frozen=True, slots=True)
class Probe:
    """A copy of the model and its recorded forward passes.

    Attributes:
        model: The copy.
        inputs: The positional arguments of the first forward pass.
        square: The forward pass at the model's configured size or a small one.
        wide: The forward pass at twice the width, or None if the model supports no other aspect ratio.
    """

    model: nn.Module
    inputs: Inputs
    square: Trace
    wide: Trace | None


def probe(model: nn.Module, example_inputs: Any = None) -> Probe:
    """Run a copy of ``model`` at two aspect ratios.

    Args:
        model: The model; it is not changed.
        example_inputs: Arguments of its forward, see :meth:`Inputs.of`; by default images (2, C, S, S) of a size that
            it accepts.

    Returns:
        The copy and its forward passes.

    Raises:
        ValueError: If no size works (the message contains the last error), or the model cannot be copied.
    """
    rng = torch.random.fork_rng(devices=_cuda_devices(model))
    with torch.inference_mode(mode=False), rng, warnings.catch_warnings():
        # a warning of reentrant checkpointing, which is correct in these passes without gradients
        warnings.filterwarnings("ignore", message="None of the inputs have requires_grad")
        torch.manual_seed(_SEED)
        example = None if example_inputs is None else Inputs.of(example_inputs)
        try:
            twin = _twin(model, hooks=False)
            inputs, square = _first(twin, model, example)
        except ValueError:
            if not _has_hooks(model):
                raise
            twin = _twin(model, hooks=True)  # transformers collects hidden states by hooks, timm features
            inputs, square = _first(twin, model, example)
        return Probe(twin, inputs, square, _if_different(square, _wide(twin, inputs)))


def alive(probed: Probe, names: Iterable[str]) -> dict[tuple[str, Path], Tensor]:
    """Return, for each output tensor of the modules ``names``, the elements on which the model's output depends.

    A leaf of zeros is added to each of these tensors, and a random projection of the model's output is differentiated.
    In the copy, weights that are zero (``zero_init_last``, a new head) were replaced by random ones, which would make
    gradients zero. A gradient that is zero everywhere is computed in float64 as well: it may be too small for float32.

    Returns:
        (name, path) to a boolean tensor of the same shape, True where the gradient is not zero.
    """
    names = list(names)
    live = _depends(probed, names)
    if all(bool(where.any()) for where in live.values()):
        return live
    try:
        probed.model.double()
        exact = Probe(probed.model, probed.inputs.changed(Tensor.double), probed.square, probed.wide)
        return {key: live[key] | where for key, where in _depends(exact, names).items() if key in live}
    except REFUSALS:  # an operation that float64 lacks
        return live
    finally:
        probed.model.float()


def _depends(probed: Probe, names: Iterable[str]) -> dict[tuple[str, Path], Tensor]:
    """Return where the model's output depends on the tensors of these modules, in the dtype of the copy."""
    leaves: dict[tuple[str, Path], Tensor] = {}
    handles = []
    for name in names:

        def add(_: nn.Module, _args: tuple[Any, ...], output: Any, name: str = name) -> Any:
            def zero(path: Path, tensor: Tensor) -> Tensor:
                leaf = leaves.setdefault((name, path), torch.zeros_like(tensor, requires_grad=True))
                return tensor + leaf

            return replace(output, zero)

        handles.append(probed.model.get_submodule(name).register_forward_hook(add, prepend=True))
    try:
        rng = torch.random.fork_rng(devices=_cuda_devices(probed.model))
        with rng, torch.inference_mode(mode=False), torch.enable_grad():
            torch.manual_seed(_SEED)
            # Reentrant checkpointing computes gradients inside only if an input requires one.
            inputs = probed.inputs.changed(lambda tensor: tensor.detach().requires_grad_())
            outputs = [tensor for _, tensor in walk(inputs.call(probed.model)) if tensor.requires_grad]
            if outputs and leaves:
                total = sum(((tensor * torch.randn_like(tensor)).sum() for tensor in outputs), torch.zeros(()))
                total.backward()  # type: ignore[no-untyped-call]
    finally:
        for handle in handles:
            handle.remove()
    return {key: torch.zeros_like(leaf) != 0 if leaf.grad is None else leaf.grad != 0 for key, leaf in leaves.items()}


def _cuda_devices(model: nn.Module) -> list[torch.device]:
    return list({p.device for p in model.parameters() if p.device.type == "cuda"})


def _has_hooks(model: nn.Module) -> bool:
    return any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())  # noqa: SLF001


def _twin(model: nn.Module, *, hooks: bool) -> nn.Module:
    if any(parameter.is_meta for parameter in model.parameters()):
        raise ValueError(
            f"{type(model).__name__} is on the meta device, where nothing can be run; give it memory first"
        )
    try:
        twin = copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{type(model).__name__} cannot be copied, and sites are probed on a copy: {error}") from error
    for module in twin.modules():
        if not hooks and not isinstance(module, torch.jit.ScriptModule):
            # a user's hooks may store tensors
            module._forward_hooks.clear()  # noqa: SLF001
            module._forward_pre_hooks.clear()  # noqa: SLF001
        if isinstance(module, Attend):  # attached layers may need maps that are not available here
            module.active = False
    _dequantise(twin)
    twin.eval().float().requires_grad_(requires_grad=False)
    for parameter in twin.parameters():
        if parameter.numel() and parameter.abs().max() < 1e-3:
            parameter.normal_(std=0.1)
    return twin


def _dequantise(twin: nn.Module) -> None:
    """Replace quantised weights by floating ones: integer arithmetic has no gradient."""
    for module in twin.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if type(parameter) is not nn.Parameter and parameter.is_floating_point():
                with contextlib.suppress(RuntimeError):  # not a quantised tensor
                    setattr(module, name, nn.Parameter(parameter.detach().dequantize(), requires_grad=False))


def _first(twin: nn.Module, model: nn.Module, example: Inputs | None) -> tuple[Inputs, Trace]:
    if example is not None:
        inputs = example.changed(_probed)
        try:
            return inputs, record(twin, inputs)
        except REFUSALS as error:
            raise ValueError(f"{type(model).__name__} does not run on example_inputs: {error}") from error
    device = next((p.device for p in twin.parameters()), torch.device("cpu"))
    last: Exception | None = None
    tried = []
    for size in _sizes(twin):
        for channels in _channels(twin):
            inputs = Inputs((torch.randn(_BATCH, channels, *size, device=device),))
            try:
                return inputs, record(twin, inputs)
            except REFUSALS as error:
                last = error
                tried.append(size)
    raise ValueError(
        f"{type(model).__name__} ran on no probe image of {sorted(set(tried))}; pass example_inputs. "
        f"Its last error: {type(last).__name__}: {last}"
    )


def _probed(value: Tensor) -> Tensor:
    """Return a floating tensor of the example for the copy: float32, and no inference tensor."""
    return (value.clone() if value.is_inference() else value).float()


def _wide(twin: nn.Module, inputs: Inputs) -> Trace | None:
    tensors = inputs.tensors()
    if len(tensors) != 1 or tensors[0].dim() not in {3, 4}:
        return None
    *_, height, width = tensors[0].shape
    wider = inputs.changed(lambda image: torch.cat([image, image.flip(-1)], dim=-1))
    try:
        return record(twin, wider)
    except REFUSALS:
        if not hasattr(twin, "set_input_size"):
            return None
    other = copy.deepcopy(twin)
    try:
        other.set_input_size(img_size=(height, 2 * width))  # type: ignore[operator]
        return record(other, wider)
    except REFUSALS:
        return None


def _if_different(square: Trace, wide: Trace | None) -> Trace | None:
    """Return ``wide`` if any shape differs from ``square``; in a model that resizes its input (CrossViT) none does."""
    if wide is None:
        return None
    names = [name for name in square.calls if name in wide.calls]
    same = all([s.shape for s in square.outputs_of(name)] == [s.shape for s in wide.outputs_of(name)] for name in names)
    return None if same else wide


def _config(model: nn.Module) -> dict[str, Any]:
    config = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None)
    return dict(config) if isinstance(config, dict) else {}


def _sizes(model: nn.Module) -> Iterator[tuple[int, int]]:
    config = _config(model)
    built_for = getattr(getattr(model, "patch_embed", None), "img_size", None) or getattr(model, "image_size", None)
    built_for = (built_for, built_for) if isinstance(built_for, int) else built_for
    sizes: list[tuple[int, int]] = []
    if built_for is not None:
        sizes.append((int(built_for[0]), int(built_for[1])))
    fixed = (int(config["input_size"][1]), int(config["input_size"][2])) if config.get("input_size") else None
    if fixed is not None and config.get("fixed_input_size"):
        sizes.append(fixed)
    sizes += [(size, size) for size in _SIZES]
    if fixed is not None:
        sizes.append(fixed)
    yield from dict.fromkeys(sizes)


def _channels(model: nn.Module) -> list[int]:
    counts = [getattr(model, "in_chans", None), *(_config(model).get("input_size") or ())[:1]]
    convolution = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if convolution is not None:
        counts.append(convolution.in_channels)
    return list(dict.fromkeys([count for count in counts if isinstance(count, int)])) or [3]
