"""Attached models under ``torch.fx``: the additional tensors of paired and guided layers as nodes of the graph.

A symbolic trace does not run leaf modules, and the finished graph does not run the modules around them, so that frames
(:mod:`attnzoo.attach.context`) cannot pass tensors between them. The graph's nodes must.
"""

from __future__ import annotations

from typing import Any

from torch import fx, nn


def is_traced(*values: Any) -> bool:
    """Tell whether one of the values is a ``torch.fx.Proxy``: a symbolic trace is running."""
    return any(isinstance(value, fx.Proxy) for value in values)


def output_of(entry: nn.Module, inside: str, x: Any) -> Any:
    """Return the node of a leaf module's output in the graph of ``x``, or None if the graph does not call it.

    Args:
        entry: The attached layer, a child of the stack, which is a child of the site.
        inside: The leaf module's name, relative to the site.
        x: The site's output in the graph.
    """
    site = x.tracer.path_of_module(entry).split(".")[:-2]
    target = ".".join([*site, inside])
    calls = [node for node in x.tracer.graph.nodes if node.op == "call_module" and node.target == target]
    return x.tracer.proxy(calls[-1]) if calls else None


def argument(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Add an argument ``name``, None by default, to the graph that is being traced, and return its proxy.

    Return None if no trace is running, or if the graph has operations already: then the traced module is not the model,
    but one that calls it.
    """
    traced = next((value for value in (*args, *kwargs.values()) if is_traced(value)), None)
    if traced is None or any(node.op != "placeholder" for node in traced.tracer.graph.nodes):
        return None
    return traced.tracer.create_proxy("placeholder", name, (None,), {})
