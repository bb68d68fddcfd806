"""What the command lines share: errors for people, and exit statuses.

0 done · 1 the run failed, or nobody takes the output (a broken pipe, a full disk; where there is no
standard output at all, nothing is said) · 2 the user's mistake, one line on stderr · 129, 130 and
143 ended by the terminal's end, by Ctrl-C and by SIGTERM.
"""

import argparse
import codecs
import contextlib
import difflib
import os
import sys
import textwrap

from minigan.backend import BackendError
from minigan.data.files import printable, tell

# What an output that knows few characters gets for those that we use; else their escapes.
PLAIN = {"↑": "^", "↓": "v", "→": "->", "±": "+-", "×": "x", "–": "-", "−": "-", "≥": ">=",
         "≤": "<=", "…": "...", "∞": "inf"}


def _plainly(error):
    text = error.object[error.start:error.end]
    return "".join(PLAIN.get(c, c.encode("ascii", "backslashreplace").decode())
                   for c in text), error.end


codecs.register_error("minigan-plainly", _plainly)


class OutputError(OSError):
    """Standard output cannot be written to."""


# What other programs call our options.
MEANT = {"--lr": "--lr-g and --lr-d", "--learning-rate": "--lr-g and --lr-d",
         "--batch": "--batch-size", "--z-dim": "--latent",
         "--epochs": "--steps, which counts updates of the generator",
         "--device": "--backend", "--gpu": "--backend cupy", "--cuda": "--backend cupy",
         "--dataset": "--data", "--output": "--out", "--num": "--n", "--count": "--n"}


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line: what is wrong, and where to look. `examples` end the
    help, a command each; `elsewhere(option)` says where else there is an option of this name."""

    def __init__(self, prog, hint="--help lists the options", examples=(), elsewhere=None,
                 **kwargs):
        kwargs["description"] = textwrap.fill(kwargs.get("description", ""), 80)
        super().__init__(prog=f"python -m {prog}", allow_abbrev=False,
                         formatter_class=argparse.RawDescriptionHelpFormatter,
                         epilog="\n  ".join(("examples:", *examples)) if examples else None,
                         **kwargs)
        self.name, self._hint, self._elsewhere = prog, hint, elsewhere

    def error(self, message):
        sys.exit(fail(self.name, f"{message} ({self._hint})", 2))

    def parse_args(self, *args):
        """As argparse's, but an unknown option is named with the one that was meant."""
        options, unknown = self.parse_known_args(*args)
        if unknown:
            words = [word.split("=")[0] for word in unknown]
            other = list(filter(None, map(self._elsewhere, words))) if self._elsewhere else []
            near = list(filter(None, map(self._meant, words)))
            self.error(f"unrecognized arguments: {' '.join(unknown)}"
                       + (f": {', and '.join(other)}" if other else
                          f": did you mean {', and '.join(near)}?" if near else ""))
        return options

    def _meant(self, word):
        own, meant = self._option_string_actions, MEANT.get(word, "")
        if meant and meant.split()[0].rstrip(",") in own:
            return meant
        return " or ".join(difflib.get_close_matches(word, own, 1)) if word[:2] == "--" else ""

    def print_help(self, file=None):
        say(self.format_help(), end="")


def say(text, end="\n"):
    """Text on standard output, at once. OutputError if it cannot be written."""
    try:
        print(text, end=end, flush=True)
    except (OSError, ValueError) as error:  # ValueError: it is closed
        _give_up_output()
        raise OutputError(f"the output cannot be written: {error}") from None


def _give_up_output():
    """What is left in the buffer would be written at the end of the process, and fail once more."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def fail(prog, error, status):
    """One line on stderr, and the exit status."""
    line = printable(" ".join(str(error).split())) or type(error).__name__
    tell(line, prog)
    return status


# What a wrong option, file or machine raises before work begins.
USER_ERRORS = (BackendError, ValueError, OSError, MemoryError)


def command(prog, work):
    """The exit status of a command: work() does it, and returns None or another status than 0."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):  # not every one is a file
            stream.reconfigure(errors="minigan-plainly")
    try:
        return work() or 0
    except OutputError as error:
        return fail(prog, error, 1)
    except USER_ERRORS as error:
        return fail(prog, error, 2)
    except KeyboardInterrupt:
        return fail(prog, "interrupted", 130)


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


def path(text):
    """A path, in which ~ is the user's home."""
    return os.path.expanduser(text)


def size(text):
    """Sides of pictures: 64, or 48x64, which is 48 high and 64 wide. A square's is an integer."""
    parts = text.lower().replace("×", "x").split("x")
    try:
        height, width = [_integer(part, 1) for part in (parts if len(parts) > 1 else 2 * parts)]
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError("expected a side in pixels, or HEIGHTxWIDTH such as "
                                         f"48x64, got {text[:40]}") from None
    return height if height == width else f"{height}x{width}"


def flag(text):
    """Yes or no."""
    if text not in ("True", "False"):
        raise argparse.ArgumentTypeError(f"expected True, False or nothing, got {text[:40]}")
    return text == "True"


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
