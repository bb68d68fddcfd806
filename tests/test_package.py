"""The package as a whole: what imports what, what an installed copy holds, and that the README's commands are real."""

import ast
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "minigan").rglob("*.py"))

COMMANDS = {"train", "sample", "evaluate", "report", "classifier"}
# What the files of a folder may import beside each other. A file at the top that is no command is a plain file; plain
# files may import plain files only. Nobody imports a command.
FLOORS = {
    "data": {"plain"},
    "metrics": {"plain", "data"},
    "runs": {"plain", "fast", "data", "metrics"},
    "pictures": {"plain", "data", "metrics", "runs"},
    "fast": {"plain"},
    "zoo": {"plain", "data", "metrics", "pictures"},
    "commands": {"plain", "fast", "data", "metrics", "runs", "pictures", "zoo"},
    "plain": set(),
}

MOST_LINES, MOST_COLUMNS = 400, 100


def floor_of(module):
    """The folder that a module of the package stands in, "commands" or "plain"."""
    first, *more = module.split(".")[1:]
    if (ROOT / "minigan" / first).is_dir():
        return first
    return "commands" if first in COMMANDS | {"__main__"} else "plain"


def imports_of(tree):
    """(name of what is imported, the node) for each import anywhere in the file; `from minigan import x` is x."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            if node.module == "minigan":
                yield from ((f"minigan.{alias.name}", node) for alias in node.names if alias.name != "__version__")
            else:
                yield node.module, node


@cache
def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.fixture(params=SOURCES, ids=lambda path: ".".join(path.relative_to(ROOT).with_suffix("").parts[1:]))
def source(request):
    """(the name below the package, the tree) of each file: `train`, `data.files`, `data` for its __init__."""
    parts = request.param.relative_to(ROOT).with_suffix("").parts[1:]
    name = ".".join(parts).removesuffix(".__init__")
    return name, parsed(request.param)


def test_every_folder_with_code_has_its_floor():
    folders = {path.parent.name for path in SOURCES} - {"minigan"}
    assert folders <= FLOORS.keys()
    assert all((ROOT / "minigan" / folder / "__init__.py").exists() for folder in folders)
    assert COMMANDS <= {path.stem for path in SOURCES if path.parent.name == "minigan"}


def test_floors_have_an_order():
    """No two folders may import each other, however many lie between them."""
    below, left = set(), dict(FLOORS)
    while left:
        free = {folder for folder, allowed in left.items() if allowed <= below}
        assert free, left
        below |= free
        left = {folder: allowed for folder, allowed in left.items() if folder not in free}


def test_a_file_imports_only_from_the_floors_it_may(source):
    name, tree = source
    if name == "__init__":  # the package: it gathers the public names, and switches the fast engine on
        allowed = FLOORS["commands"] - {"zoo"}
    else:
        floor = floor_of(f"minigan.{name}")
        allowed = FLOORS[floor] | ({floor} - {"commands"})
    ours = [module for module, _ in imports_of(tree) if module.split(".")[0] == "minigan"]
    assert [module for module in ours if floor_of(module) not in allowed] == []


def test_no_file_imports_one_that_imports_it():
    """Not through others either, and folders' __init__ files aside, which gather names."""
    files = {path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): path for path in SOURCES
             if path.name != "__init__.py"}
    above = {}
    for name, path in files.items():
        above[name] = set()
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ImportFrom):
                above[name] |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)} & files.keys()
    while above:
        free = [name for name, needed in above.items() if not needed & above.keys()]
        assert free, above
        above = {name: needed for name, needed in above.items() if name not in free}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT / "minigan").as_posix())
