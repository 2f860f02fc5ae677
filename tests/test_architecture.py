"""The architecture, held over the source's own syntax: who imports whom, what is never written, how long a file is."""

from __future__ import annotations

import ast
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ["attnzoo", "reference_models"]
TREES = [*PACKAGES, "benchmarks", "docs", "tests"]
"""All trees, the lowest first: none imports a later one."""
HEAVY = ["cv2", "dlib", "fvcore", "timm", "torchvision", "triton", "typer"]
LAYERS = "attnzoo.layers."


def sources(*trees: str) -> list[Path]:
    return sorted(path for tree in trees for path in (ROOT / tree).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, *, lazy: bool = True) -> Iterator[str]:
    """Yield ``module`` and ``module.name`` for each import; without ``lazy`` only those that run at import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    queue: list[ast.AST] = [tree]
    while queue:
        node = queue.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module_name(path).split(".")
            package = package if path.name == "__init__.py" else package[:-1]
            base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            base = base if node.level else node.module
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            queue += node.orelse
            continue
        if lazy or not isinstance(node, inside):
            queue += ast.iter_child_nodes(node)


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


# What a part of attnzoo may import of attnzoo, besides itself. Whatever is not listed here is the application's side
# (attach, recorder, cost, cli), which uses the registry and never a concrete layer; public gathers all.
MAY_IMPORT = {
    "attnzoo.kernels": ["attnzoo.checks"],
    "attnzoo.checks": [],
    "attnzoo.kinds": [],
    "attnzoo.timm_layers": [],
    "attnzoo.registry": ["attnzoo.kinds", "attnzoo.timm_layers"],
    "attnzoo.ops": ["attnzoo.checks", "attnzoo.kernels"],
    "attnzoo.layer": [],
    "attnzoo.layers": ["attnzoo.checks", "attnzoo.layer", "attnzoo.ops", "attnzoo.registry"],
}


@pytest.mark.parametrize("path", sources("attnzoo"), ids=module_name)
def test_attnzoo_imports_only_downwards(path: Path):
    module = module_name(path)
    part = next((part for part in MAY_IMPORT if within(module, part)), None)
    for name in imports(path):
        if not within(name, "attnzoo") or name == "attnzoo" or (part and within(name, part)):
            continue
        if part is not None:
            assert within(name, *MAY_IMPORT[part]), f"{module} may not import {name}"
        elif module != "attnzoo.public":
            assert not within(name, "attnzoo.layers", "attnzoo.kernels"), f"{module} may not import {name}"


@pytest.mark.parametrize("path", sources("attnzoo/layers"), ids=module_name)
def test_a_layer_imports_no_other_layer(path: Path):
    if path.name != "__init__.py":
        assert not [name for name in imports(path) if within(name, "attnzoo.layers")]


@pytest.mark.parametrize("path", sources("attnzoo/ops"), ids=module_name)
def test_kernels_are_imported_lazily(path: Path):
    assert not [name for name in imports(path, lazy=False) if within(name, "attnzoo.kernels")]


def loaded_by(module: str) -> set[str]:
    """Return the modules of attnzoo that importing ``module`` loads, itself and the packages around them included."""
    files = {module_name(path): path for path in sources("attnzoo")}
    loaded: set[str] = set()
    queue = [module]
    while queue:
        name = queue.pop()
        if name in files and name not in loaded:
            loaded.add(name)
            queue += [name.rpartition(".")[0], *imports(files[name], lazy=False)]
    return loaded


def test_what_import_attnzoo_loads_imports_nothing_heavy():
    loaded = loaded_by("attnzoo.public")
    assert {"attnzoo", "attnzoo.registry", "attnzoo.layers.cbam", "attnzoo.ops.gates.apply_gates"} <= loaded
    for path in sources("attnzoo"):
        if module_name(path) in loaded:
            heavy = [name for name in imports(path, lazy=False) if within(name, *HEAVY)]
            assert not heavy, f"{module_name(path)} imports {heavy} when it is imported itself"


@pytest.mark.parametrize("path", sources(*TREES), ids=module_name)
def test_no_tree_imports_a_later_one(path: Path):
    tree = path.relative_to(ROOT).parts[0]
    assert not [name for name in imports(path) if within(name, *TREES[TREES.index(tree) + 1 :])]


def test_no_files_import_each_other_in_a_circle():
    """Imports inside functions count as well; those that only a type checker reads do not."""
    files = {module_name(path): path for path in sources(*TREES)}
    graph = {}
    for name, path in files.items():
        named = [*imports(path)]
        # "from package import module" names the package too, whose own file is not what is meant
        packages = {other.rpartition(".")[0] for other in named if other in files}
        graph[name] = {other for other in named if other in files and other not in packages} - {name}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("path", sources(*TREES), ids=module_name)
def test_no_function_is_over_60_lines(path: Path):
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    lengths = {
        node.name: node.end_lineno - node.lineno + 1
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, functions)
    }
    assert not {name: length for name, length in lengths.items() if length > 60}


PUBLIC_MODULES = (
    *(
        "attnzoo",
        "attnzoo.attach",
        "attnzoo.checks",
        "attnzoo.costs",
        "attnzoo.extras",
        "attnzoo.files",
        "attnzoo.ops",
        "attnzoo.ops.igc",
    ),
    "attnzoo.pages",
)
INSIDERS = {
    "benchmarks.speed.gate_call",  # it takes the time of the kernel alone
    "benchmarks.robustness.sanitize",  # it builds the kernels anew, one instruction set after the other
    "benchmarks.sweeps.attach_model",  # it proves site finding itself
    "benchmarks.triton.cases",  # it launches the kernels themselves
}


def public_names() -> set[str]:
    """Return the public modules and what they list in ``__all__``."""
    names = {*PUBLIC_MODULES, "attnzoo.__version__"}
    for module in map(importlib.import_module, PUBLIC_MODULES):
        names |= {f"{module.__name__}.{name}" for name in module.__all__}
    return names


USERS = [path for path in sources("reference_models", "benchmarks") if module_name(path) not in INSIDERS]


@pytest.mark.parametrize("path", USERS, ids=module_name)
def test_users_of_attnzoo_take_public_names_only(path: Path):
    private = [name for name in imports(path) if within(name, "attnzoo") and name not in public_names()]
    assert not private, f"{module_name(path)} imports {private}, which attnzoo does not publish"


@pytest.mark.parametrize("path", sources("tests/oracles"), ids=module_name)
def test_oracles_import_torch_only(path: Path):
    allowed = ["__future__", "typing", "collections", "torch", "tests.oracles"]
    assert not [name for name in imports(path) if not within(name, *allowed)]


@pytest.mark.parametrize("path", sources(*TREES), ids=module_name)
def test_no_file_is_over_400_lines(path: Path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", sources(*TREES), ids=module_name)
def test_no_drawer_is_called_utils_or_common(path: Path):
    assert not {"utils", "util", "common", "helpers", "misc"} & {*path.relative_to(ROOT).parts, path.stem}


@pytest.mark.parametrize("path", sources(*PACKAGES), ids=module_name)
def test_nothing_forbidden_is_written(path: Path):
    """No assert for a user's error, no except that catches everything, no unpickling of somebody's file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assert):
            found.append(f"line {node.lineno}: assert")
        elif isinstance(node, ast.ExceptHandler) and _is_broad(node.type):
            found.append(f"line {node.lineno}: except {'' if node.type is None else ast.unparse(node.type)}")
        elif isinstance(node, ast.Call) and _unpickles(node):
            found.append(f"line {node.lineno}: {ast.unparse(node.func)}")
    assert not found


