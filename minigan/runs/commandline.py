"""What the command lines share: errors for people, and exit statuses.

0 done · 1 the run failed · 2 the user's mistake, one line on stderr · 130 and 143 ended by Ctrl-C
and by SIGTERM.
"""

import argparse
import difflib
import sys

from minigan.backend import BackendError
from minigan.data.files import printable


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line: what is wrong, and where to look."""

    def __init__(self, prog, hint="--help lists the options", **kwargs):
        super().__init__(prog=prog, allow_abbrev=False, **kwargs)
        self._hint = hint

    def error(self, message):
        sys.exit(fail(self.prog, f"{message} ({self._hint})", 2))


def fail(prog, error, status):
    """One line on stderr, and the exit status."""
    line = printable(" ".join(str(error).split())) or type(error).__name__
    print(f"{prog}: {line}", file=sys.stderr)
    return status


# What a wrong option, file or machine raises before work begins.
USER_ERRORS = (BackendError, ValueError, OSError, MemoryError)


def one_of(names):
    """A type for argparse: one of `names`; the error suggests the nearest."""
    def check(text):
        if text in names:
            return text
        near = difflib.get_close_matches(text.lower(), names)
        raise argparse.ArgumentTypeError(f"unknown {text!r}"
                                         + (f", did you mean {' or '.join(near)}?" if near else "")
                                         + f" (one of {', '.join(names)})")
    return check


def positive(text):
    """An integer ≥ 1."""
    return _integer(text, 1)


def non_negative(text):
    """An integer ≥ 0."""
    return _integer(text, 0)


def _integer(text, least):
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    # No array is longer, and beyond it arithmetic with floats may fail.
    if not least <= number <= sys.maxsize:
        raise argparse.ArgumentTypeError(f"expected an integer ≥ {least}, got {text[:40]}")
    return number


def real(text):
    """A finite number ≥ 0."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0.0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a finite number ≥ 0, got {text}")
    return number
