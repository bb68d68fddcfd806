"""python -m minigan.report: write the page that a run is looked at on."""

import sys
from pathlib import Path

from minigan.pictures.report import comparison, page, save
from minigan.runs.commandline import USER_ERRORS, Parser, fail, path

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
    given = parser().parse_args(arguments)
    folders = [Path(run) for run in dict.fromkeys(given.runs)]
    try:
        if len(folders) == 1:
            out, content = given.out or folders[0] / "report.html", page(folders[0])
        else:
            out, content = given.out or "comparison.html", comparison(folders)
        save(out, content)
    except USER_ERRORS as error:
        return fail(PROG, error, 2)
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
