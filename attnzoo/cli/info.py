"""``attnzoo info``: describe one layer."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated

import typer

from attnzoo.cli.console import fail

if TYPE_CHECKING:
    from attnzoo.registry import LayerInfo


def info_command(
    name: Annotated[str, typer.Argument(help="A name from attnzoo list, or timm/NAME.", show_default=False)],
) -> None:
    """Describe one layer: kind, paper and properties, arguments with their defaults, documentation.

    Examples:

    attnzoo info cbam

    attnzoo info timm/eca
    """  # noqa: D412 - typer keeps only paragraphs apart
    from attnzoo.registry import layer_info

    try:
        info = layer_info(name)
    except ValueError as error:
        fail(str(error))
    facts = [
        ("name", info.name),
        ("kind", info.kind),
        ("paper", info.paper),
        ("summary", info.summary),
        ("keeps", ", ".join(sorted(info.keeps)) or "nothing of the input"),
        *((f"not: {check}", reason) for check, reason in info.exceptions.items()),
    ]
    width = max(len(label) for label, _ in facts)
    lines = [f"{label:{width}}  {fact}" for label, fact in facts]
    typer.echo("\n".join([*lines, "", *_signature(info), "", inspect.cleandoc(info.cls.__doc__ or "")]).rstrip())


def _signature(info: LayerInfo) -> list[str]:
    """Return the signature with one argument per line."""
    lines = []
    star = False
    for parameter in inspect.signature(info.cls).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            star = True
            lines.append("    *,")
        lines.append(f"    {_argument(parameter)},")
    return [f"{getattr(info.cls, '__name__', info.name)}(", *lines, ")"]


def _argument(parameter: inspect.Parameter) -> str:
    """Return ``name: type = default`` as in source code, without the quotes of postponed annotations."""
    text = str(parameter.replace(annotation=parameter.empty, default=parameter.empty))
    if parameter.annotation is not parameter.empty:
        annotation = parameter.annotation
        text += f": {annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)}"
    if parameter.default is not parameter.empty:
        default = parameter.default
        text += f" = {default.__name__ if isinstance(default, type) else repr(default)}"
    return text
