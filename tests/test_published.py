"""`published`: MNIST and its like are found or downloaded, and nothing unproven is ever used.

The downloads are from a server on loopback; `mnist` stands for a small set in the same files with its own checksums.
"""

import gzip
import hashlib
import io
import os
import struct
import sys
import tarfile
import tempfile
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from minigan import data
from minigan.data import published
from minigan.data import DataError

REAL_DATA, REAL_MNIST = os.environ.get("MINIGAN_DATA", ""), published.PUBLISHED["mnist"]  # before the tests hide them


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """No copy of a published set on this machine is seen, and nothing is written outside the test's own folder."""
    monkeypatch.delenv("MINIGAN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(published, "SYSTEM", str(tmp_path / "system"))


def rng(seed=0):
    return np.random.Generator(np.random.Philox(seed))


def one_line(error):
    """The message of a caught DataError, which must be a single printable line."""
    message = str(error.value)
    assert message.isprintable() and len(message) > 10
    return message


def idx(images, labels):
    """The two files' contents in LeCun's format."""
    head = struct.pack(">IIII", 2051, len(images), 28, 28)
    return head + images.tobytes(), struct.pack(">II", 2049, len(labels)) + labels.tobytes()


TRAIN = rng(1).integers(256, size=(400, 28, 28, 1), dtype=np.uint8), np.arange(400, dtype=np.uint8) % 10
TEST = rng(2).integers(256, size=(2, 28, 28, 1), dtype=np.uint8), np.array([9, 8], np.uint8)
NAMES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
CONTENT = dict(zip(NAMES, idx(*TRAIN) + idx(*TEST)))
GOOD = {f"/good/{name}.gz": gzip.compress(content) for name, content in CONTENT.items()}


@pytest.fixture(autouse=True)
def small_mnist(monkeypatch):
    """`mnist` with the checksums of CONTENT, and only mirrors that a test gives it."""
    listed = [published.File(name, len(content), "sha256:" + hashlib.sha256(content).hexdigest())
              for name, content in CONTENT.items()]
    small = published.PUBLISHED["mnist"]._replace(
        files={"train": tuple(listed[:2]), "test": tuple(listed[2:])}, mirrors=("http://127.0.0.1:9/{}.gz",))
    monkeypatch.setitem(published.PUBLISHED, "mnist", small)

    def use(*mirrors):
        monkeypatch.setitem(published.PUBLISHED, "mnist", small._replace(mirrors=mirrors))
    return use


def put(folder, packed=True, contents=CONTENT):
    """Write the files into `folder`, gzipped or not."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)


def assert_is_small_mnist(dataset, expected=TRAIN):
    np.testing.assert_array_equal(dataset.x, expected[0])
    np.testing.assert_array_equal(dataset.labels, expected[1])
    assert dataset.labels.dtype == np.int64 and dataset.x.dtype == np.uint8 and dataset.classes == tuple("0123456789")


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("below", ["", "mnist", "MNIST/raw"])
def test_a_published_set_is_found_where_the_environment_points(tmp_path, monkeypatch, packed, below):
    put(tmp_path / "mine" / below, packed)
    monkeypatch.setenv("MINIGAN_DATA", str(tmp_path / "mine"))
    assert_is_small_mnist(data.load("mnist"))
    assert_is_small_mnist(data.load("mnist", split="test"), TEST)


@pytest.mark.parametrize("place", ["cache/minigan", "system"])
def test_a_published_set_is_found_in_the_cache_and_where_the_system_keeps_it(tmp_path, place):
    put(tmp_path / place / "mnist")
    assert_is_small_mnist(data.load("mnist"))


def test_a_wrong_copy_is_passed_over_and_named(tmp_path, monkeypatch, capsys):
    put(tmp_path / "mine", contents={name: content[:-1] + b"\0" for name, content in CONTENT.items()})
    put(tmp_path / "system" / "mnist")
    monkeypatch.setenv("MINIGAN_DATA", str(tmp_path / "mine"))
    assert_is_small_mnist(data.load("mnist"))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and str(tmp_path / "mine" / NAMES[0]) in lines[0] and "wrong checksum" in lines[0]


def test_with_only_a_wrong_copy_and_no_network_the_message_names_both_and_says_what_to_do(tmp_path, capsys):
    put(tmp_path / "cache" / "minigan" / "mnist", contents={NAMES[0]: b"other"})
    with pytest.raises(DataError) as error:
        data.load("mnist")
    message = one_line(error)
    assert "wrong checksum" in message and "http://127.0.0.1:9/" in message and "MINIGAN_DATA" in message
    assert str(tmp_path / "cache" / "minigan" / "mnist") in message
    assert all(name + ".gz" in message for name in NAMES)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("content", [b"", b"no gzip", GOOD[f"/good/{NAMES[0]}.gz"][:-20],
                                     gzip.compress(CONTENT[NAMES[0]] + b"!")])
def test_a_copy_that_is_empty_cut_or_too_long_is_not_used(tmp_path, content):
    folder = tmp_path / "system"
    put(folder)
    (folder / (NAMES[0] + ".gz")).write_bytes(content)
    with pytest.raises(DataError, match=NAMES[0]):
        data.load("mnist")


def test_no_more_than_the_published_size_is_unpacked(tmp_path, monkeypatch):
    unpacked = []
    read = gzip.GzipFile.read
    monkeypatch.setattr(gzip.GzipFile, "read", lambda self, size=-1: unpacked.append(size) or read(self, size))
    put(tmp_path / "system", contents={NAMES[0]: bytes(10**7)})
    with pytest.raises(DataError, match="wrong checksum"):
        data.load("mnist")
    assert unpacked == [len(CONTENT[NAMES[0]]) + 1]


def test_cifar10_keeps_red_green_and_blue_apart_and_its_batches_in_order(tmp_path, monkeypatch):
    images = rng(3).integers(256, size=(6, 32, 32, 3), dtype=np.uint8)  # one for each batch, the last for the test
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for k, name in enumerate([f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]):
            record = bytes([k]) + images[k].transpose(2, 0, 1).tobytes()
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            member.size = len(record)
            tar.addfile(member, io.BytesIO(record))
    content = packed.getvalue()
    file = published.File("cifar-10-binary.tar.gz", len(content), "md5:" + hashlib.md5(content).hexdigest())
    cifar = published.PUBLISHED["cifar10"]
    monkeypatch.setitem(published.PUBLISHED, "cifar10", cifar._replace(files={"train": (file,), "test": (file,)}))
    (tmp_path / "system").mkdir()
    (tmp_path / "system" / "cifar-10-binary.tar.gz").write_bytes(content)
    x, labels, classes = data.load("cifar10")
    np.testing.assert_array_equal(x, images[:5])
    assert labels.tolist() == [0, 1, 2, 3, 4] and classes[0] == "airplane" and len(classes) == 10
    test = data.load("cifar10", split="test")
    np.testing.assert_array_equal(test.x, images[5:])
    assert test.labels.tolist() == [5]


@pytest.mark.skipif(not os.path.isdir(os.path.join(REAL_DATA, "mnist")), reason="MINIGAN_DATA holds no mnist")
def test_the_real_mnist_is_what_it_should_be(monkeypatch):
    monkeypatch.setenv("MINIGAN_DATA", REAL_DATA)
    monkeypatch.setitem(published.PUBLISHED, "mnist", REAL_MNIST)
    train, test = data.load("mnist"), data.load("mnist", split="test")
    assert train.x.shape == (60_000, 28, 28, 1) and test.x.shape == (10_000, 28, 28, 1)
    assert train.labels[:5].tolist() == [5, 0, 4, 1, 9] and np.bincount(test.labels).min() == 892


# Downloads

@contextmanager
def server(responses):
    """An HTTP server; yields its address and the list of paths it is asked for.

    `responses`: path → the bytes it sends, or (the length it claims, bytes), or ("raw", all that it says), or ("stall",
    all that it says before it says nothing any more), or ("drip", the parts that it says slowly)
    """
    asked, over = [], threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if self.path not in responses:
                return self.send_error(404)
            answer = responses[self.path]
            length, body = answer if isinstance(answer, tuple) else (len(answer), answer)
            if length == "raw":
                return self.wfile.write(body)
            if length == "drip":
                return self.drip(body)
            self.send_response(200)
            if length == "stall":
                self.send_header("Content-Length", "1000000")
            elif length is not None:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)
            if length == "stall":
                over.wait(60)

        def drip(self, parts, times=200):
            """The parts one after the other, the last again and again, with pauses that are no silence."""
            with suppress(OSError):
                for part in [*parts, *parts[-1:] * times]:
                    self.wfile.write(part)
                    if over.wait(0.05):
                        return

        def log_message(self, *_):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}", asked
    finally:
        over.set()
        httpd.shutdown()
        thread.join()
        httpd.server_close()


def cached(tmp_path):
    """The names in the cache folder of the set."""
    return sorted(path.name for path in (tmp_path / "cache" / "minigan" / "mnist").rglob("*"))


def test_a_download_is_verified_kept_and_not_repeated(tmp_path, small_mnist, capsys, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")  # only within one file system is a renaming at once
    with server(GOOD) as (address, asked):
        small_mnist(address + "/good/{}.gz")
        assert_is_small_mnist(data.load("mnist"))
        assert capsys.readouterr().err.splitlines() == [f"minigan: downloading {address}{path}" for path in asked]
        assert_is_small_mnist(data.load("mnist"))
    assert len(asked) == 2 and cached(tmp_path) == [NAMES[0] + ".gz", NAMES[1] + ".gz"]
    assert capsys.readouterr().err == ""


BODY = GOOD[f"/good/{NAMES[0]}.gz"]
GZIP = b"\x1f\x8b\x08" + bytes(7)  # how such a file begins
BAD = {  # what a server may send instead of the file, and what is said about it
    "nothing there": (None, "404"),
    "another file": (gzip.compress(b"another file"), "wrong checksum"),
    "HTML instead of data": (b"<!DOCTYPE html><html><body>Please log in</body></html>", "Not a gzipped file"),
    "cut connection": ((len(BODY), BODY[:-9]), f"cut after {len(BODY) - 9} of {len(BODY)} bytes"),
    "cut connection, length unknown": ((None, BODY[:-9]), "ended before the end"),
    "a flipped bit": (BODY[:2000] + bytes([BODY[2000] ^ 4]) + BODY[2001:], ""),
    "broken compression": (GZIP + b"\xff" * 50, "Error -3"),
    "a length that is no number": (("many", BODY), "many"),
    "more than the file": (bytes(10**6), "more than"),
    "an empty file": (b"", "wrong checksum"),
    "no HTTP": (("raw", b"SSH-2.0-server\r\n"), "SSH"),
}


@pytest.mark.parametrize("fault", BAD)
def test_after_a_bad_download_the_next_mirror_is_tried(tmp_path, small_mnist, capsys, fault):
    answer, reason = BAD[fault]
    bad = {f"/bad/{name}.gz": answer for name in NAMES if answer is not None}
    with server({**GOOD, **bad}) as (address, asked):
        small_mnist(address + "/bad/{}.gz", address + "/good/{}.gz")
        assert_is_small_mnist(data.load("mnist"))
    assert [path.split("/")[1] for path in asked] == ["bad", "good"] * 2
    assert cached(tmp_path) == [NAMES[0] + ".gz", NAMES[1] + ".gz"]
    said = [line for line in capsys.readouterr().err.splitlines() if "passed over" in line]
    assert f"{address}/bad/{NAMES[0]}.gz" in said[0] and reason in said[0]


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_download_is_never_taken_for_whole(tmp_path, small_mnist, fault):
    answer, reason = BAD[fault]
    with server({f"/bad/{name}.gz": answer for name in NAMES if answer is not None}) as (address, _):
        small_mnist(address + "/bad/{}.gz")
        with pytest.raises(DataError, match="MINIGAN_DATA") as error:
            data.load("mnist")
    assert f"{address}/bad/{NAMES[0]}.gz" in one_line(error) and reason in one_line(error)
    assert cached(tmp_path) == []


def test_a_mirror_that_falls_silent_is_given_up(tmp_path, small_mnist, monkeypatch, capsys):
    monkeypatch.setattr(published, "TIMEOUT", 0.2)
    with server({**GOOD, f"/bad/{NAMES[0]}.gz": ("stall", BODY[:3000])}) as (address, _):
        small_mnist(address + "/bad/{}.gz", address + "/good/{}.gz")
        assert_is_small_mnist(data.load("mnist"))
    assert "timed out" in capsys.readouterr().err and len(cached(tmp_path)) == 2


@pytest.mark.parametrize("parts", [
    [b"HTTP/1.0 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"], [b"HTTP/1.1 100 Continue\r\n\r\n"],
    [b"HTTP/1.0 200 OK\r\n", b"X: y\r\n"],
    [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"]], ids=["bytes", "continue", "headers", "chunks"])
def test_a_mirror_that_is_too_slow_is_given_up(tmp_path, small_mnist, monkeypatch, capsys, parts):
    monkeypatch.setattr(published, "TIMEOUT", 0.5)
    with server({**GOOD, f"/bad/{NAMES[0]}.gz": ("drip", parts)}) as (address, _):
        small_mnist(address + "/bad/{}.gz", address + "/good/{}.gz")
        assert_is_small_mnist(data.load("mnist"))
    assert "timed out" in capsys.readouterr().err and len(cached(tmp_path)) == 2


def test_what_a_killed_download_left_is_never_taken_for_whole(tmp_path, small_mnist):
    partial = tmp_path / "cache" / "minigan" / "mnist" / "partial-x"
    partial.mkdir(parents=True)
    (partial / (NAMES[0] + ".gz")).write_bytes(BODY[:-9])
    with server(GOOD) as (address, asked):
        small_mnist(address + "/good/{}.gz")
        assert_is_small_mnist(data.load("mnist"))
    assert len(asked) == 2


def test_a_wrong_copy_in_the_cache_is_replaced_by_the_download(tmp_path, small_mnist):
    put(tmp_path / "cache" / "minigan" / "mnist", contents={NAMES[0]: b"other"})
    with server(GOOD) as (address, _):
        small_mnist(address + "/good/{}.gz")
        assert_is_small_mnist(data.load("mnist"))
    kept = (tmp_path / "cache" / "minigan" / "mnist" / (NAMES[0] + ".gz")).read_bytes()
    assert gzip.decompress(kept) == CONTENT[NAMES[0]]


def test_a_cache_that_cannot_be_written_is_named(tmp_path, small_mnist):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with server(GOOD) as (address, _):
        small_mnist(address + "/good/{}.gz")
        with pytest.raises(DataError, match="Not a directory|File exists") as error:
            data.load("mnist")
    assert str(tmp_path / "cache") in one_line(error)


def test_an_interrupted_download_leaves_nothing_behind(tmp_path, small_mnist, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt
    monkeypatch.setattr(published.os, "fsync", interrupt)
    with server(GOOD) as (address, _):
        small_mnist(address + "/good/{}.gz")
        with pytest.raises(KeyboardInterrupt):
            data.load("mnist")
    assert cached(tmp_path) == []


def test_on_a_terminal_progress_is_one_refreshed_line(small_mnist, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with server(GOOD) as (address, _):
        small_mnist(address + "/good/{}.gz")
        data.load("mnist")
    lines = terminal.getvalue().split("\n")
    assert len(lines) == 3 and lines[2] == ""  # one for each file
    for line, name in zip(lines[:2], NAMES):
        assert line.startswith("\rminigan: downloading " + name) and " MB of " in line
    assert lines[0].count("\r") > 1 and lines[0].endswith(" 0.3 MB of 0.3")
