"""What the command lines share: errors for people, and exit statuses.

0 done · 1 the run failed · 2 the user's mistake, one line on stderr · 130 and 143 ended by Ctrl-C and by SIGTERM.
"""

import argparse
import sys

from minigan.backend import BackendError


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line: what is wrong, and where the options are listed."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, allow_abbrev=False, formatter_class=argparse.ArgumentDefaultsHelpFormatter, **kwargs)

    def error(self, message):
        line = " ".join(str(message).split())
        print(f"{self.prog}: {line} (--help lists the options)", file=sys.stderr)
        sys.exit(2)


def fail(prog, error, status):
    """One line on stderr, and the exit status."""
    line = " ".join(str(error).split()) or type(error).__name__
    print(f"{prog}: {line}", file=sys.stderr)
    return status


USER_ERRORS = (BackendError, ValueError, OSError)  # what a wrong option, file or machine raises before work begins


def positive(text):
    """An integer ≥ 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected an integer ≥ 1, got {text}")
    return number


def non_negative(text):
    """An integer ≥ 0."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"expected an integer ≥ 0, got {text}")
    return number


def real(text):
    """A finite number ≥ 0."""
    number = float(text)
    if not 0.0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a finite number ≥ 0, got {text}")
    return number
