"""Every reader of files, with good files for it and the exceptions that it documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import safetensors.torch
import timm
import torch
from PIL import Image
from scipy.io import savemat
from torch import nn

import attnzoo
from attnzoo.cli.look import _read as read_photograph
from reference_models.data import DataError, Finding, Labels, read
from reference_models.data.check import open_everything
from reference_models.data.folding import manifest_of
from reference_models.data.landmark_files import read_landmarks
from reference_models.data.manifest import read_manifest
from reference_models.faces.given import LandmarkError, read_points
from reference_models.faces.images import ImageError, read_image
from reference_models.label_order import load_labelled, save_labelled
from reference_models.preparation.items import Item, PreparationError, with_listed_neutrals
from reference_models.preparation.prepared import Prepared
from reference_models.training.checkpoint_io import SafeCheckpointIO
from reference_models.training.networks import build
from reference_models.training.recipes import RECIPES
from reference_models.training.trained import RunRecord, read_model, write_model
from reference_models.weights import load_weights, read_weights
from tests.fuzz.mutations import mutated
from tests.reference_models.data import trees


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
        make: Writes good files into a folder and returns those that are made wrong.
        read: Reads what is in the folder; the second argument is the file that was made wrong.
        documented: What it may raise.
    """

    make: Callable[[Path], list[Path]]
    read: Callable[[Path, Path], object]
    documented: tuple[type[Exception], ...]

    def __call__(self, folder: Path, paths: list[Path], seed: int) -> str:
        """Make one of the files wrong, read, and make it good again; return what was found wrong, or nothing.

        Raises:
            Exception: Whatever is not documented.
        """
        random = Random(seed)  # noqa: S311 - to break files, not to keep secrets
        path = random.choice(paths)
        whole = path.read_bytes()
        path.write_bytes(mutated(whole, path.suffix.lower(), random))
        try:
            findings = self.read(folder, path)
        except self.documented as error:
            return str(error) or repr(error)
        finally:
            path.write_bytes(whole)
        return str(findings) if isinstance(findings, list) and findings else ""


def _pictures(folder: Path) -> list[Path]:
    pixels = np.random.default_rng(1).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    paths = [folder / f"a.{suffix}" for suffix in ("png", "jpg", "tif", "gif", "webp", "bmp", "ppm")]
    exif = Image.Exif()
    exif[0x0112] = 6
    for path in paths:
        Image.fromarray(pixels).save(path, **({"exif": exif} if path.suffix in {".jpg", ".tif", ".webp"} else {}))
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 200).save(folder / "b.png")
    Image.fromarray(pixels).save(folder / "c.tif", compression="tiff_lzw")
    return [*paths, folder / "b.png", folder / "c.tif"]


def _landmarks(folder: Path) -> list[Path]:
    lines = [f"{x} {x / 3:.4e}" for x in range(68)]
    trees.text(folder / "a.txt", "\n".join(lines))
    trees.text(folder / "a.csv", "\n".join(lines).replace(" ", ","))
    trees.text(folder / "a.pts", "version: 1\nn_points: 68\n{\n" + "\n".join(lines) + "\n}\n")
    for name, compressed in (("a.mat", False), ("b.mat", True)):
        savemat(folder / name, {"pts": np.arange(132.0).reshape(66, 2)}, do_compression=compressed)
    return [folder / name for name in ("a.txt", "a.csv", "a.pts", "a.mat", "a.mat", "b.mat")]


def _dataset(name: str, make: Callable[[Path], object], *patterns: str) -> Reader:
    def made(folder: Path) -> list[Path]:
        make(folder)
        return sorted({path for pattern in patterns for path in folder.rglob(pattern)})

    def reads(folder: Path, path: Path) -> list[Finding]:
        reading = read(name, folder, incomplete=True)
        opened = [] if path.suffix in {".txt", ".csv", ".jsonl"} else open_everything(reading, lambda _: None)
        return [*reading.findings, *opened]

    return Reader(made, reads, (DataError,))


def _own(folder: Path) -> None:
    trees.picture(folder / "anna/a.png")
    trees.picture(folder / "anna/b.png")
    known = {"subject": "anna", "sequence": "anna", "units": [1, 12]}
    rest = {"neutral": "anna/a.png", "box": [0, 0, 4, 4], "expression": "fear"}
    rows = (
        {"image": "anna/a.png", "frame": 1, "levels": [0, 0]},
        {"image": "anna/b.png", "frame": 2, "levels": [0, 4]},
    )
    trees.text(folder / "records.jsonl", "\n".join(json.dumps({**known, **row, **rest}) for row in rows))


def _manifest(folder: Path) -> list[Path]:
    trees.raf_db(folder / "raf")
    asked = {"selection": "validation", "threshold": None, "count": 2, "seed": 0, "incomplete": True}
    manifest_of("raf-db", folder / "raf", **asked)[0].write(folder / "folds.json")
    return [folder / "folds.json"]


