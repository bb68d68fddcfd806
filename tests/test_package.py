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
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "minigan").glob("*.py"))

# Each module imports only from those before it.
FLOORS = ("backend kernels parallel passes launches filtering tensor ops conv gradcheck normalize init nn optim "
          "objectives networks files published data trainer metrics latent experiment models graph laboratory plots "
          "commandline report classifier judges train sample evaluate").split()


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


@pytest.fixture(params=SOURCES, ids=lambda path: path.stem)
def source(request):
    return request.param.stem, ast.parse(request.param.read_text(encoding="utf-8"))


def test_every_module_stands_on_a_floor():
    assert {path.stem for path in SOURCES} - {"__init__"} == set(FLOORS)


def test_a_module_imports_only_from_floors_above_it(source):
    name, tree = source
    above = FLOORS[:FLOORS.index(name)] if name != "__init__" else FLOORS
    ours = [module.split(".")[1] for module, _ in imports_of(tree) if module.split(".")[0] == "minigan"]
    assert [module for module in ours if module not in above] == []


def test_modules_of_the_package_are_imported_at_the_top_only(source):
    _, tree = source
    inside = [module for function in ast.walk(tree) if isinstance(function, (ast.FunctionDef, ast.Lambda, ast.ClassDef))
              for module, _ in imports_of(function) if module.startswith("minigan")]
    assert inside == []


def test_only_plots_and_the_laboratory_draw_and_only_files_reads_pictures(source):
    name, tree = source
    found = {module.split(".")[0] for module, _ in imports_of(tree)} & {"matplotlib", "PIL"}
    assert found <= {"plots": {"matplotlib", "PIL"}, "laboratory": {"matplotlib"}, "files": {"PIL"}}.get(name, set())
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

@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the sources: nothing is left behind in the repository."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("minigan", "setup.cfg", "pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, copy)
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
    assert {"minigan/datasets/digits.npz", "minigan/datasets/fashion-mini.npz", "minigan/datasets/digits.LICENSE.txt",
            "minigan/datasets/fashion-mini.LICENSE.txt", "minigan/datasets/README.md", "minigan/weights/README.md",
            "minigan/weights/lenet-mnist.npz", "minigan/weights/lenet-fashion.npz"} <= names
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
    python("-c", "from minigan import classifier; classifier.load('mnist'), classifier.load('fashion')")
    assert sorted(os.listdir(elsewhere)) == ["runs", "samples.png"]


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
