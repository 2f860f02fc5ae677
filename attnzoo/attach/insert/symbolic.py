"""Attached models under ``torch.fx``: what attention takes beside its own map, as nodes of the graph.

A symbolic trace does not run the modules that it takes as leaves, so they hand nothing over while it is made; and the
graph does not run the modules around them, so they hand nothing over when it is run. The graph itself has to.
"""

from __future__ import annotations

from typing import Any

from torch import fx, nn


def is_traced(*values: Any) -> bool:
    """Tell whether one of the values stands for a tensor of a graph that torch.fx is making."""
    return any(isinstance(value, fx.Proxy) for value in values)


def output_of(entry: nn.Module, inside: str, x: Any) -> Any:
    """Return the node of a leaf module's output in the graph of ``x``, or None if the graph does not call it.

    Args:
        entry: What attends to the site: a child of the stack, which is a child of the site.
        inside: The module's name, relative to the site.
        x: The site's output in the graph.
    """
    site = x.tracer.path_of_module(entry).split(".")[:-2]
    target = ".".join([*site, inside])
    calls = [node for node in x.tracer.graph.nodes if node.op == "call_module" and node.target == target]
    return x.tracer.proxy(calls[-1]) if calls else None


def argument(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return a further argument ``name`` of the graph that is being made of ``args``, None by default.

    None if there is no such graph, or it has operations already: then somebody else calls the model in it.
    """
    traced = next((value for value in (*args, *kwargs.values()) if is_traced(value)), None)
    if traced is None or any(node.op != "placeholder" for node in traced.tracer.graph.nodes):
        return None
    return traced.tracer.create_proxy("placeholder", name, (None,), {})
