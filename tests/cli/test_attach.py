"""``attnzoo attach`` prints the plan and the cost, and says in one sentence what is wrong."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from attnzoo import create
from attnzoo.cli.app import app

RUN = CliRunner()


def test_plan_and_cost_are_printed_and_agree() -> None:
    arguments = ["test_resnet", "se", "--where", "block", "--stages", "3,4", "--option", "rd_ratio=0.5"]
    result = RUN.invoke(app, ["attach", *arguments, "--image-size", "64"])
    assert result.exit_code == 0, result.stderr
    added = sum(p.numel() for c in (192, 96) for p in create("se", c, rd_ratio=0.5).parameters()) + 2
    assert "layer3.0" in result.stdout
    assert "layer2.0" not in result.stdout
    assert f"{added:,}" in result.stdout
    line = next(line for line in result.stdout.splitlines() if line.strip().startswith("parameters"))
    bare, attached = (int(part.replace(",", "")) for part in line.split() if part.replace(",", "").isdigit())
    assert attached - bare == added


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["no_such_model", "se"], "timm has no model"),
        (["test_resnet", "sse"], "did you mean"),
        (["test_resnet", "se", "--where", "nowhere"], "nowhere"),
        (["test_resnet", "se", "--option", "rd_ratio"], "NAME=VALUE"),
        (["test_resnet", "se", "--option", "rd_ratio=3"], "rd_ratio"),
        (["test_resnet", "dba"], "with_pyramid_head"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(arguments: list[str], sentence: str) -> None:
    result = RUN.invoke(app, ["attach", *arguments, "--image-size", "64"])
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_guided_layer_shows_its_plan() -> None:
    arguments = ["attach", "test_resnet", "difference_gate", "--image-size", "64", "--option", "num_maps=3"]
    result = RUN.invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    assert "layer4.0" in result.stdout
