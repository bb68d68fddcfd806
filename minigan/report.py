"""python -m minigan.report: write the page that a run is looked at on."""

import sys
from pathlib import Path

from minigan.data import disk
from minigan.data.files import printable
from minigan.pictures.report import comparison, page, save
from minigan.runs.commandline import Parser, command, path, say

PROG = "minigan.report"


def parser():
    p = Parser(prog=PROG, description="Write RUN/report.html again, the page a run is looked at "
               "on; of several runs, one page with all side by side.",
               examples=("python -m minigan.report runs/*",))
    p.add_argument("runs", metavar="RUN", nargs="+", type=path, help="a run folder")
    p.add_argument("--out", metavar="FILE", type=path,
                   help="(default: RUN/report.html; of several runs comparison.html)")
    return p


def main(arguments=None):
    return command(PROG, lambda: run(parser().parse_args(arguments)))


def run(given):
    folders = [Path(run) for run in dict.fromkeys(given.runs)]
    content = page(folders[0]) if len(folders) == 1 else comparison(folders)
    if len(folders) == 1 and not given.out:
        out = folders[0] / "report.html"
        save(out, content)
    else:
        out = given.out or "comparison.html"
        save(out, content, disk.output)
    say(printable(str(out)))


if __name__ == "__main__":
    sys.exit(main())
