"""MNIST, Fashion-MNIST and CIFAR-10: found on this machine or downloaded, and proven before use.

A file's checksum is the only thing believed about it. It is of the uncompressed bytes, so that a
copy may be gzipped or not, by whatever program; no more than the published number of them is ever
unpacked.
"""

import gzip
import hashlib
import io
import os
import sys
import tempfile
import threading
import zlib
from typing import Callable, NamedTuple

import numpy as np

from minigan.data.files import DataError, tell

TIMEOUT = 30  # seconds without a byte, after which a mirror is given up
SLOWEST = 10_000  # bytes a second: the time a download may take, beside TIMEOUT
SYSTEM = "/usr/share/datasets"  # where Debian's dataset-fashion-mnist puts its files


class File(NamedTuple):
    """One published file, and what proves a copy of it."""
    name: str    # without the .gz that a copy's name may end in
    size: int    # bytes, before that compression
    digest: str  # of these bytes, "algorithm:hexadecimal"


class Published(NamedTuple):
    """A published data set: where copies of it may be, what is in it, and how it is read."""
    folders: tuple[str, ...]            # what its folder may be called; the first name is ours
    mirrors: tuple[str, ...]            # addresses, in order, {} being a file's name
    files: dict[str, tuple[File, ...]]  # split → its files
    decode: Callable                    # (split, content of each file) → pictures, labels; uint8
    classes: tuple[str, ...]


def _idx_files(*digests):
    names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
             "t10k-labels-idx1-ubyte")
    sizes = (16 + 60_000 * 28 * 28, 8 + 60_000, 16 + 10_000 * 28 * 28, 8 + 10_000)
    files = tuple(File(name, size, "sha256:" + digest)
                  for name, size, digest in zip(names, sizes, digests))
    return {"train": files[:2], "test": files[2:]}


def _decode_idx(split, images, labels):
    """LeCun's format: a header of 16 bytes before pictures, 8 before labels; then a byte for each
    value."""
    images = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28, 1)
    # A copy, for an array on bytes is read-only.
    return images.copy(), np.frombuffer(labels, np.uint8, offset=8)


def _decode_cifar(split, archive):
    """Krizhevsky's format: records of one label byte and 32 × 32 reds, then greens, then blues."""
    import tarfile  # here, for it takes milliseconds to import and is rarely needed
    batches = [f"data_batch_{k}" for k in range(1, 6)] if split == "train" else ["test_batch"]
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        content = b"".join(tar.extractfile(f"cifar-10-batches-bin/{batch}.bin").read()
                           for batch in batches)
    records = np.frombuffer(content, np.uint8).reshape(-1, 1 + 3 * 32 * 32)
    planes = records[:, 1:].reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), records[:, 0]


