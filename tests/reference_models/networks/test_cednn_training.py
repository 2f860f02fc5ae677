"""A training step of CEDNN: the same by native passes as by its modules."""

import copy

import pytest
import torch

from attnzoo import IGCBlock, ops
from reference_models import CEDNN
from tests.reference_models.randomise import randomise


@pytest.fixture
def by_passes(monkeypatch):
    """Record the blocks that native passes took."""
    seen = []
    passes = IGCBlock._by_passes

    def recorded(block, *arguments):
        seen.append(block)
        return passes(block, *arguments)

    monkeypatch.setattr(IGCBlock, "_by_passes", recorded)
    return seen


def step(network, given, backend, dtype=torch.float32):
    """Return loss, gradients and statistics of one step."""
    own = copy.deepcopy(network).to(dtype).train()
    labels = (torch.arange(24).view(2, 12) % 3 == 0).to(dtype)
    with ops.backend(backend):
        logits = own(*(t.to(dtype) for t in given))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
        loss.backward()
    gradients = {name: p.grad for name, p in own.named_parameters()}
    return loss.detach(), gradients, dict(own.named_buffers())


@pytest.mark.skipif(not ops.backends()["native"].available, reason=ops.backends()["native"].detail)
@pytest.mark.parametrize(
    ("variant", "options"),
    [
        ("res-L18M1", {"attention_blocks": 0}),
        ("res-L18M1", {"attention_blocks": 3}),
        ("dense-L6M3", {"attention_blocks": 2, "map_form": "multiply"}),
        ("res-L9M2", {"attention_blocks": 0, "se": "first"}),
        ("res-L9M2", {"attention_blocks": 0, "se": "second"}),
    ],
)
def test_native_steps_are_those_of_the_modules(variant, options, by_passes):
    """A ReLU that rounding turns disturbs every gradient, by luck: the least disturbed of three draws counts."""
    errors = []
    for seed in range(3):
        network = randomise(CEDNN(variant, image_size=96, top_width=64, **options), seed=seed)
        generator = torch.Generator().manual_seed(seed)
        given = [torch.rand(2, 3, 96, 96, generator=generator)]
        if options["attention_blocks"]:
            given.append((torch.rand(2, 5, 96, 96, generator=generator) > 0.6).float())
        by_passes.clear()
        loss, gradients, buffers = step(network, given, "auto")
        assert bool(by_passes) == (options.get("se") != "second")
        exact_loss, exact, exact_buffers = step(network, given, "torch", torch.float64)
        _, eager, _ = step(network, given, "torch")
        torch.testing.assert_close(loss.double(), exact_loss, rtol=1e-5, atol=1e-6)
        for name, got in buffers.items():
            torch.testing.assert_close(got.double(), exact_buffers[name].double(), rtol=1e-4, atol=1e-5, msg=name)
        kept = [name for name in exact if not name.endswith(("conv1.bias", "conv2.bias", "fuse.bias"))]
        errors.append([distance(found, exact, kept) for found in (gradients, eager)])
    ours, theirs = map(min, zip(*errors, strict=True))
    assert ours < 2 * theirs
    if options.get("se") != "second":
        assert not any(gradients[f"blocks.0.{name}.bias"].any() for name in ("branch.conv1", "branch.conv2", "fuse"))


def distance(found, exact, names):
    """Return the root of the sum of squares of each gradient's relative error."""
    errors = [float((found[name].double() - exact[name]).norm() / (exact[name].norm() + 1e-12)) for name in names]
    return float(torch.tensor(errors).norm())
