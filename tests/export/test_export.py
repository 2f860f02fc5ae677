"""Exported files: they compute what the model does, at other shapes too, or they are not there."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import onnxruntime
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import attnzoo
from attnzoo import export_aoti, export_onnx, export_program
from attnzoo.export.exported import largest_difference
from tests.layers import cases

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = 1e-5


class Positions(nn.Module):
    """A network for one size, as with a position embedding, and with the paper's whole CBAM behind it."""

    def __init__(self, side: int = 8) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(1, 16, side, side))
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.cbam = attnzoo.CBAM(16)

    def forward(self, x: Tensor) -> Tensor:
        torch._assert(x.shape[2:] == self.embedding.shape[2:], f"Input height ({x.shape[2]}) doesn't match model")
        return self.cbam(self.conv(x) + self.embedding).mean((2, 3))


class Restless(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


def network() -> nn.Module:
    torch.manual_seed(4)
    model = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3))
    attnzoo.attach(model, "cbam", ["1", "3"], init="paper", example_inputs=torch.zeros(2, 3, 33, 33))
    return cases.randomise(model).eval()


def namespaces(program: torch.export.ExportedProgram) -> set[str]:
    """Return the libraries whose operators are called: aten is torch itself."""
    calls = [node.target for node in program.graph.nodes if node.op == "call_function"]
    return {call.namespace for call in calls if isinstance(call, torch._ops.OpOverload)}


def computed(path: Path, *arguments: Tensor) -> list[Tensor]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feed = {each.name: x.numpy() for each, x in zip(session.get_inputs(), arguments, strict=True)}
    return [torch.from_numpy(y) for y in session.run(None, feed)]


@pytest.mark.parametrize("name", attnzoo.list_layers())
def test_every_layer_becomes_a_program_of_torchs_own_operators(name: str, tmp_path: Path):
    info = attnzoo.layer_info(name)
    layer = cases.make(info, 12)
    exported = export_program(layer, cases.inputs(info, layer, 3, (8, 12)), tmp_path / "layer.pt2")
    assert exported.difference <= TOLERANCE
    assert exported.fixed == ()
    assert exported.tried == 4
    assert all(shape[0] == "batch" and shape[2].startswith("height") for shape in exported.inputs.values())
    program = torch.export.load(exported.path)
    assert namespaces(program) == {"aten"}
    arguments = cases.inputs(info, layer, 1, (20, 16))
    got, expected = program.module()(*arguments), layer(*arguments)
    for mine, theirs in zip(cases.leaves(got), cases.leaves(expected), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=TOLERANCE, atol=TOLERANCE)


def test_an_attached_model_in_onnxruntime_at_any_batch_and_size(tmp_path: Path):
    model = network()
    path = tmp_path / "model.onnx"
    exported = export_onnx(model, torch.rand(1, 3, 33, 33), path, metadata={"labels": ["AU1", "AU2"], "who": "me"})
    assert exported.inputs == {"input": ("batch", 3, "height", "width")}
    assert exported.outputs == ("output",)
    for shape in ((1, 3, 33, 33), (5, 3, 40, 57), (2, 3, 64, 31)):
        x = torch.randn(shape)
        with torch.no_grad():
            torch.testing.assert_close(computed(path, x), [model(x)], rtol=TOLERANCE, atol=TOLERANCE)
    written = onnx.load(path)
    said = {each.key: each.value for each in written.metadata_props}
    assert said == {"labels": '["AU1", "AU2"]', "who": "me", "attnzoo": attnzoo.__version__, "torch": torch.__version__}
    assert [axis.dim_param for axis in written.graph.input[0].type.tensor_type.shape.dim][2:] == ["height", "width"]
    assert str(ROOT).encode() not in path.read_bytes()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("layer", "gates"), [("se", 1), ("cbam", 2)])
def test_a_blended_gate_is_one_node_more(layer: str, gates: int, tmp_path: Path):
    """The product and the sum of a blend would be two, for each gate of each site."""
    nodes = {}
    for init in ("paper", "identity"):
        torch.manual_seed(4)
        model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3))
        attachment = attnzoo.attach(model, layer, ["1", "2"], init=init, example_inputs=torch.zeros(2, 3, 16, 16))
        for name, parameter in attachment.named_parameters():
            if name.endswith("blend"):
                nn.init.constant_(parameter, 0.3)
        x, path = torch.randn(3, 3, 16, 16), tmp_path / f"{init}.onnx"
        export_onnx(model.eval(), torch.zeros(2, 3, 16, 16), path)
        nodes[init] = len(onnx.load(path).graph.node)
        with torch.no_grad():
            torch.testing.assert_close(computed(path, x), [model(x)], rtol=TOLERANCE, atol=TOLERANCE)
    assert nodes["identity"] - nodes["paper"] == 2 * gates


def test_outputs_by_name_keep_their_names(tmp_path: Path):
    layer = attnzoo.create("region_mask", 4).eval()
    exported = export_onnx(layer, torch.rand(2, 4, 16, 12), tmp_path / "regions.onnx", dynamic=("batch",))
    assert exported.inputs == {"x": ("batch", 4, 16, 12)}
    assert exported.outputs == tuple(layer(torch.rand(1, 4, 16, 12)))
    assert exported.difference == 0


