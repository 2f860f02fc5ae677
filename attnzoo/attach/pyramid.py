"""A classifier on a pyramid of maps: a backbone's feature maps, a pyramid layer, and one linear layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from attnzoo.attach.find.probe import probe
from attnzoo.attach.insert.prepare import placed
from attnzoo.attach.source import layer_source
from attnzoo.attach.tensors import walk


class PyramidClassifier(nn.Module):
    """A classifier from a backbone's maps by a pyramid layer; :func:`with_pyramid_head` builds it.

    Args:
        features: Module that returns maps (B, C_i, H_i, W_i), shallow to deep, in a list, a tuple, a mapping or a
            dataclass.
        attention: Module that takes the list and returns a vector (B, D).
        classifier: Module that takes the vector and returns the class scores.
    """

    def __init__(self, features: nn.Module, attention: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.attention = attention
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        """Return the class scores (B, num_classes) of the images ``x``."""
        maps = _maps(self.features(x), x)
        scores: Tensor = self.classifier(self.attention(maps))
        return scores


@torch.inference_mode(mode=False)  # parameters created in inference mode cannot be trained
def with_pyramid_head(
    backbone: nn.Module,
    layer: str | Callable[..., nn.Module] = "dba",
    *,
    num_classes: int,
    features: Sequence[str] | Sequence[int] | None = None,
    example_inputs: Tensor | None = None,
    **layer_kwargs: Any,
) -> PyramidClassifier:
    """Return a classifier that applies a pyramid layer to maps from several depths of ``backbone``.

    The backbone's modules become part of the new model, without a copy. The modules behind the deepest map, such as the
    backbone's classifier, are left out, so that every parameter gets a gradient; from a classification model of timm
    they are removed in place, as timm's feature extractors do.

    Args:
        backbone: A model of timm, one whose forward returns several maps (``features_only=True``, an FPN, a backbone
            of transformers, an encoder), or, with node names, any model that torch.fx can trace (torchvision's).
        layer: A pyramid layer's registry name, class, or factory called with the list of channel counts.
        num_classes: Outputs of the linear layer; 0 for no linear layer, so that the pyramid's vector is returned.
        features: For timm, indices of the feature maps, by default the last four at most; else names of graph nodes
            (``["layer1", "layer4"]``, see ``torchvision.models.feature_extraction.get_graph_node_names``).
        example_inputs: An image batch that the backbone accepts; by default one of a suitable size.
        **layer_kwargs: Options of the layer.

    Raises:
        TypeError: If ``layer`` is no pyramid layer, or ``features`` are missing or of the wrong kind for the backbone.
        ValueError: If a feature map is no map (B, C, H, W), or the layer returns no vector.
    """
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 0:
        raise ValueError(f"num_classes must be an int of at least 0, got {num_classes!r}")
    source = layer_source(layer, layer_kwargs)
    if isinstance(layer, str) and source.kind != "pyramid":
        raise TypeError(f"{source.name!r} is a {source.kind} layer; a pyramid head needs a pyramid layer such as 'dba'")
    images = probe(backbone).inputs.image if example_inputs is None else example_inputs
    if images is None or not images.is_floating_point():
        raise ValueError("example_inputs must be given: the backbone takes no image by itself")
    images = images.to(placed(backbone, backbone)[1])
    extractor = _extractor(backbone, features)
    training = extractor.training
    try:
        maps = _checked_maps(extractor.eval(), images)
    except (TypeError, ValueError):
        extractor.train(training)
        raise
    attention = source.make([each.shape[1] for each in maps], maps[0].device, maps[0].dtype)
    with torch.no_grad():
        vector = attention.eval()(maps)
    if not isinstance(vector, Tensor) or vector.dim() != 2:
        raise ValueError(f"{source.name!r} must return a vector (B, D) under a pyramid head, as with output='vector'")
    width = vector.shape[1]
    classifier = (
        nn.Linear(width, num_classes, device=vector.device, dtype=vector.dtype) if num_classes else nn.Identity()
    )
    return PyramidClassifier(extractor, attention, classifier).train(training)


def _checked_maps(extractor: nn.Module, images: Tensor) -> list[Tensor]:
    """Return the maps of ``images``.

    Raises:
        TypeError: If the extractor returns a single tensor, or none.
        ValueError: If a tensor is no map (B, C, H, W).
    """
    with torch.no_grad():
        output = extractor(images)
    maps = _maps(output, images)
    if isinstance(output, Tensor) or not maps:
        raise TypeError(
            f"features must name the graph nodes of a {type(extractor).__name__}, such as ['layer1', 'layer4']: its "
            "forward does not return several maps"
        )
    for index, each in enumerate(maps):
        if each.dim() != 4:
            raise ValueError(f"features[{index}] must be a map (B, C, H, W), got {tuple(each.shape)}")
    return maps


def _extractor(backbone: nn.Module, features: Sequence[str] | Sequence[int] | None) -> nn.Module:
    names = [feature for feature in features or () if isinstance(feature, str)]
    if features is not None and names and len(names) == len(features):
        from torchvision.models.feature_extraction import create_feature_extractor

        try:
            extractor: nn.Module = create_feature_extractor(backbone, return_nodes=names)
        except fx.proxy.TraceError as error:
            raise ValueError(
                f"features name graph nodes, but torch.fx cannot trace {type(backbone).__name__}: {error}; pass a "
                "backbone whose forward returns the maps"
            ) from error
        return extractor
    if hasattr(backbone, "forward_intermediates"):
        from timm.models._features import FeatureGetterNet

        depth = len(getattr(backbone, "feature_info", ()))
        getter: nn.Module = FeatureGetterNet(backbone, min(4, depth) if features is None else list(features))
        return getter
    if features is not None:
        raise TypeError(f"features must be names of graph nodes for a {type(backbone).__name__}, got {features!r}")
    return backbone


def _maps(output: Any, x: Tensor) -> list[Tensor]:
    """Return the maps in a backbone's output, without the image ``x`` that encoders give first, and empty maps."""
    return [tensor for _, tensor in walk(output) if tensor is not x and tensor.dim() > 1 and tensor.shape[1]]
