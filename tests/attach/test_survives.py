"""What people do with a model works on an attached one: copies, compilation, conversions, extractors."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import timm
import torch
from timm.models._features import FeatureListNet
from timm.utils import ModelEmaV3
from timm.utils.model import freeze_batch_norm_2d
from torch import nn
from torch.fx.experimental.optimization import fuse
from torchvision.models.feature_extraction import create_feature_extractor

import attnzoo
from tests.attach.cases import MODELS, images, model_of, set_blends


def attended(name: str, layer: str = "cbam", where: str = "stage", **options: object) -> tuple[nn.Module, torch.Tensor]:
    """An attached model at a blend of 0.7, of which it is shown that the attention can be seen in the output."""
    model, x = model_of(name), images()
    bare = model(x)
    set_blends(attnzoo.attach(model, layer, where, **options), 0.7)
    assert not torch.allclose(model(x), bare, rtol=1e-3)
    return model, x


def pickled(model: nn.Module) -> nn.Module:
    return pickle.loads(pickle.dumps(model))  # noqa: S301 - what it reads it has just written


def saved_and_loaded(model: nn.Module) -> nn.Module:
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)  # a whole module is the very thing under test


@pytest.mark.parametrize("layer", ["cbam", "llam"])
@pytest.mark.parametrize("name", ["resnet", "test_vit"])
@pytest.mark.parametrize(
    "twin",
    [copy.deepcopy, pickled, saved_and_loaded],
    ids=["copy", "pickle", "save"],
)
def test_copies_have_an_attention_of_their_own(twin: Callable, name: str, layer: str) -> None:
    model, x = attended(name, layer, "block", **({"on_mismatch": "project"} if layer == "llam" else {}))
    other = twin(model)
    assert torch.equal(other(x), model(x))
    with torch.no_grad():
        for parameter_name, parameter in other.named_parameters():
            if ".attnzoo." in parameter_name:
                parameter.zero_()
    assert not torch.equal(other(x), model(x))
    assert list(other.state_dict()) == list(model.state_dict())


@pytest.mark.parametrize(
    ("name", "layer"), [("resnet", "cbam"), ("test_vit", "cbam"), ("mambaout", "timm/eca"), ("resnet", "llam")]
)
def test_compiles_in_one_graph_forward_and_backward(name: str, layer: str) -> None:
    model, x = attended(name, layer, "stage", **({"on_mismatch": "project"} if layer == "llam" else {}))
    eager = model(x)
    eager.square().sum().backward()
    expected = {
        key: parameter.grad.clone() for key, parameter in model.named_parameters() if parameter.grad is not None
    }
    model.zero_grad()
    torch.compiler.reset()
    output = torch.compile(model, fullgraph=True, backend="aot_eager")(x)
    output.square().sum().backward()
    torch.testing.assert_close(output, eager, rtol=1e-4, atol=1e-5)
    assert any(".attnzoo." in key for key in expected)
    for key, parameter in model.named_parameters():
        if key in expected:
            torch.testing.assert_close(parameter.grad, expected[key], rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize(("name", "layer"), [("resnet", "cbam"), ("test_vit", "timm/eca"), ("resnet", "llam")])
def test_exports(name: str, layer: str) -> None:
    model, x = attended(name, layer, "block", **({"on_mismatch": "project"} if layer == "llam" else {}))
    program = torch.export.export(model, (x,))
    torch.testing.assert_close(program.module()(x), model(x))


@pytest.mark.parametrize("layer", ["cbam", "timm/eca", "llam"])
def test_conv_bn_fusion_by_fx_keeps_the_attention(layer: str) -> None:
    model, x = attended("torchvision", layer, "block", **({"on_mismatch": "project"} if layer == "llam" else {}))
    fused = fuse(model)
    assert not any(
        isinstance(module, nn.BatchNorm2d) for name, module in fused.named_modules() if "attnzoo" not in name
    )
    torch.testing.assert_close(fused(x), model(x), rtol=1e-4, atol=1e-5)


def norm_site(model: nn.Module, name: str) -> attnzoo.Site:
    channels = model.get_submodule(name).num_features
    return attnzoo.Site(name=name, stage=None, spots=(attnzoo.Spot(layout="NCHW", channels=channels, grid=(8, 8)),))


@pytest.mark.parametrize("where", ["stage", "norms"])
@pytest.mark.parametrize("convert", [nn.SyncBatchNorm.convert_sync_batchnorm, timm.layers.convert_sync_batchnorm])
def test_sync_batchnorm_conversion_keeps_the_attention(convert: Callable, where: str) -> None:
    model, x = model_of("torchvision"), images()
    bare = model(x)
    sites = [norm_site(model, "layer1.0.bn2"), norm_site(model, "layer4.0.bn2")] if where == "norms" else where
    set_blends(attnzoo.attach(model, "se", sites), 0.7)
    expected = model(x)
    assert not torch.allclose(expected, bare, rtol=1e-3)
    keys = list(model.state_dict())
    converted = convert(model)
    assert type(converted.bn1) is nn.SyncBatchNorm
    assert list(converted.state_dict()) == keys
    torch.testing.assert_close(converted(x), expected)


def test_a_norm_replaced_without_its_attention_is_an_error_and_not_silence() -> None:
    model, x = model_of("torchvision"), images()
    attnzoo.attach(model, "se", [norm_site(model, "layer1.0.bn2")])
    frozen = freeze_batch_norm_2d(model)
    with pytest.raises(RuntimeError, match=r"bn2.*BasicBlock was replaced by a FrozenBatchNorm2d"):
        frozen(x)


@pytest.mark.parametrize(
    ("name", "layer"),
    [*((name, layer) for name in MODELS for layer in ("cbam", "timm/eca")), ("resnet", "llam"), ("test_vit", "llam")],
)
def test_bf16_autocast_is_the_bare_model_at_first_and_differs_later(name: str, layer: str) -> None:
    model, x = model_of(name), images()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        bare = model(x)
        options = {"on_mismatch": "project"} if layer == "llam" else {}
        attachment = attnzoo.attach(model, layer, "block", **options)
        assert torch.equal(model(x), bare)
        set_blends(attachment, 1.0)
        after = model(x)
        assert after.dtype == bare.dtype
        assert not torch.equal(after, bare)
        after.float().square().sum().backward()
    assert all(parameter.grad is not None for parameter in attachment.parameters())


@pytest.mark.parametrize("layer", ["cbam", "timm/eca"])
@pytest.mark.parametrize("name", ["resnet", "test_convnext"])
def test_channels_last_stays_channels_last(name: str, layer: str) -> None:
    model, x = attended(name, layer)
    expected = model(x)
    model = model.to(memory_format=torch.channels_last)
    seen = []
    for module in model.modules():
        if hasattr(module, "spot"):
            module.register_forward_hook(lambda module, args, output: seen.append((args[0], output)))
    output = model(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
    assert len(seen) == 4
    for before, after in seen:
        assert after.stride() == before.stride()


def test_timms_feature_list_net_gives_attended_features() -> None:
    bare = [each.clone() for each in FeatureListNet(model_of("resnet"), out_indices=(1, 2))(images())]
    model, x = attended("resnet")
    maps = FeatureListNet(model, out_indices=(1, 2))(x)
    assert [each.shape for each in maps] == [each.shape for each in bare]
    captured = []
    model.layer2.register_forward_hook(lambda module, args, output: captured.append(output))
    model(x)
    assert torch.equal(maps[-1], captured[0])


def test_attaching_to_a_feature_list_net() -> None:
    model = timm.create_model("test_resnet", features_only=True, out_indices=(1, 2), zero_init_last=False).eval()
    x = images()
    bare = model(x)
    attachment = attnzoo.attach(model, "se", "stage")
    assert all(torch.equal(now, then) for now, then in zip(model(x), bare, strict=True))
    set_blends(attachment, 1.0)
    assert not any(torch.equal(now, then) for now, then in zip(model(x), bare, strict=True))


@pytest.mark.parametrize("layer", ["cbam", "timm/eca", "llam"])
def test_torchvisions_feature_extractor_gives_attended_features(layer: str) -> None:
    model, x = attended("torchvision", layer, "block", **({"on_mismatch": "project"} if layer == "llam" else {}))
    captured = []
    handle = model.layer3.register_forward_hook(lambda module, args, output: captured.append(output))
    model(x)
    handle.remove()
    extractor = create_feature_extractor(model, ["layer3"]).eval()
    torch.testing.assert_close(extractor(x)["layer3"], captured[0])


def test_an_ema_copy_follows() -> None:
    model, x = attended("resnet")
    ema = ModelEmaV3(model, decay=0.5)
    assert torch.equal(ema.module(x), model(x))
    blend = model.layer4[0].attnzoo["0"].blend
    with torch.no_grad():
        blend.fill_(0.1)
    ema.update(model)
    torch.testing.assert_close(ema.module.layer4[0].attnzoo["0"].blend, torch.full((1,), 0.4))


@pytest.mark.parametrize("layer", ["cbam", "llam"])
@pytest.mark.parametrize("name", ["resnet", "test_vit", "test_convnext"])
def test_gradient_checkpointing_computes_the_same(name: str, layer: str) -> None:
    model, x = attended(name, layer, "stage", **({"on_mismatch": "project"} if layer == "llam" else {}))
    model.train()
    for module in model.modules():
        if isinstance(module, nn.Dropout | nn.BatchNorm2d) or type(module).__name__ == "DropPath":
            module.eval()
    plain = model(x)
    plain.square().sum().backward()
    gradients = {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    model.set_grad_checkpointing()
    again = model(x)
    again.square().sum().backward()
    torch.testing.assert_close(again, plain)
    assert any(".attnzoo." in key for key in gradients)
    for key, parameter in model.named_parameters():
        if key in gradients:
            torch.testing.assert_close(parameter.grad, gradients[key], rtol=1e-4, atol=1e-5)


def test_a_model_on_the_meta_device_is_attached_to_without_arithmetic() -> None:
    with torch.device("meta"):
        model = timm.create_model("test_resnet", num_classes=5)
    sites = [attnzoo.Site(name="layer4.0", stage=4, spots=(attnzoo.Spot(layout="NCHW", channels=96, grid=(2, 2)),))]
    attachment = attnzoo.attach(model, "se", sites)
    assert all(parameter.is_meta for parameter in attachment.parameters())