def _is_broad(caught: ast.expr | None) -> bool:
    if caught is None:
        return True
    each = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return bool({ast.unparse(one) for one in each} & {"Exception", "BaseException"})


def _unpickles(call: ast.Call) -> bool:
    function = ast.unparse(call.func)
    if function in {"pickle.load", "pickle.loads", "joblib.load"}:
        return True
    keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if function.endswith("load_state_dict_from_url") or function == "torch.load":
        return keywords.get("weights_only") != "True"
    return "allow_pickle" in keywords and keywords["allow_pickle"] != "False"


@pytest.mark.parametrize(
    ("code", "broad"),
    [
        ("except Exception: pass", True),
        ("except: pass", True),
        ("except (OSError, Exception): pass", True),
        ("except (OSError, ValueError): pass", False),
        ("except ExceptionGroup: pass", False),
    ],
)
def test_the_rule_on_except_sees_what_it_should(code: str, broad: bool):
    (handler,) = ast.parse(f"try:\n    pass\n{code}").body[0].handlers
    assert _is_broad(handler.type) == broad


@pytest.mark.parametrize(
    ("code", "unpickles"),
    [
        ("torch.load(f)", True),
        ("torch.load(f, weights_only=False)", True),
        ("torch.load(f, weights_only=True)", False),
        ("hub.load_state_dict_from_url(u)", True),
        ("np.load(f, allow_pickle=True)", True),
        ("json.load(f)", False),
    ],
)
def test_the_rule_on_unpickling_sees_what_it_should(code: str, unpickles: bool):
    assert _unpickles(ast.parse(code, mode="eval").body) == unpickles


def fresh_process(code: str) -> str:
    """Run ``code`` in a new interpreter, away from this one's imports, and return what it prints."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COV_")}
    environment["PYTHONPATH"] = str(ROOT)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_works_with_every_heavy_package_blocked_and_touches_no_cuda():
    """Blocked, not only absent afterwards: an import in a try block would fail here too."""
    said = fresh_process(f"""
import importlib.abc, json, sys
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            raise AssertionError("import of " + name)
import torch
before = set(sys.modules)
sys.meta_path.insert(0, Block())
import attnzoo
attnzoo.create("cbam", 8)(torch.zeros(1, 8, 4, 4))
print(json.dumps([sorted(set(sys.modules) - before), torch.cuda.is_initialized()]))
""")
    loaded, cuda = json.loads(said)
    names = {name.partition(".")[0] for name in loaded}
    assert "attnzoo" in names
    assert not names & {*HEAVY, "reference_models", "tests", "benchmarks"}
    assert not cuda


def test_import_adds_under_100_ms_to_torch():
    """Processor time of a fresh process, which other processes do not lengthen by waiting; the best of up to five.

    The first leaves the bytecode that an installed package has.
    """
    code = "import time, torch; t = time.process_time(); import attnzoo; attnzoo.CBAM; print(time.process_time() - t)"
    seconds: list[float] = []
    while len(seconds) < 5 and min(seconds, default=1.0) >= 0.1:
        seconds.append(float(fresh_process(code)))
    assert min(seconds) < 0.1, f"import attnzoo adds {min(seconds) * 1e3:.0f} ms to import torch"
