"""The ``attnzoo`` command: what it prints, and one sentence with exit code 2 for wrong input."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest
import torch
from typer.testing import CliRunner, Result

import attnzoo
from attnzoo.cli.app import app


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"}, catch_exceptions=False)


def test_version():
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"attnzoo {metadata.version('attnzoo')}\n")


def test_list_has_every_layer_with_its_facts():
    result = run("list")
    assert result.exit_code == 0
    for name in attnzoo.list_layers():
        info = attnzoo.layer_info(name)
        (line,) = [line for line in result.stdout.splitlines() if line.split()[:1] == [name]]
        assert info.kind in line
        assert info.paper[:20] in line


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--kind", "pyramid"], ["dba"]),
        (["--filter", "c*"], ["cbam"]),
        (["--filter", "timm/ec*"], ["timm/eca", "timm/ecam"]),
    ],
)
def test_list_narrowed(arguments, expected):
    rows = run("list", *arguments).stdout.splitlines()[3:]
    assert [row.split()[0] for row in rows if row[2:3].strip()] == expected


def test_info_shows_facts_arguments_with_defaults_and_documentation():
    result = run("info", "cbam")
    assert result.exit_code == 0
    for text in (
        "kind                  unary",
        attnzoo.layer_info("cbam").paper,
        "CBAM(\n    channels: int,\n    *,\n    rd_ratio: float = 0.0625,\n",
        "    norm_layer: Callable[..., nn.Module] | None = BatchNorm2d,\n",
        attnzoo.layer_info("cbam").exceptions["train_one_value"],
        "kernel_size: Odd kernel of the spatial gate.",
    ):
        assert text in result.stdout


def test_info_of_a_users_own_layer_without_documentation(own_layers):
    @attnzoo.register("mine", kind="unary", paper="none", summary="mine", keeps=())
    class Mine(torch.nn.Module):
        def __init__(self, channels, scale=2.0):
            super().__init__()

    assert run("info", "mine").stdout.endswith(
        "keeps    nothing of the input\n\nMine(\n    channels,\n    scale = 2.0,\n)\n"
    )


def test_info_of_timms():
    assert "EcaModule(" in run("info", "timm/eca").stdout


def test_cost_is_that_of_the_function():
    import timm

    model = timm.create_model("test_resnet", num_classes=5)
    measured = attnzoo.cost(model, torch.zeros(1, 3, 32, 32))
    result = run("cost", "test_resnet", "--image-size", "32", "--num-classes", "5", "--layers")
    assert result.exit_code == 0
    for convention, figure in measured.rows():
        assert f"  {convention} " in result.stdout
        assert f" {figure} " in result.stdout
    assert "test_resnet, input 1x3x32x32" in result.stdout
    assert all(f" {layer.name} " in result.stdout for layer in measured.layers)


def test_cost_takes_the_models_own_image_size_and_explains():
    result = run("cost", "test_vit2", "--explain")
    assert "test_vit2, input 1x3x160x160" in result.stdout
    assert "two per multiply-add" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["info", "cbm"], "no layer named 'cbm'; did you mean cbam?"),
        (["info", "timm/ecca"], "timm has no attention 'ecca'; did you mean eca"),
        (["list", "--kind", "unry"], "kind must be one of"),
        (["list", "--filter", "zz*", "--kind", "unary"], "no layer matches --filter 'zz*' --kind unary"),
        (["cost", "test_resnt"], "timm has no model 'test_resnt'; did you mean test_resnet"),
        (["cost", "test_resnet.no_such_tag"], "timm cannot make 'test_resnet.no_such_tag'"),
        (["cost", "test_vit", "--image-size", "100"], "test_vit does not run on images of 100x100: Input height"),
    ],
)
def test_wrong_input_is_one_sentence_and_code_2(arguments, sentence):
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"attnzoo: {sentence}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["lst"], "No such command"),
        (["info"], "Missing argument"),
        (["list", "--sort"], "No such option: --sort"),
        (["cost", "test_vit", "--image-size", "0"], "Invalid value for '--image-size'"),
    ],
)
def test_wrong_usage_is_code_2(arguments, sentence):
    result = run(*arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", [[], ["list"], ["info"], ["cost"]])
def test_help_has_examples(command):
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert f"attnzoo {' '.join(command) or 'info'} " in result.stdout.replace("attnzoo list\n", "attnzoo list ")


def test_fresh_process_loads_nothing_heavy_and_exits_with_2():
    script = (
        "import sys\n"
        "from attnzoo.cli import main\n"
        "print(sorted({'timm', 'torchvision', 'fvcore', 'triton', 'cv2', 'dlib'} & set(sys.modules)))\n"
        "sys.argv = ['attnzoo', 'info', 'nope']\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == "[]\n"
    assert done.stderr.startswith("attnzoo: no layer named 'nope'")
