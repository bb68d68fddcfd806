"""Files that others may have touched: written whole or not at all, never through a link; read only
if they are regular files.

Whoever has write access to a folder can leave links, pipes and devices in it under the names that
we are going to use. So a file of ours is made anew under a name that nobody can guess, and takes
its place by being renamed, which replaces a link instead of following it.
"""

import contextlib
import errno
import os
import secrets
import shutil
import stat
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
try:
    import msvcrt
except ImportError:  # everywhere else
    msvcrt = None


# Reading

def regular(path):
    """The regular file at `path`, open for reading bytes. OSError for anything else: a pipe could
    be waited for without end, and a device may act when it is opened."""
    _check_regular(os.stat(path), path)
    return open(path, "rb", opener=_open_regular)


def content(path, most=1 << 26):
    """The bytes of a regular file. OSError if there are more than `most`."""
    with regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise OSError(errno.EFBIG, f"{size} bytes, expected at most {most}", str(path))
        return file.read(size)


def _open_regular(path, flags):
    """For `open`: as `os.open`, but without waiting, and only regular files."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)
    try:
        _check_regular(os.fstat(descriptor), path)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(status, path):
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


# Writing

def _open_unlinked(path, flags):
    """As `_open_regular`, but not through a symbolic link."""
    if os.path.islink(path):
        raise OSError(errno.ELOOP, "a symbolic link, through which nothing is written", str(path))
    return _open_regular(path, flags | getattr(os, "O_NOFOLLOW", 0))


def appending(path):
    """The regular file at `path`, made if there is none, open for appending text. One that has
    other names too, hard links, is first replaced by a copy: those keep what they have."""
    file = open(path, "a", encoding="utf-8", opener=_open_unlinked)
    if os.fstat(file.fileno()).st_nlink > 1:
        file.close()
        with regular(path) as shared, whole(path) as own:
            shutil.copyfileobj(shared, own)
        file = open(path, "a", encoding="utf-8", opener=_open_unlinked)
    return file


def write_whole(path, content):
    """Write these bytes to a file that, whatever happens, holds what it held or all of them."""
    with whole(path) as file:
        file.write(content)


@contextlib.contextmanager
def whole(path):
    """A file to write to under another name, which becomes `path` when all of it is on the disk.

    The other name is this writer's own, and ends in `.partial`. The file is locked until it is
    renamed, so that `remove_abandoned` can tell it from one that a crash has left.
    """
    path = Path(path)
    partial = path.with_name(f"{path.name[:40]}.{secrets.token_hex(4)}.partial")
    try:
        with open(partial, "xb", opener=_open_unlinked) as file:
            lock(file)
            yield file
            to_disk(file)
            if fcntl:
                os.replace(partial, path)
        if not fcntl:  # Windows renames no file that is open, nor does it remove one
            os.replace(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)  # a full disk is not to be filled with halves
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(partial)):
            error.filename = str(path)  # the name that was asked for
        raise
    _entries_to_disk(path.parent)


@contextlib.contextmanager
def output(path):
    """A file that the user named, to write to: as `whole`, wherever a link leads; a device or a
    pipe is written to as it is."""
    if os.path.basename(path) == "":
        raise IsADirectoryError(errno.EISDIR, "expected a file's name", str(path))
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as file:
            yield file
    else:
        with whole(os.path.realpath(path)) as file:
            yield file


def to_disk(file):
    file.flush()
    os.fsync(file.fileno())


def _entries_to_disk(folder):
    """So that a new name in the folder survives the power's end too."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # as Windows says of every folder
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# Locks, which end with the process that holds them

def lock(file):
    """Whether the open `file` is now this process's alone, until it is closed. Where the file
    system has no locks the answer is yes."""
    try:
        if fcntl:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        elif msvcrt:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)
    return True


def open_lock(path):
    """The file at `path`, made if there is none, to be locked."""
    return open(path, "ab", opener=_open_unlinked)


def remove_abandoned(paths):
    """Remove those of the `.partial` files that nobody is writing."""
    for path in paths:
        with contextlib.suppress(OSError):  # a link or a folder of this name is not of our making
            with open(path, "rb+", opener=_open_unlinked) as file:
                abandoned = lock(file)
            if abandoned:
                path.unlink()
