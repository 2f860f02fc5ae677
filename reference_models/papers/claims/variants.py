"""Every network that the claims compare, each a paper's recipe with changed fields, and further baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from reference_models.papers.claims.claim import Variant
from reference_models.papers.claims.hog import HOG

IMAGENET_MOBILENET = "imagenet"
"""Placeholder in the option ``weights``, replaced by the file that the user names with ``--weights``."""
_FINE_TUNING = {"optimizer": "adamw", "learning_rate": 5e-4}
"""Recipe fields for fine-tuning pretrained networks."""

_ATTENTIONS = {
    "se": {"layer": "se", "where": "block"},
    "cbam": {"layer": "cbam", "where": "block"},
    "llam": {"layer": "llam", "where": "block"},
}
"""Name to the arguments of :func:`attnzoo.attach`: the attentions that MobileNetV2 is tested with."""


def _tra_net() -> Iterator[Variant]:
    ablations: dict[str, tuple[str, dict[str, Any]]] = {
        "full": ("TRA-Net", {}),
        "no-mask": ("without hard masks", {"hard_mask": False}),
        "no-cbam": ("without CBAM", {"channel_attention": False, "spatial_attention": False}),
        "no-channel": ("CBAM without its channel half", {"channel_attention": False}),
        "no-spatial": ("CBAM without its spatial half", {"spatial_attention": False}),
        "residual": ("CBAM with residual connection", {"residual": True}),
    }
    for name, (title, options) in ablations.items():
        yield Variant(name=f"tra-net-{name}", title=title, recipe="tra-net", changes={"options": options})


def _cednn() -> Iterator[Variant]:
    forms: dict[str, tuple[str, str | None, int]] = {
        "plain": ("res-L18M1", None, 0),
        "l1": ("res-L1M18", None, 0),
        "maps2": ("res-L18M1", None, 2),
        "maps2-se": ("res-L18M1", "first", 2),
        "maps2-se-second": ("res-L18M1", "second", 2),
        "maps3-se": ("res-L18M1", "first", 3),
        "maps4-se": ("res-L18M1", "first", 4),
    }
    for name, (variant, se, blocks) in forms.items():
        title = f"CEDNN {variant}, maps in {blocks} blocks" if blocks else f"CEDNN {variant}, no maps"
        options = {"variant": variant, "se": se, "attention_blocks": blocks}
        yield Variant(
            name=f"cednn-{name}",
            title=f"{title}, {se} SE" if se else title,
            recipe="cednn",
            changes={"options": options},
        )
    for network, title, channels_last in (
        ("torchvision/resnet18", "ResNet-18", False),
        ("torchvision/densenet121", "DenseNet-121", True),
        ("igc_net", "IGC-L24M2", True),
    ):
        changes = {"network": network, "maps": False, "channels_last": channels_last}  # whichever is faster
        name = network.removeprefix("torchvision/").replace("_", "-")
        yield Variant(name=f"cednn-{name}", title=title, recipe="cednn", changes=changes)


def _dba_net() -> Iterator[Variant]:
    backbones = {"vgg16_bn": "VGG-16", "resnet101": "ResNet-101", "densenet161": "DenseNet-161"}
    strategies = {"dba": "DBA", "aw_o_db": "Aw/oDB", "baseline": "baseline"}
    for backbone, title in backbones.items():
        for strategy, strategy_title in strategies.items():
            yield Variant(
                name=f"dba-net-{backbone}-{strategy}".replace("_", "-"),
                title=f"{title}, {strategy_title}",
                recipe="dba-net",
                changes={"options": {"backbone": backbone, "strategy": strategy}},
            )


def _lla_net() -> Iterator[Variant]:
    yield Variant(name="lla-net-llam", title="ResNet-18 with LLAM", recipe="lla-net")
    yield Variant(
        name="lla-net-plain", title="plain ResNet-18", recipe="lla-net", changes={"options": {"attention": False}}
    )
    for layer, title in (("se", "ResNet-18 with SE"), ("cbam", "ResNet-18 with CBAM")):
        yield Variant(
            name=f"lla-net-{layer}",
            title=title,
            recipe="lla-net",
            changes={
                "options": {"attention": False},
                "attach": {"layer": layer, "where": "branch", "init": "paper"},
            },
        )


def _baselines() -> Iterator[Variant]:
    for name, of, recipe in (
        ("frames", "frames", "cednn"),
        ("differences", "differences", "cednn"),
        ("tra-net", "frames", "tra-net"),
        ("lla-net", "frames", "lla-net"),
        ("dba-net", "frames", "dba-net"),
    ):
        title = f"HOG + ridge of {of}"
        yield Variant(name=f"hog-{name}", title=title, recipe=recipe, changes={"network": HOG, "options": {"of": of}})
    network = {"network": "torchvision/mobilenet_v2", "maps": False, "options": {"weights": IMAGENET_MOBILENET}}
    for layer, attached in ({"bare": None} | _ATTENTIONS).items():
        yield Variant(
            name=f"mobilenet-{layer}",
            title="MobileNetV2, ImageNet" if attached is None else f"MobileNetV2, ImageNet, with {layer}",
            recipe="cednn",
            changes={**network, **_FINE_TUNING, "attach": attached},
        )


VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {variant.name: variant for group in (_tra_net, _cednn, _dba_net, _lla_net, _baselines) for variant in group()}
)
