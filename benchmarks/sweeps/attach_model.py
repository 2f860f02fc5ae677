"""One model of the sweep: build it, find its sites, attach, check, detach; the result is one JSON line."""

from __future__ import annotations

import copy
import time
import traceback
import warnings
from collections.abc import Iterable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor, nn

from attnzoo import attach
from attnzoo.attach.find.probe import REFUSALS, probe
from attnzoo.attach.find.search import Finder
from attnzoo.attach.sites import Site, Spot
from attnzoo.attach.tensors import walk

LAYERS = ("cbam", "timm/eca")
WHERES = ("stage", "block")
SEED = 20
CALIBRATION = 12
DRAWS = 8
SHALLOW = {  # transformers of equal blocks, cut so that a sweep on two cores ends
    "beit": 6, "deepseek_vit": 3, "gemma4_vit": 3, "naflexvit": 6, "qwen3_vit": 5, "vision_transformer_sam": 6,
}  # fmt: skip
SMALL = (96, 128, 160)


def send(connection: Connection, family: str, name: str, options: dict[str, Any]) -> None:
    """Check one model, in a process of its own, and send the result."""
    warnings.simplefilter("ignore")  # deprecations inside timm and torchvision are not this sweep's
    torch.set_num_threads(1)
    try:
        connection.send(check(family, name, options))
    except REFUSALS:  # one model's failure is its result, and the sweep goes on
        error = traceback.format_exc().splitlines()
        connection.send({"family": family, "model": name, "options": options, "error": error[-1], "trace": error[-6:]})


