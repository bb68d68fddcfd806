"""python -m minigan: what there is."""

import sys

COMMANDS = {"train": "train a GAN, and leave everything about the run in a folder",
            "sample": "draw from a run's generator",
            "evaluate": "how good are a run's samples?",
            "report": "write the page a run is looked at on again, or one of several runs",
            "classifier": "train the network that samples are judged with"}


def main():
    print("minigan: generative adversarial networks, small enough to read in an evening\n")
    for name, what in COMMANDS.items():
        print(f"  python -m minigan.{name:10}  {what}")
    print("\nEach takes --help. A first run: python -m minigan.train --data ring8 --steps 2000")
    return 0


if __name__ == "__main__":
    sys.exit(main())