def test_a_file_is_short_and_narrow(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MOST_LINES
    assert [i for i, line in enumerate(lines, 1) if len(line) > MOST_COLUMNS] == []


LATER = """
import sys
import minigan as mg
assert not [name for name in sys.modules if name.startswith(("minigan.data", "minigan.metrics", "minigan.pictures",
                                                             "minigan.runs", "matplotlib"))]
names = "data", "metrics", "latent", "graph", "laboratory", "plots", "load"
assert {*names, "ops", "grad", "Tensor", "__version__"} <= {*dir(mg)}
for name in names:
    found = getattr(mg, name)
    assert getattr(mg, name) is found and found.__name__.rpartition(".")[2] == name, found
    assert (name == "load") == callable(found)
assert mg.load.__module__ == "minigan.runs.models"
assert not hasattr(mg, "nothing")
try:
    mg.nothing
except AttributeError as error:
    assert str(error) == "module 'minigan' has no attribute 'nothing'"
"""


def test_what_a_run_needs_is_imported_when_it_is_asked_for():
    end = subprocess.run([sys.executable, "-c", LATER], cwd=ROOT, capture_output=True, text=True)
    assert end.returncode == 0, end.stderr


def test_modules_of_the_package_are_imported_at_the_top_only(source):
    _, tree = source
    inside = [module for function in ast.walk(tree) if isinstance(function, (ast.FunctionDef, ast.Lambda, ast.ClassDef))
              for module, _ in imports_of(function) if module.startswith("minigan")]
    assert inside == (["minigan.fast"] if source[0] == "fast.native" else [])  # `compiling`, with the first kernel


def test_only_plots_examples_and_the_laboratory_draw_and_only_files_reads_pictures(source):
    name, tree = source
    found = {module.split(".")[0] for module, _ in imports_of(tree)} & {"matplotlib", "PIL"}
    assert found <= {"pictures.plots": {"matplotlib", "PIL"}, "pictures.laboratory": {"matplotlib"},
                     "pictures.examples": {"matplotlib", "PIL"},  # its font and its letters
                     "data.files": {"PIL"}}.get(name, set())
    top = {module.split(".")[0] for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))
           for module, _ in imports_of(node)}
    assert not top & {"matplotlib", "PIL"}, "imported before a picture is drawn"


def test_numpy_and_what_draws_are_all_that_is_needed(source):
    name, tree = source
    others = {module.split(".")[0] for module, _ in imports_of(tree)} - set(sys.stdlib_module_names) - {"minigan"}
    assert others <= {"numpy", "matplotlib", "PIL"} | ({"cupy"} if name == "backend" else set())


def test_there_is_no_pickle(source):
    _, tree = source
    forbidden = {"pickle", "_pickle", "dill", "shelve", "marshal"}
    assert not {module.split(".")[0] for module, _ in imports_of(tree)} & forbidden
    for call in ast.walk(tree):
        if isinstance(call, ast.Call):
            options = {keyword.arg: keyword.value for keyword in call.keywords}
            if "allow_pickle" in options:
                assert options["allow_pickle"].value is False
            called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            owner = getattr(getattr(call.func, "value", None), "id", "")
            if owner in ("np", "numpy", "npy") and called in ("load", "read_array"):
                assert "allow_pickle" in options, "NumPy's default is safe today; say it"


# Installed

def copied(copy):
    """A copy of the sources, so that nothing is left behind in the repository by what is built from them."""
    for name in ("minigan", "setup.cfg", "pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    copy = copied(tmp_path_factory.mktemp("source"))
    out = tmp_path_factory.mktemp("wheel")
    arguments = ["wheel", str(copy), "--no-deps", "-w", str(out)]
    if can_build():
        arguments.append("--no-build-isolation")
    end = pip(*arguments)
    if end.returncode and not can_build() and re.search(
            "No matching distribution found for setuptools|Could not fetch|ConnectionError", end.stdout + end.stderr):
        pytest.skip("there is no setuptools here to build with, and none could be fetched")
    assert end.returncode == 0, end.stderr
    [path] = out.glob("*.whl")
    return path


def can_build():
    """Whether this environment has what pip needs to build a wheel without fetching it."""
    if find_spec("setuptools") is None:
        return False
    version = subprocess.run([sys.executable, "-c", "import setuptools; print(setuptools.__version__)"],
                             capture_output=True, text=True).stdout
    return find_spec("wheel") is not None or tuple(map(int, re.findall(r"\d+", version)[:2])) >= (70, 1)


def pip(*arguments):
    return subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments], capture_output=True,
                          text=True, env=os.environ | {"PIP_RETRIES": "1"})


