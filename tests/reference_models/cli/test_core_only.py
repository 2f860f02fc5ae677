"""Every command with the core dependencies alone: it works, or names in one sentence what to install."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from PIL import Image

from reference_models.cli.app import app
from reference_models.training.recipes import RECIPES
from tests.reference_models.astronaut import photograph

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]
START = "import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p] + [{site!r}, {root!r}]; "


def closure(requirements: list[str]) -> set[str]:
    """Return the distributions that requirements need, without extras, as they are installed here."""
    found: set[str] = set()
    queue = list(requirements)
    while queue:
        requirement = queue.pop()
        name = re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower().replace("_", "-").replace(".", "-")
        if name in found or "extra ==" in requirement:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # needed on another system, or by another Python
            continue
        found.add(name)
        queue += distribution.requires or []
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the core dependencies, as links to what is installed, and nothing else."""
    folder = tmp_path_factory.mktemp("site")
    core = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for name in closure(core):
        distribution = metadata.distribution(name)
        tops = {path.parts[0] for path in distribution.files or () if path.parts[0] not in {"..", "__pycache__"}}
        for top in tops:
            place = folder / top
            if not place.exists():
                place.symlink_to(Path(str(distribution.locate_file(top))))
    assert not (folder / "lightning").exists()
    assert not (folder / "cv2").exists()
    return folder


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "faces").mkdir()
    Image.fromarray(photograph()).save(tmp_path / "faces/a.png")
    return tmp_path


def run(site: Path, here: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = START.format(site=str(site), root=str(ROOT)) + "from reference_models.cli.app import main; main()"
    command = [sys.executable, "-I", "-S", "-c", code, *arguments]
    return subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=170, check=False)


FACES, TRAIN = 'pip install "attnzoo[faces', 'pip install "attnzoo[train'
NEEDS: dict[tuple[str, ...], str | None] = {
    ("list",): None,
    ("folds", "own", "faces"): None,
    ("check-data", "own", "faces"): None,
    ("train", "cednn", "-o", "run"): TRAIN,
    ("eval", "model.safetensors"): TRAIN,
    ("claims", "-o", "claims"): TRAIN,
    ("export", "lla_net"): 'pip install "attnzoo[export]"',
    ("quantize", "model.safetensors", "-o", "int8.onnx"): 'pip install "attnzoo[export,train]"',
    ("predict", "faces/a.png", "--model", "model.safetensors"): FACES,
    ("prepare", "faces", "-o", "out"): FACES,
    ("difference", "faces/a.png", "faces/a.png"): FACES,
    ("look", "faces/a.png", "--model", "lla_net"): FACES,
    ("demo",): FACES,
    ("synth", "-o", "synthetic"): 'pip install "attnzoo[synth]"',
    ("ledger", "--json", "absent/ledger.json"): None,
}


def test_no_command_is_forgotten():
    names = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert names == {command[0] for command in NEEDS}


@pytest.mark.parametrize("arguments", NEEDS, ids=" ".join)
def test_it_works_or_names_the_extra_in_one_sentence(site: Path, here: Path, arguments: tuple[str, ...]):
    ended = run(site, here, *arguments)
    assert "Traceback" not in ended.stderr
    wanted = NEEDS[arguments]
    if wanted is None:
        assert "is not installed" not in ended.stderr
        return
    assert ended.returncode == 2, ended.stderr
    (sentence,) = ended.stderr.strip().splitlines()
    assert sentence.startswith("reference-models: ")
    assert wanted in sentence
    assert sorted(path.name for path in here.iterdir()) == ["faces"]


def test_every_recipe_is_known_without_an_extra(site: Path, here: Path):
    code = START.format(site=str(site), root=str(ROOT))
    code += "from reference_models.training.recipes import RECIPES; print(*RECIPES)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], cwd=here, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == list(RECIPES)
