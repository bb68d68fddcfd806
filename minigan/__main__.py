"""python -m minigan: what there is."""

import sys

from minigan.runs.commandline import command, say

COMMANDS = {"train": "train a GAN, and leave everything about the run in a folder",
            "sample": "draw from a run's generator",
            "evaluate": "how good are a run's samples?",
            "report": "write the page a run is looked at on again, or one of several runs",
            "classifier": "train the network that samples are judged with"}


def main():
    return command("minigan", lambda: run(sys.argv[1:]))


def run(given):
    if given and given[0] not in ("-h", "--help"):
        meant = given[0] if given[0] in COMMANDS else "train"
        raise ValueError(f"no arguments expected, got {' '.join(given)}: a command is called with "
                         f"a point, such as python -m minigan.{meant}")
    say("minigan: generative adversarial networks, small enough to read in an evening\n")
    for name, what in COMMANDS.items():
        say(f"  python -m minigan.{name:10}  {what}")
    say("\nEach takes --help. A first run: python -m minigan.train --data ring8 --steps 2000")


if __name__ == "__main__":
    sys.exit(main())