def test_a_program_runs_where_attnzoo_cannot_be_imported(tmp_path: Path):
    model = network()
    x = torch.randn(1, 3, 40, 57)
    export_program(model, torch.rand(2, 3, 33, 33), tmp_path / "model.pt2", metadata={"labels": ["a"]})
    with torch.no_grad():
        safetensors.torch.save_file({"x": x, "y": model(x)}, tmp_path / "values.safetensors")
    code = (
        "import sys; sys.modules['attnzoo'] = None\n"
        "import json, torch, safetensors.torch\n"
        "extra = {'attnzoo.json': ''}\n"
        "program = torch.export.load('model.pt2', extra_files=extra)\n"
        "values = safetensors.torch.load_file('values.safetensors')\n"
        "torch.testing.assert_close(program.module()(values['x']), values['y'], rtol=1e-5, atol=1e-5)\n"
        "print(json.loads(extra['attnzoo.json'])['labels'])\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, '["a"]\n'), done.stderr


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="AOTInductor compiles by g++")
def test_a_compiled_library_at_any_batch_and_size(tmp_path: Path):
    model = nn.Sequential(nn.Conv2d(3, 16, 3), attnzoo.SqueezeExcite(16)).eval()
    path = tmp_path / "model.pt2"
    exported = export_aoti(model, torch.rand(1, 3, 32, 32), path, metadata={"who": "me"})
    assert exported.inputs == {"input": ("batch", 3, "height", "width")}
    compiled = torch._inductor.aoti_load_package(str(path))
    assert compiled.get_metadata()["who"] == "me"
    for shape in ((1, 3, 33, 20), (4, 3, 32, 32)):
        x = torch.randn(shape)
        with torch.no_grad():
            torch.testing.assert_close(compiled(x), model(x), rtol=TOLERANCE, atol=TOLERANCE)


def test_a_fixed_size_is_said_in_the_models_words(tmp_path: Path):
    model = Positions().eval()
    exported = export_program(model, torch.rand(1, 3, 8, 8), tmp_path / "model.pt2")
    assert exported.fixed == ("the size is fixed at 8x8: Input height (16) doesn't match model",)
    assert exported.inputs == {"x": ("batch", 3, 8, 8)}
    x = torch.rand(5, 3, 8, 8)
    torch.testing.assert_close(torch.export.load(exported.path).module()(x), model(x))


def test_a_large_batch_is_no_limit_of_the_networks_fused_linear_layer(tmp_path: Path):
    class Linear(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return attnzoo.ops.linear(x, self.weight, self.bias)

    layer = Linear(6, 4).eval()
    exported = export_program(layer, torch.rand(2, 6), tmp_path / "linear.pt2")
    x = torch.rand(200, 6)
    torch.testing.assert_close(torch.export.load(exported.path).module()(x), layer(x))


@pytest.mark.parametrize("model", [Restless().eval(), network()], ids=["restless", "below what float32 can"])
def test_what_does_not_agree_is_not_written(model: nn.Module, tmp_path: Path):
    path = tmp_path / "model.pt2"
    path.write_text("older")
    with pytest.raises(ValueError, match=r"what torch computes differs from the model by \S+, and 1e-12 is allowed"):
        export_program(model, torch.rand(2, 3, 33, 33), path, tolerance=1e-12)
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]
    unchecked = export_program(model, torch.rand(2, 3, 33, 33), path, check=False)
    assert (unchecked.difference, unchecked.tried) == (None, 0)
    assert path.stat().st_size > 1000


@pytest.mark.parametrize(
    ("output", "difference"),
    [(1.0, 0.0), (3.0, 2.0), (math.nan, math.inf), (math.inf, math.inf)],
)
def test_the_largest_difference(output: float, difference: float):
    found = largest_difference(nn.Identity(), lambda _: [torch.full((2, 2), output)], [(torch.ones(2, 2),)])
    assert found == difference


def test_the_largest_difference_is_in_units_of_the_output_and_infinite_for_other_shapes():
    ones = (torch.full((2,), 10.0),)
    assert largest_difference(nn.Identity(), lambda _: [torch.full((2,), 11.0)], [ones]) == pytest.approx(0.1)
    assert largest_difference(nn.Identity(), lambda _: [torch.full((3,), 10.0)], [ones]) == math.inf


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"path": "model.pt"}, "the output model.pt must end in .pt2"),
        ({"path": "nowhere/model.pt2"}, "the output's folder nowhere does not exist"),
        ({"model": nn.Dropout()}, "model must be in evaluation, call model.eval.*: the model itself is training"),
        ({"example": torch.rand(1, 4, 8, 8)}, "the model does not take the example of 1x4x8x8: Given groups=1"),
        ({"dynamic": ("time",)}, "dynamic must be one of"),
        ({"tolerance": 0.0}, "tolerance must be above 0, got 0.0"),
    ],
)
def test_wrong_arguments_are_named(changes: dict, sentence: str, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {"model": nn.Conv2d(3, 4, 1).eval(), "example": torch.rand(1, 3, 8, 8), "path": "model.pt2", **changes}
    with pytest.raises(ValueError, match=sentence):
        export_program(given.pop("model"), given.pop("example"), given.pop("path"), **given)
    assert list(tmp_path.iterdir()) == []


def test_a_backend_that_was_asked_for_is_not_in_the_graph(tmp_path: Path):
    if not attnzoo.ops.backends()["native"].available:
        pytest.skip("the native kernels are not built")
    model = network()
    with attnzoo.ops.backend("native"):
        exported = export_program(model, torch.rand(2, 3, 33, 33), tmp_path / "model.pt2")
    assert namespaces(torch.export.load(exported.path)) == {"aten"}