PUBLISHED = {
    "mnist": Published(
        folders=("mnist", "MNIST/raw"),
        mirrors=("https://ossci-datasets.s3.amazonaws.com/mnist/{}.gz",
                 "https://storage.googleapis.com/cvdf-datasets/mnist/{}.gz"),
        files=_idx_files("ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                         "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                         "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                         "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
        decode=_decode_idx,
        classes=("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")),
    "fashion": Published(
        folders=("fashion-mnist", "fashion", "FashionMNIST/raw"),
        mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/{}.gz",),
        files=_idx_files("c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                         "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                         "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                         "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
        decode=_decode_idx,
        classes=("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                 "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")),
    "cifar10": Published(
        folders=("cifar10", "cifar-10"),
        mirrors=("https://www.cs.toronto.edu/~kriz/{}",),
        files=dict.fromkeys(("train", "test"), (
            File("cifar-10-binary.tar.gz", 170_052_171, "md5:c32a1d4ab5d03f1284b67883e8d87530"),)),
        decode=_decode_cifar,
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
                 "truck")),
}
MADE_OF = {"stacked-mnist": "mnist"}  # data sets that are made of published ones


def read_published(name, split):
    """Pictures (N, H, W, C) uint8, labels (N,) int64 and class names of `PUBLISHED[name]`; `split`
    train or test.

    Each file is looked for in $MINIGAN_DATA, the user's cache ($XDG_CACHE_HOME/minigan or
    ~/.cache/minigan) and /usr/share/datasets, there and in a subfolder named after the set, gzipped
    or not; else downloaded into the cache, mirror after mirror. A wrong copy is passed over, and
    named. `DataError`, saying what to do offline, if there is no right one.
    """
    published = PUBLISHED[name]
    contents = [_content(published, file) for file in published.files[split]]
    images, labels = published.decode(split, *contents)
    return images, labels.astype(np.int64), published.classes


def _content(published, file):
    """The proven bytes of `file`, from the first place that has them."""
    cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"),
                         "minigan")
    home = os.path.join(cache, published.folders[0])
    failures = []
    for place in (*_copies(published, file, (os.environ.get("MINIGAN_DATA"), cache, SYSTEM)),
                  *(mirror.format(file.name) for mirror in published.mirrors)):
        try:
            content = _downloaded(place, home, file) if "://" in place else _proven(place, file)
        except (OSError, EOFError, zlib.error, ValueError) as error:
            # Not the end: MNIST's and Fashion-MNIST's files have the same names, and mirrors come
            # and go.
            failures.append(f"{place}: {error}")
            continue
        if failures:
            tell("passed over " + "; ".join(failures))
        return content
    wanted = sorted({os.path.basename(published.mirrors[0].format(each.name))
                     for split in published.files.values() for each in split})
    raise DataError(f"{published.folders[0]}: no usable {file.name} ({'; '.join(failures)}): "
                    f"without a network, put {', '.join(wanted)} into {home}, or point "
                    "MINIGAN_DATA at the folder that has them")


def _copies(published, file, roots):
    """The paths below `roots` at which there is a file named like `file`."""
    paths = [os.path.join(root, folder, file.name + suffix)
             for root in roots if root for folder in (*published.folders, "")
             for suffix in ("", ".gz")]
    return [path for path in paths if os.path.isfile(path)]


def _proven(path, file):
    """The uncompressed bytes at `path`; `DataError` if they aren't those of `file`."""
    with open(path, "rb") if path.endswith(file.name) else gzip.open(path) as stream:
        # One byte more shows that it is too long; all of a bomb would burst memory.
        content = stream.read(file.size + 1)
    algorithm, _, digest = file.digest.partition(":")
    if hashlib.new(algorithm, content, usedforsecurity=False).hexdigest() != digest:
        raise DataError(f"wrong checksum, this is not the published {file.name}")
    return content


def _downloaded(url, folder, file):
    """The bytes of `file` from `url`, kept in `folder` under their published name once they are
    proven."""
    os.makedirs(folder, exist_ok=True)
    name = url.rpartition("/")[2]
    with tempfile.TemporaryDirectory(dir=folder, prefix="partial-",
                                     ignore_cleanup_errors=True) as scratch:
        path = os.path.join(scratch, name)
        with open(path, "wb") as stream:
            # gzip adds a little to what it cannot compress.
            _in_time(lambda done: _fetch(url, stream, name, file.size + 1024, done))
            stream.flush()
            os.fsync(stream.fileno())
        content = _proven(path, file)
        # At once: nobody ever sees half a file under this name.
        os.replace(path, os.path.join(folder, name))
    return content


def _in_time(work):
    """Do work(done) in a thread, and give it up when it has taken longer than SLOWEST allows for
    the done[0] bytes that it has received. A socket's timeout is none for a server that sends a
    byte now and then. What was given up ends with the process, and writes to a closed file."""
    done, failed = [0], []

    def run():
        try:
            work(done)
        except BaseException as error:
            failed.append(error)
    thread, waited = threading.Thread(target=run, daemon=True), 0.0
    thread.start()
    while thread.is_alive():
        if waited > TIMEOUT + done[0] / SLOWEST:
            raise OSError(f"timed out: {done[0]} bytes in {waited:.0f} s")
        thread.join(0.05)
        waited += 0.05  # not by the clock: a computer that slept has not waited
    if failed:
        error = failed.pop()
        try:
            raise error
        finally:
            del error  # whose frames would else keep it, and its connection, alive


def _fetch(url, stream, name, limit, done):
    # Here, for the two are a third of the time it takes to import all of minigan.
    import http.client
    import urllib.request
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            _receive(response, stream, name, limit, done)
    except http.client.HTTPException as error:
        raise OSError(f"the server's answer is not HTTP ({error!r})") from None


def _receive(response, stream, name, limit, received):
    """Copy `response` to `stream`, with its progress in received[0] and on stderr: one line,
    refreshed if that is a terminal."""
    total, done = int(response.headers.get("Content-Length", 0)), 0
    terminal = sys.stderr is not None and sys.stderr.isatty()
    if not terminal:
        tell(f"downloading {response.url}")
    try:
        while chunk := response.read1(2**18):
            stream.write(chunk)
            done += len(chunk)
            received[0] = done
            if done > limit:
                raise DataError(f"more than the {limit} bytes expected")
            if terminal:
                print(f"\rminigan: downloading {name}: {done / 1e6:.1f} MB"
                      + f" of {total / 1e6:.1f}" * (total > 0), end="", file=sys.stderr, flush=True)
    finally:
        if terminal:
            print(file=sys.stderr)
    if done < total:
        raise DataError(f"the connection was cut after {done} of {total} bytes")


def not_here(source, split="train"):
    """What a run on this data set would download, as text; None if nothing has to be."""
    source = MADE_OF.get(source, source)
    if source not in PUBLISHED:
        return None
    published, cache = PUBLISHED[source], _cache()
    missing = [file for file in published.files[split]
               if not _copies(published, file, (os.environ.get("MINIGAN_DATA"), cache, SYSTEM))]
    names = [os.path.basename(published.mirrors[0].format(file.name)) for file in missing]
    return missing and f"{', '.join(names)} into {os.path.join(cache, published.folders[0])}"


def _cache():
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"),
                        "minigan")