def test_the_wheel_holds_the_modules_the_bundled_data_and_the_licences(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        [metadata] = [archive.read(name).decode() for name in names if name.endswith(".dist-info/METADATA")]
    expected = {str(path.relative_to(ROOT)) for path in (ROOT / "minigan").rglob("*")
                if path.is_file() and "__pycache__" not in path.parts}
    assert {name for name in names if name.startswith("minigan/")} == expected
    assert {f"minigan/data/datasets/{name}" for name in (
        "digits.npz", "digits.LICENSE.txt", "fashion-mini.npz", "fashion-mini.LICENSE.txt", "README.md")} <= names
    assert {f"minigan/metrics/weights/{name}" for name in (
        "lenet-mnist.npz", "lenet-fashion.npz", "README.md")} <= names
    assert {"minigan/pictures/report.css", "minigan/pictures/report.js"} <= names
    assert any(name.split("/")[0].endswith(".dist-info") and name.endswith("LICENSE") for name in names)
    assert {name.split("/")[0] for name in names} == {"minigan", *(n.split("/")[0] for n in names if "dist-info" in n)}
    assert re.search(r"^Requires-Dist: numpy *\(?>=2\.0", metadata, re.M)
    assert re.search(r"^Requires-Dist: matplotlib$", metadata, re.M)
    assert re.search(r"^Requires-Python: >=3\.10$", metadata, re.M)
    extras = re.findall(r"^Provides-Extra: (.*)$", metadata, re.M)
    assert {"test", "cuda12x", "cuda13x", "benchmark"} <= set(extras)


def test_an_installed_copy_trains_a_step_on_bundled_data_from_anywhere(wheel, tmp_path):
    target, elsewhere = tmp_path / "target", tmp_path / "elsewhere"
    elsewhere.mkdir()
    end = pip("install", "--no-deps", "--target", str(target), str(wheel))
    assert end.returncode == 0, end.stderr
    environment = os.environ | {"PYTHONPATH": str(target), "OPENBLAS_NUM_THREADS": "1"}

    def python(*arguments):
        end = subprocess.run([sys.executable, *arguments], cwd=elsewhere, env=environment, capture_output=True,
                             text=True)
        assert (end.returncode, end.stderr) == (0, "")
        return end.stdout
    assert Path(python("-c", "import minigan; print(minigan.__file__)").strip()).is_relative_to(target)
    tiny = ("--width", "2", "--batch-size", "4", "--steps", "1")
    python("-m", "minigan.train", "--data", "digits", *tiny)
    python("-m", "minigan.train", "--data", "fashion-mini", *tiny, "--dry-run")
    python("-m", "minigan.sample", "runs/00000-digits-gan-s0", "--n", "4")
    python("-c", "from minigan.metrics import classifiers; classifiers.load('mnist'), classifiers.load('fashion')")
    assert sorted(os.listdir(elsewhere)) == ["runs", "samples.png"]


def test_a_clone_that_is_called_minigan_is_found_from_the_folder_it_lies_in(tmp_path):
    """Installed with -e; the clone is a folder of the package's name, and no package."""
    if not can_build():
        pytest.skip("there is no setuptools here to build with")
    clone, target = tmp_path / "minigan", tmp_path / "target"
    clone.mkdir()
    end = pip("install", "--no-deps", "--no-build-isolation", "--target", str(target), "-e", str(copied(clone)))
    assert end.returncode == 0, end.stderr
    code = f"import site; site.addsitedir({str(target)!r}); import minigan; print(minigan.__version__)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    end = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (end.returncode, end.stderr) == (0, "")


# The README

README = ROOT / "README.md"
readme = pytest.mark.skipif(not README.exists(), reason="no README yet")


def commands():
    """The command lines in the README's code blocks, continued lines joined, comments dropped."""
    text = README.read_text(encoding="utf-8") if README.exists() else ""
    blocks = re.findall(r"^```(?:sh|bash|console)\n(.*?)^```", text, re.M | re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line.removeprefix("$ "), comments=True) for line in lines if line.strip()]


@readme
def test_the_readme_shows_how_to_train_and_how_to_test():
    lines = [" ".join(words) for words in commands()]
    assert any("-m minigan.train" in line for line in lines) and any("pytest" in line for line in lines)


@readme
def test_every_command_of_the_readme_exists_with_its_options():
    checked = 0
    for words in commands():
        for i, (flag, module) in enumerate(zip(words, words[1:])):
            if flag == "-m" and module.split(".")[0] == "minigan":
                arguments = words[i + 2:]
                arguments = arguments[:next((k for k, word in enumerate(arguments) if word in ("&&", ";", "|", ">")),
                                            None)]
                importlib.import_module(module).parser().parse_args(arguments)  # SystemExit if it would be refused
                checked += 1
    assert checked


@readme
def test_what_the_readme_links_to_is_there():
    links = re.findall(r"\]\(([^)#\s]+)", README.read_text(encoding="utf-8"))
    links += re.findall(r"src=\"([^\"]+)\"", README.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []
