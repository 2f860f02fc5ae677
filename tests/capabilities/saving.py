"""Modules copied, written and read, and built without memory."""

from __future__ import annotations

import copy
import pickle

import safetensors.torch
import torch
from torch import nn

from tests.capabilities.subjects import Subject
from tests.capabilities.table import capability
from tests.layers import cases


@capability("deepcopy")
def deepcopied(subject: Subject) -> None:
    """A copy computes the same and shares nothing."""
    module = subject.make("cpu")
    _is_a_twin(subject, module, copy.deepcopy(module))


@capability("pickle")
def pickled(subject: Subject) -> None:
    """What is read again computes the same and shares nothing."""
    module = subject.make("cpu")
    _is_a_twin(subject, module, pickle.loads(pickle.dumps(module)))  # noqa: S301 - made on the line itself


@capability("safetensors")
def in_safetensors(subject: Subject) -> None:
    """The state as safetensors, read into another module: the same values to the bit."""
    module, other = subject.make("cpu"), subject.make("cpu")
    state = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    other.load_state_dict(safetensors.torch.load(safetensors.torch.save(state)), strict=True)
    _is_a_twin(subject, module, other)


@capability("meta device")
def on_meta(subject: Subject) -> None:
    """Built and run without memory, then given memory and a state: the same values to the bit."""
    module, bare = subject.make("cpu"), subject.make("meta")
    assert all(tensor.is_meta for tensor in bare.state_dict().values()), "a tensor is not on the meta device"
    arguments = cases.mapped(subject.inputs(module, 2, subject.size), lambda x: x.to("meta"))
    shapes = [tensor.shape for tensor in cases.leaves(bare(*arguments))]
    assert shapes == [tensor.shape for tensor in cases.leaves(module(*subject.inputs(module, 2, subject.size)))]
    bare.to_empty(device="cpu").load_state_dict(module.state_dict(), strict=True)
    _is_a_twin(subject, module, bare)


@torch.no_grad()
def _is_a_twin(subject: Subject, module: nn.Module, other: nn.Module) -> None:
    arguments = subject.inputs(module, 2, subject.size)
    torch.testing.assert_close(other(*arguments), module(*arguments), rtol=0, atol=0)
    shared = {id(each) for each in module.parameters()} & {id(each) for each in other.parameters()}
    assert not shared, "parameters are shared"