def check(family: str, name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Attach everything to one model and return what happened."""
    began = time.perf_counter()
    model = build(family, name, options)
    probed = probe(model)
    image = probed.inputs[0]
    finder = Finder(probed)
    _calibrate(model, image)
    before = _outputs(model, image)
    sites: dict[str, tuple[Site, ...]] = {}
    refused: dict[str, str] = {}
    results: dict[str, dict[str, Any]] = {where: {} for where in WHERES}
    for where in WHERES:
        try:
            sites[where] = finder.find(where)
        except ValueError as error:
            refused[where] = str(error)
            continue
        for layer in LAYERS:
            results[where][layer] = check_attach(model, layer, sites[where], image, before)
    return {
        "family": family,
        "model": name,
        "options": options,
        "image": list(image.shape[1:]),
        "sites": {where: [_plain(site) for site in found] for where, found in sites.items()},
        "wide_sites": _wide(probed.model, image, [] if probed.wide is None else list(sites)),
        "refused": refused,
        "results": results,
        "layout": prove_layouts(model, image, {site.name: site for found in sites.values() for site in found}),
        "seconds": round(time.perf_counter() - began, 1),
    }


def check_attach(
    model: nn.Module, layer: str, sites: Sequence[Site], image: Tensor, before: list[Tensor]
) -> dict[str, Any]:
    """Attach ``layer`` at ``sites``, check every promise, and detach."""
    bare = copy.deepcopy(model.state_dict())  # with its metadata, as a checkpoint has it
    names = [name for name, _ in model.named_parameters()]
    torch.manual_seed(SEED)
    attachment = attach(model, layer, sites)
    added = dict(attachment.named_parameters())
    result: dict[str, Any] = {
        "sites": len(attachment.sites),
        "identical": _same(before, _outputs(model, image)),
        "keys": [key for key in model.state_dict() if key in bare] == list(bare)
        and [name for name, _ in model.named_parameters() if name not in added] == names,
    }
    with torch.no_grad():
        for parameter in set(model.parameters()) - set(added.values()):
            parameter.add_(1)
    model.load_state_dict(bare, strict=True)
    loaded = model.state_dict()
    result["plain_checkpoint"] = all(torch.equal(loaded[key], bare[key]) for key in bare)
    result["without_gradient"] = gradients(model, added, image)
    result["gradients"] = not result["without_gradient"]
    with torch.no_grad():
        for name, parameter in added.items():
            if name.endswith(".blend"):
                parameter.fill_(1)
    result["differs"] = not _same(before, _outputs(model, image))
    attachment.detach()
    after = model.state_dict()
    result["detached"] = (
        list(after) == list(bare)
        and all(torch.equal(after[key], bare[key]) for key in bare)
        and _same(before, _outputs(model, image))
    )
    return result


def gradients(model: nn.Module, added: dict[str, nn.Parameter], image: Tensor) -> list[str]:
    """Return the added parameters that get no gradient in two steps; the first step moves the blends off zero.

    A layer whose few hidden units happen to be dead (CBAM's one of 16 channels) is drawn again.
    """
    missing = list(added)
    initial = {name: parameter.detach().clone() for name, parameter in added.items()}
    for draw in range(DRAWS):
        torch.manual_seed(SEED + draw)
        missing = list(added)
        for _ in range(2):
            model.zero_grad()
            outputs = [tensor for tensor in _outputs(model, image, gradients=True) if tensor.requires_grad]
            loss = sum(((output * torch.randn_like(output)).mean() for output in outputs), torch.zeros(()))
            loss.backward()
            grads = {name: parameter.grad for name, parameter in added.items()}
            missing = [name for name in missing if (grad := grads[name]) is None or not bool((grad != 0).any())]
            with torch.no_grad():
                for name, parameter in added.items():
                    if name.endswith(".blend"):
                        parameter.fill_(0.5)
        with torch.no_grad():
            for name, parameter in added.items():
                parameter.copy_(initial[name])
                if name in missing and parameter.dim() > 1:
                    nn.init.kaiming_normal_(parameter)
                    initial[name].copy_(parameter)
        if not missing:
            break
    model.zero_grad()
    with torch.no_grad():
        for name, parameter in added.items():
            parameter.copy_(initial[name])
    return missing


def prove_layouts(model: nn.Module, image: Tensor, sites: dict[str, Site]) -> dict[str, Any]:
    """Show that rows and columns of each grid are those of the image: a patch is changed at three places.

    The change in a site's tensor must move to the right when the patch does, and down when it does. In deep stages of
    random weights everything mixes with everything, so that three draws of the change are allowed.
    """
    proven: set[tuple[str, Any]] = set()
    for draw in range(3):
        clean = _tensors(model, image, sites)
        telling = {key for key, (spot, _) in clean.items() if min(spot.grid) >= 2}
        proven |= _moves_along(model, image, sites, clean, SEED + draw) & telling
        if proven == telling:
            break
    return {
        "spots": len(telling),
        "proven": len(proven),
        "grid_of_one": len(clean) - len(telling),
        "unproven": sorted({name for name, _ in telling - proven}),
    }


def _moves_along(
    model: nn.Module,
    image: Tensor,
    sites: dict[str, Site],
    clean: dict[tuple[str, Any], tuple[Spot, Tensor]],
    seed: int,
) -> set[tuple[str, Any]]:
    """Return the tensors whose change moves right and down with the change in the image."""
    height, width = image.shape[2:]
    places = {"left": (1, 1), "right": (1, 6), "down": (6, 1)}
    centres: dict[str, dict[tuple[str, Any], tuple[float, float]]] = {}
    for place, (row, column) in places.items():
        changed = image.clone()
        rows, columns = (
            slice(row * height // 8, (row + 1) * height // 8),
            slice(column * width // 8, (column + 1) * width // 8),
        )
        torch.manual_seed(seed)
        changed[:, :, rows, columns] += 3 * torch.randn_like(changed[:, :, rows, columns])
        dirty = _tensors(model, changed, sites)
        centres[place] = {key: _centre(clean[key][1] - dirty[key][1]) for key in clean}
    along = set()
    for key in clean:
        left, right, down = (centres[place][key] for place in ("left", "right", "down"))
        goes_right, goes_down = (right[0] - left[0], right[1] - left[1]), (down[0] - left[0], down[1] - left[1])
        if goes_right[1] > abs(goes_right[0]) and goes_down[0] > abs(goes_down[1]):
            along.add(key)
    return along


def _tensors(model: nn.Module, image: Tensor, sites: dict[str, Site]) -> dict[tuple[str, Any], tuple[Spot, Tensor]]:
    kept: dict[tuple[str, Any], tuple[Spot, Tensor]] = {}
    handles = []
    for site in sites.values():

        def keep(_: nn.Module, _args: Any, output: Any, site: Site = site) -> None:
            tensors = dict(walk(output))
            for spot in site.spots:
                kept[site.name, spot.path] = (spot, _as_map(spot, tensors[spot.path].detach().clone()))

        handles.append(model.get_submodule(site.name).register_forward_hook(keep))
    with torch.no_grad():
        model(image)
    for handle in handles:
        handle.remove()
    return kept


def _as_map(spot: Spot, tensor: Tensor) -> Tensor:
    if spot.layout == "NCHW":
        return tensor
    if spot.layout == "NHWC":
        return tensor.permute(0, 3, 1, 2)
    tokens = tensor[:, spot.prefix_tokens :].transpose(1, 2) if spot.layout == "NLC" else tensor
    return tokens.unflatten(2, spot.grid)


def _centre(change: Tensor) -> tuple[float, float]:
    """Row and column, from 0 to 1, of the centre of a change (B, C, H, W); to its fourth power: the peak counts."""
    heat = change.double().pow(2).sum((0, 1)).pow(2)
    heat = heat / heat.sum().clamp_min(torch.finfo(heat.dtype).tiny)
    rows = torch.arange(heat.shape[0], dtype=heat.dtype) / max(heat.shape[0] - 1, 1)
    columns = torch.arange(heat.shape[1], dtype=heat.dtype) / max(heat.shape[1] - 1, 1)
    return float((heat.sum(1) * rows).sum()), float((heat.sum(0) * columns).sum())


def build(family: str, name: str, options: dict[str, Any]) -> nn.Module:
    """Build a model with random weights, none of them zero, in evaluation mode."""
    torch.manual_seed(SEED)
    if family.startswith("timm/"):
        import timm

        model = timm.create_model(name, **options)
    else:
        import torchvision

        model = torchvision.models.get_model(name, weights=None, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.numel() and parameter.abs().max() < 1e-3:
                parameter.normal_(std=0.1)
    return model.eval()


def _calibrate(model: nn.Module, image: Tensor) -> None:
    """Set running statistics to those of one batch: random weights otherwise make activations explode or vanish.

    The batch has many different images, for in deep stages a channel has one pixel an image.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]  # noqa: SLF001
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    try:
        with torch.no_grad():
            model(torch.randn(CALIBRATION, *image.shape[1:]))
    except REFUSALS:
        for norm in norms:
            norm.reset_running_stats()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


def _wide(model: nn.Module, image: Tensor, wheres: Iterable[str]) -> dict[str, Any]:
    wider = torch.cat([image, image], dim=-1)
    try:
        finder = Finder(probe(model, (wider,)))
    except ValueError:
        return {}  # takes other aspect ratios only through set_input_size
    return {where: [_plain(site) for site in finder.find(where)] for where in wheres}


def _plain(site: Site) -> list[Any]:
    spots = [[list(spot.path), spot.layout, spot.channels, spot.prefix_tokens, list(spot.grid)] for spot in site.spots]
    return [site.name, site.stage, site.slot, spots]


def _outputs(model: nn.Module, image: Tensor, *, gradients: bool = False) -> list[Tensor]:
    with torch.set_grad_enabled(gradients):
        return [tensor for _, tensor in walk(model(image))]


def _same(left: list[Tensor], right: list[Tensor]) -> bool:
    return len(left) == len(right) and all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def choose() -> dict[str, Any]:
    """Return for each family its smallest model, and options that make it smaller."""
    import timm
    import torchvision

    chosen: dict[str, Any] = {}
    for module in timm.models.list_modules():
        sizes = {}
        for name in timm.list_models(module=module):
            try:
                with torch.device("meta"):
                    sizes[name] = sum(p.numel() for p in timm.create_model(name).parameters())
            except RuntimeError:
                continue
        name = min(sizes, key=lambda name: sizes[name])
        chosen[f"timm/{module}"] = {"model": name, "options": _small_options(module, name)}
    for name in torchvision.models.list_models(module=torchvision.models):
        model = torchvision.models.get_model(name, weights=None)
        family = f"torchvision/{type(model).__module__.rpartition('.')[2]}"
        parameters = sum(p.numel() for p in model.parameters())
        if family not in chosen or parameters < chosen[family]["parameters"]:
            chosen[family] = {"model": name, "options": {}, "parameters": parameters}
    for name in ("fcn_resnet50", "deeplabv3_mobilenet_v3_large"):
        chosen[f"torchvision/{name}"] = {"model": name, "options": {"weights_backbone": None}}
    return {family: {key: model[key] for key in ("model", "options")} for family, model in chosen.items()}


def _small_options(module: str, name: str) -> dict[str, Any]:
    import timm

    options: dict[str, Any] = {"depth": SHALLOW[module]} if module in SHALLOW else {}
    if not timm.get_pretrained_cfg(name).fixed_input_size:
        return options
    for size in SMALL:
        try:
            with torch.no_grad():
                timm.create_model(name, img_size=size, **options).eval()(torch.zeros(1, 3, size, size))
        except REFUSALS:
            continue
        return {**options, "img_size": size}
    return options
