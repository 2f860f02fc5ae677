"""What fuzzing has found, each once and by hand: a damaged or hostile thing ends in one clear error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner, Result

import attnzoo
from attnzoo.cli.app import app
from attnzoo.cli.console import first_line
from attnzoo.cli.look import _read as read_photograph
from reference_models.data import read
from reference_models.label_order import read_labels
from reference_models.preparation.items import PreparationError
from reference_models.preparation.prepared import Prepared
from reference_models.training.checkpoint_io import FORMAT as STATE
from reference_models.training.checkpoint_io import SafeCheckpointIO
from reference_models.training.trained import FORMAT as MODEL
from reference_models.training.trained import RunRecord, read_model
from reference_models.weights import load_weights, read_weights
from tests.fuzz.readers import _RECIPE as RECIPE
from tests.fuzz.readers import READERS, _attachment


def rewritten(path: Path, change: Callable[[dict[str, str]], None]) -> Path:
    """Change the texts in the metadata of a safetensors file."""
    with safetensors.safe_open(path, "pt") as file:
        texts, tensors = dict(file.metadata()), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(texts)
    safetensors.torch.save_file(tensors, path, texts)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("3", "must say what its attachment is, got '3'"),
        ("{}", "does not say the version, layer, options, init, backbone, channels"),
    ],
)
def test_what_an_attachment_says_of_itself(tmp_path: Path, text: str, message: str):
    (path,) = READERS["attachment"].make(tmp_path)
    rewritten(path, lambda texts: texts.update(attnzoo=text))
    with pytest.raises(ValueError, match=message):
        _attachment().load(path)


def test_numbers_of_another_kind_are_no_attention():
    state = {name: tensor.to(torch.int32) for name, tensor in _attachment().state_dict().items()}
    with pytest.raises(ValueError, match=r"is torch\.int32, here torch\.float32"):
        _attachment().load_state_dict(state)


@pytest.mark.parametrize("dtype", [torch.int32, torch.complex64, torch.bool])
def test_numbers_of_another_kind_are_no_weights(dtype: torch.dtype):
    module = nn.Linear(2, 2)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    wrong = {name: tensor.to(dtype) for name, tensor in before.items()}
    with pytest.raises(ValueError, match=rf"2 of another kind of numbers: bias {dtype} instead of torch\.float32"):
        load_weights(module, wrong)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize(
    "tree", ["3", "[]", '["dict", 3]', '["list", [1]]', '["dict", [[["list", []], 1]]]', "[" * 9999]
)
def test_the_tree_of_a_training_state(tmp_path: Path, tree: str):
    path = tmp_path / "last.safetensors"
    safetensors.torch.save_file({"0": torch.zeros(1)}, path, {"format": STATE, "tree": tree})
    with pytest.raises(ValueError, match=r"last\.safetensors is damaged: "):
        SafeCheckpointIO().load_checkpoint(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"options": {"width": 10**7}}, "do not fit LLANet"),
        ({"options": {"nothing": 1}}, "its record says .*nothing"),
        ({"network": "none"}, "its record says 'none'"),
        ({"image_size": -1}, "image_size must be at least 1"),
        ({"labels": 3}, "its record says"),
        ({"name": ["lla-net"]}, "its record says"),
    ],
)
def test_the_record_of_a_trained_model(tmp_path: Path, change: dict, message: str):
    (path,) = READERS["trained model"].make(tmp_path)
    assert read_model(path).recipe.name == "lla-net"

    def spoil(texts: dict[str, str]) -> None:
        assert texts["format"] == MODEL
        run = json.loads(texts["run"])
        run["recipe"] |= change
        texts["run"] = json.dumps(run)

    with pytest.raises(ValueError, match=message):
        read_model(rewritten(path, spoil))


@pytest.mark.parametrize("content", [b"[]", b"{", b"{}", b'{"recipe": 3, "data": "data", "seed": 3}', b"\xff"])
def test_the_record_of_a_run(tmp_path: Path, content: bytes):
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"run\.json is no record of a run, or damaged"):
        RunRecord.of(RECIPE, "data", 3).claim(tmp_path)


@pytest.mark.parametrize("content", [b"\x80\x02e.", b"", b"PK\x03\x04", b"\x80\x04\x95", b"not a pickle"])
def test_pth_files_that_are_none(tmp_path: Path, content: bytes):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(ValueError, match=r"w\.pth holds no plain tensors or is damaged"):
        read_weights(tmp_path / "w.pth")


def test_weights_need_names(tmp_path: Path):
    torch.save({3: torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="not a state dict of tensors"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("numbers", ["3", "{}", '{"points": [1], "transform": [[1]], "center_row": "x"}', "[" * 9999])
def test_the_landmarks_of_a_prepared_face(tmp_path: Path, numbers: str):
    READERS["prepared faces"].make(tmp_path)
    (tmp_path / "out/points/a/b.png.json").write_text(numbers)
    with pytest.raises(PreparationError, match=r"b\.png\.json is damaged"):
        Prepared(tmp_path / "out")["a/b.png"]
    (tmp_path / "out/points/a/b.png.json").unlink()
    with pytest.raises(PreparationError, match=r"b\.png\.json cannot be read"):
        Prepared(tmp_path / "out")["a/b.png"]


@pytest.mark.parametrize("change", [{"identity": 3}, {"failures": [1]}, {"entries": {"\ud800": {}}}, {"entries": []}])
def test_the_manifest_of_a_preparation(tmp_path: Path, change: dict):
    READERS["prepared faces"].make(tmp_path)
    path = tmp_path / "out/manifest.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    with pytest.raises(PreparationError, match="damaged manifest or journal"):
        Prepared(tmp_path / "out")


def test_a_record_without_its_subject(tmp_path: Path):
    READERS["own"].make(tmp_path)
    path = tmp_path / "records.jsonl"
    path.write_text(path.read_text().replace('"subject": "anna"', '"subject": null'))
    findings = read("own", tmp_path, incomplete=True).findings
    assert [finding.text for finding in findings] == [f"line {n}: a record must have subject" for n in (1, 2)]


def test_labels_of_no_task(tmp_path: Path):
    (path,) = READERS["labelled weights"].make(tmp_path)
    rewritten(path, lambda texts: texts.update(labels='{"task": [], "names": ["AU1"]}'))
    with pytest.raises(ValueError, match="damaged labels: task and names must be texts"):
        read_labels(path)


def test_attnzoo_look_starts_no_interpreter_for_a_photograph(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(ValueError, match="is no image that can be read"):
        read_photograph(tmp_path / "a.png")


def test_sparse_maps_are_refused():
    with pytest.raises(TypeError, match=r"x must be a dense tensor \(torch\.strided\), got torch\.sparse_coo"):
        attnzoo.CBAM(4)(torch.ones(1, 4, 2, 2).to_sparse())


def called(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def test_a_regular_expression_that_is_none():
    result = called("attach", "test_resnet", "se", "--where", "re:(", "--image-size", "64")
    assert result.exit_code == 2
    assert "where: 're:(' is no regular expression: missing )" in result.stderr


def test_pretrained_weights_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    result = called("look", str(tmp_path / "photo.png"), "test_vit3", "--pretrained")
    assert result.exit_code == 2
    assert "timm cannot make 'test_vit3': " in result.stderr


def test_an_error_without_a_message_has_a_name():
    assert first_line(AssertionError()) == "AssertionError"
    assert first_line(ValueError("\n one\ntwo")) == "one"
