"""The compiled file: loaded only from a safe place, made again when damaged; and whatever a
compiler does, the run goes on."""

import os
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minigan import ops
from minigan.fast import compiling, kernels, launch, native
from minigan.fast.kernels import FOLD_ONE, LEAK, LEAKY, ROW_SUM

pytestmark = pytest.mark.skipif(shutil.which("cc") is None or os.name != "posix",
                                reason="needs cc, and files with owners")
FEW = [LEAKY, LEAK, ROW_SUM, FOLD_ONE]
BUILT = {}  # by cc, from given sources: the same again, so it is copied


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and few kernels to compile. `cache.compiled` lists where they were put."""
    class Cache:
        folder, compiled = tmp_path / "cache/minigan", []

        def forget(self):
            """As a new process would find it."""
            monkeypatch.setattr(native, "_libraries", {})

        def file(self):
            [path] = self.folder.glob("float32-*.so")
            return path
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(native, "KERNELS", FEW)
    monkeypatch.setattr(native, "why_not", None)
    compile = compiling._compile
    monkeypatch.setattr(compiling, "_compile", lambda command, sources, path, digest: (
        cache.compiled.append(path), compile(command, sources, path, digest)))
    build = compiling._built

    def built(command, sources, folder, flags):
        if Path(command[0]).name != "cc":
            return build(command, sources, folder, flags)
        key = *command, *sources, *flags
        if key not in BUILT:
            BUILT[key] = build(command, sources, folder, flags).read_bytes()
        made = folder / "kernels.so"
        made.write_bytes(BUILT[key])
        return made
    monkeypatch.setattr(compiling, "_built", built)
    cache = Cache()
    cache.forget()
    return cache


def kernels_work():
    """Whether there are kernels, which then compute what they should."""
    x = np.array([[-1.0, 2.0], [3.0, -4.0]], np.float32)
    if not launch.serves(x):
        return False
    y = launch.run(LEAKY, (4,), x, 0.5, np.empty_like(x))
    sums = launch.sums(ROW_SUM, (2, 2), x)
    return y.tolist() == [[-0.5, 2], [3, -2]] and sums.tolist() == [[[2.0, -2.0]]]


def plain_works():
    assert not kernels_work()
    np.testing.assert_array_equal(ops.relu(np.array([-1.0, 2.0], np.float32)).data, [0, 2])
    assert native.why_not and "\n" not in native.why_not and len(native.why_not) < 400
    return True


# The place

def test_it_is_compiled_once_and_found_again(cache, capsys):
    assert kernels_work() and kernels_work()
    assert "compiling kernels" in capsys.readouterr().err
    cache.forget()
    assert kernels_work()
    assert cache.compiled == [cache.file()]
    assert capsys.readouterr().err == ""
    assert sorted(p.name for p in cache.folder.iterdir()) == [
        cache.file().name, cache.file().name + ".sha256"]
    assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700
    assert not cache.file().stat().st_mode & 0o077


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o720, 0o702])
def test_a_folder_that_others_can_write_to_is_not_used(cache, mode):
    cache.folder.mkdir(parents=True)
    cache.folder.chmod(mode)
    assert kernels_work()
    assert list(cache.folder.iterdir()) == [] and cache.compiled[0].parent != cache.folder
    assert stat.S_IMODE(cache.compiled[0].parent.stat().st_mode) == 0o700


def test_what_lies_ready_in_such_a_folder_is_not_loaded(cache):
    assert kernels_work()
    cache.folder.chmod(0o777)
    cache.forget()
    assert kernels_work()
    assert len(cache.compiled) == 2 and cache.compiled[1].parent != cache.folder


def test_a_folder_of_somebody_else_is_not_used(cache, monkeypatch):
    cache.folder.mkdir(parents=True, mode=0o700)
    uid = os.getuid()
    lstat = os.lstat
    monkeypatch.setattr(compiling.os, "lstat", lambda path: lstat(path) if Path(path) != cache.folder
                        else os.stat_result([*lstat(path)[:4], uid + 1, *lstat(path)[5:]]))
    assert kernels_work()
    assert list(cache.folder.iterdir()) == [] and cache.compiled[0].parent != cache.folder


def test_a_folder_that_is_a_link_is_not_followed(cache, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    cache.folder.parent.mkdir()
    cache.folder.symlink_to(tmp_path / "elsewhere")
    assert kernels_work()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_where_no_cache_can_be_the_folder_is_for_this_process(cache, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file/below"))
    assert kernels_work()
    assert cache.compiled[0].parent.name.startswith("minigan-")


def test_without_a_place_for_temporary_files_there_are_no_kernels(cache, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file/below"))
    monkeypatch.setattr(compiling.tempfile, "mkdtemp", lambda **_: (tmp_path / "file/x").mkdir())
    assert plain_works()


def test_without_home_there_is_the_users_own(monkeypatch):
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert compiling.cache_folder().is_absolute() and compiling.cache_folder().name == "minigan"


# Damage

def _replaced(path, content):
    """The file by that name is another one: who has loaded the old one keeps it."""
    new = path.with_name("new")
    new.write_bytes(content)
    new.chmod(0o700)
    os.replace(new, path)


def _flip(place):
    def damage(path):
        content = bytearray(path.read_bytes())
        content[int(place * (len(content) - 1))] ^= 4
        _replaced(path, bytes(content))
    return damage


def _instead(make):
    def damage(path):
        path.unlink()
        make(path)
    return damage


def _other(damage):
    return lambda path: damage(path.with_name(path.name + ".sha256"))


def _folder(path):
    path.mkdir()
    (path / "something").write_text("")


DAMAGE = {
    **{f"byte at {place}": _flip(place) for place in (0.0, 0.2, 0.5, 0.9, 1.0)},
    "truncated": lambda path: _replaced(path, path.read_bytes()[:-100]),
    "longer": lambda path: _replaced(path, path.read_bytes() + b"\0"),
    "empty": lambda path: _replaced(path, b""), "gone": lambda path: path.unlink(),
    "a folder": _instead(_folder), "a pipe": _instead(os.mkfifo),
    "a link": _instead(lambda path: path.symlink_to("/dev/null")),
    "a link to nothing": _instead(lambda path: path.symlink_to("nothing")),
    "writable by all": lambda path: path.chmod(0o777),
    "no digest": _other(lambda path: path.unlink()),
    "an empty digest": _other(lambda path: _replaced(path, b"")),
    "a digest that is no text": _other(lambda path: _replaced(path, b"\xff\xfe\0")),
    "a digest of another file": _other(lambda path: _replaced(path, b"0" * 64)),
    "a digest writable by all": _other(lambda path: path.chmod(0o666)),
    "a folder as digest": _other(_instead(_folder)),
    "a pipe as digest": _other(_instead(os.mkfifo)),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_damaged_is_made_again(cache, name):
    assert kernels_work()
    DAMAGE[name](cache.file())
    cache.forget()
    assert kernels_work()
    assert len(cache.compiled) == 2
    cache.forget()
    assert kernels_work()
    assert len(cache.compiled) == 2  # now it is whole


SCRIPT = """
import numpy as np, sys
from minigan.fast import compiling, kernels, launch, native
native.KERNELS = [kernels.LEAKY, kernels.LEAK, kernels.ROW_SUM, kernels.FOLD_ONE]
x = np.array([-2.0, 2.0], np.float32)
assert launch.serves(x), native.why_not
assert launch.run(kernels.LEAKY, (2,), x, 0.5, np.empty_like(x)).tolist() == [-1, 2]
print("well")
"""


def started(script, **environment):
    root = Path(__file__).parent.parent
    return subprocess.Popen([sys.executable, "-c", script], text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, cwd=root, env={**os.environ, **environment})


def test_two_processes_at_once_do_no_harm(cache):
    both = [started(SCRIPT) for _ in range(2)]
    assert [process.communicate()[0] for process in both] == ["well\n"] * 2
    assert kernels_work() and cache.compiled == []
    assert len(list(cache.folder.iterdir())) == 2


def test_a_temporary_folder_does_not_stay(cache, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "tmp").mkdir()
    process = started(SCRIPT, XDG_CACHE_HOME=str(tmp_path / "file"), TMPDIR=str(tmp_path / "tmp"))
    assert process.communicate()[0] == "well\n"
    assert list((tmp_path / "tmp").iterdir()) == []


# Compilers

@pytest.fixture
def script(tmp_path, monkeypatch):
    """A function that makes a shell script the compiler."""
    def make(text, *arguments):
        path = tmp_path / "compiler with space"
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o700)
        monkeypatch.setenv("CC", shlex.join([str(path), *arguments]))
    return make


BROKEN = {
    "fails": ("echo 'no such thing' >&2; exit 1", "no such thing"),
    "fails in silence": ("exit 3", "exit status 3"),
    "prints bytes that are no text": (r"printf '\377\376\n' >&2; exit 1", ""),
    "makes nothing": ("exit 0", ""),
    "makes garbage": ('while [ "$1" != -o ]; do shift; done; echo garbage > "$2"', ""),
    "prints much": ("yes error | head -100000 >&2; exit 1", "error"),
    "is killed": ("kill -9 $$", "SIGKILL"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_compiler_that_is_broken_costs_only_speed(cache, script, name):
    text, why = BROKEN[name]
    script(text)
    assert plain_works()
    assert why in native.why_not and "compiler with space" in native.why_not
    assert [p for p in cache.folder.iterdir() if p.is_dir()] == []


def test_a_compiler_that_hangs_is_stopped(cache, script, monkeypatch):
    monkeypatch.setattr(compiling, "LIMIT", 0.3)
    script("echo thinking >&2; exec sleep 60")
    assert plain_works()
    assert "timed out" in native.why_not


def test_it_is_asked_once(cache, script, tmp_path):
    script(f"echo x >> {tmp_path}/calls; exit 1")
    assert plain_works()
    calls = (tmp_path / "calls").read_text()
    assert plain_works() and (tmp_path / "calls").read_text() == calls


def test_without_any_compiler_the_reason_says_what_to_install(cache, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(compiling, "find_spec", lambda name: None)
    assert plain_works()
    assert "install one" in native.why_not


@pytest.mark.parametrize("cc", ["/no/such/compiler", "nothing-by-this-name -O2", "  ", "'open"])
def test_cc_that_names_nothing_is_passed_over(cache, monkeypatch, cc):
    monkeypatch.setenv("CC", cc)
    assert kernels_work()


def test_cc_may_have_arguments(cache, script, tmp_path):
    script(f'echo "$@" >> {tmp_path}/calls; [ "$1" = "-DMINE=a b" ] && exec cc "$@"', "-DMINE=a b")
    assert kernels_work()
    assert all(line.startswith("-DMINE=a b -O3")
               for line in (tmp_path / "calls").read_text().splitlines())


def test_another_compiler_or_another_source_is_another_file(cache, script):
    assert kernels_work()
    script('exec cc "$@"')
    cache.forget()
    assert kernels_work()
    script('exec cc  "$@"')  # the same path
    cache.forget()
    assert kernels_work()
    native.KERNELS.append(kernels.SIGMOID)
    try:
        cache.forget()
        assert kernels_work()
    finally:
        native.KERNELS.pop()
    assert len(set(cache.compiled)) == 4


@pytest.mark.parametrize("place, value", [
    ((compiling, "FLAGS"), [*compiling.FLAGS, "-DMORE"]),
    ((compiling, "_processor"), lambda: "flags: none"),
    ((native, "KERNELS"), [*FEW, kernels.SIGMOID]),  # in the first source
    ((native, "KERNELS"), [LEAKY, kernels.SIGMOID, ROW_SUM, FOLD_ONE])])  # in the second
def test_what_decides_on_the_code_decides_on_the_file(cache, monkeypatch, place, value):
    """A folder shared by two machines has a file for each of their processors."""
    assert kernels_work()
    monkeypatch.setattr(*place, value)
    cache.forget()
    assert kernels_work()
    assert len(set(cache.compiled)) == 2


def test_a_compiler_that_does_not_know_the_processor_is_asked_without(cache, script):
    script('case "$*" in *march*) echo "bad -march" >&2; exit 1;; esac; exec cc "$@"')
    assert kernels_work()


@pytest.mark.slow  # it compiles its own libraries first
def test_zig_is_a_compiler_too(cache, monkeypatch):
    pytest.importorskip("ziglang")
    monkeypatch.setattr(compiling, "LIMIT", 600)
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
    assert compiling.compiler() == [sys.executable, "-m", "ziglang", "cc"]
    assert kernels_work(), native.why_not


@pytest.mark.parametrize("value, on", [("0", False), ("1", True), ("", True)])
def test_the_environment_switches_it_off(value, on):
    process = started("import minigan; print(minigan.fast.is_on())", MINIGAN_FAST=value)
    assert process.communicate()[0] == f"{on}\n"