def _prepared(folder: Path) -> list[Path]:
    from reference_models.preparation.store import Entry, Store, write_result

    store = Store(folder / "out", {"format": 1, "recipe": {"size": 8}})
    files = {}
    for kind in ("faces", "levels"):
        path = trees.picture(folder / f"{kind}.png")
        files[f"{kind}/a/b.png.png"] = write_result(folder / "out", f"{kind}/a/b.png.png", path.read_bytes())
    numbers = '{"points": [[1, 2], [3, 4]], "transform": [[1, 0, 0], [0, 1, 0]], "center_row": 3.5}'
    files["points/a/b.png.json"] = write_result(folder / "out", "points/a/b.png.json", numbers.encode())
    store.keep("a/b.png", Entry("x", "one", files))
    store.finish({"bad.png": "it is damaged"})
    out = folder / "out"
    journal = out / "journal.jsonl"
    lines = ({"identity": {"format": 1}}, {"name": "a", "entry": {"cache": "x", "outcome": "one", "files": {}}})
    journal.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    journal.rename(folder / "journal.jsonl")
    return [out / "manifest.json", out / "manifest.json", out / "points/a/b.png.json", out / "faces/a/b.png.png"]


def _read_prepared(folder: Path, path: Path) -> None:
    prepared = Prepared(folder / "out")
    for name in prepared:
        face = prepared[name]
        if face.levels is not None:
            attnzoo.threshold_maps(torch.from_numpy(face.levels.copy())[None, None])


def _journal(folder: Path) -> list[Path]:
    _prepared(folder)
    (folder / "journal.jsonl").rename(folder / "out/journal.jsonl")
    return [folder / "out/journal.jsonl"]


def _state(folder: Path) -> list[Path]:
    state = {"epoch": 3, "rate": 0.5, "state_dict": {"a": torch.ones(2)}, "pairs": [(1, "x"), None], 7: {"b": True}}
    SafeCheckpointIO().save_checkpoint(state, folder / "last.safetensors")
    return [folder / "last.safetensors"]


_RECIPE = RECIPES["lla-net"].changed(image_size=32, options={"width": 2})


def _model(folder: Path) -> list[Path]:
    record = RunRecord.of(_RECIPE, "data", 3)
    write_model(build(_RECIPE), record, {"f1": 0.5}, folder / "model.safetensors")
    return [folder / "model.safetensors"]


def _run(folder: Path) -> list[Path]:
    RunRecord.of(_RECIPE, "data", 3).claim(folder)
    return [folder / "run.json"]


def _linear() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def _weights(folder: Path) -> list[Path]:
    state = _linear().state_dict()
    safetensors.torch.save_file(state, folder / "w.safetensors")
    torch.save({"state_dict": state}, folder / "w.pth")
    torch.save(state, folder / "old.pt", _use_new_zipfile_serialization=False)
    return [folder / name for name in ("w.safetensors", "w.pth", "old.pt")]


def _labelled(folder: Path) -> list[Path]:
    save_labelled(_linear(), folder / "w.safetensors", Labels.of_units((1, 2)))
    return [folder / "w.safetensors"]


@cache
def _attachment() -> attnzoo.Attachment:
    model = timm.create_model("test_resnet", num_classes=5)
    return attnzoo.attach(model, "cbam", "stage", example_inputs=torch.randn(2, 3, 64, 64))


def _attached(folder: Path) -> list[Path]:
    _attachment().save(folder / "a.safetensors")
    return [folder / "a.safetensors"]


def _neutrals(folder: Path) -> list[Path]:
    trees.text(folder / "neutral.csv", "image,neutral\na.png,b.png\nc.png,b.png\n")
    return [folder / "neutral.csv"]


READERS: dict[str, Reader] = {
    "image": Reader(_pictures, lambda _, path: read_image(path), (ImageError,)),
    "image of attnzoo look": Reader(_pictures, lambda _, path: read_photograph(path), (ValueError,)),
    "landmarks": Reader(_landmarks, lambda _, path: read_points(path), (LandmarkError,)),
    "landmarks of a dataset": Reader(_landmarks, lambda _, path: read_landmarks(path), (DataError,)),
    "disfa": _dataset("disfa", lambda root: trees.disfa(root, 3, ["SN001", "SN031"]), "*.txt", "*0001_lm.mat"),
    "disfa+": _dataset("disfa+", trees.disfa_plus, "AU1*.txt"),
    "ck+": _dataset("ck+", trees.ck_plus, "*_facs.txt", "*_emotion.txt", "*_00000001*"),
    "raf-db": _dataset("raf-db", trees.raf_db, "*.txt", "*_aligned.jpg"),
    "aff-wild2": _dataset("aff-wild2", trees.aff_wild2, "*.txt"),
    "affectnet": _dataset("affectnet", trees.affect_net, "*.csv"),
    "own": _dataset("own", _own, "*.jsonl"),
    "manifest of folds": Reader(_manifest, lambda _, path: read_manifest(path), (DataError,)),
    "prepared faces": Reader(_prepared, _read_prepared, (PreparationError, ImageError)),
    "journal of a preparation": Reader(_journal, _read_prepared, (PreparationError, ImageError)),
    "training state": Reader(_state, lambda _, path: SafeCheckpointIO().load_checkpoint(path), (ValueError,)),
    "trained model": Reader(_model, lambda _, path: read_model(path), (ValueError,)),
    "record of a run": Reader(_run, lambda root, _: RunRecord.of(_RECIPE, "data", 3).claim(root), (ValueError,)),
    "weights": Reader(_weights, lambda _, path: load_weights(_linear(), read_weights(path)), (ValueError,)),
    "labelled weights": Reader(
        _labelled, lambda _, path: load_labelled(_linear(), path, Labels.of_units((1, 2))), (ValueError,)
    ),
    "attachment": Reader(_attached, lambda _, path: _attachment().load(path), (ValueError,)),
    "list of neutral frames": Reader(
        _neutrals,
        lambda _, path: with_listed_neutrals([Item(f"{name}.png") for name in "abc"], path),
        (PreparationError,),
    ),
}
