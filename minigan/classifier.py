"""python -m minigan.classifier: train the network that samples are judged with."""

import os
import re
import shlex
import sys
import tempfile
import time

from minigan import backend
from minigan.data.files import printable
from minigan.metrics.classifiers import Classifier, save
from minigan.metrics.lenet import EPOCHS, LeNet, fit, train_and_test
from minigan.runs.commandline import (
    Parser, command, fail, non_negative, one_of, path, positive, say, size)

PROG = "minigan.classifier"


def parser():
    p = Parser(prog=PROG, description="Train the network that samples are judged with. The last "
               "epoch's weights are kept: no choice is made by the test set.",
               examples=("python -m minigan.classifier --data my/pictures --image-size 32",
                         "python -m minigan.evaluate RUN --classifier lenet-pictures.npz"))
    p.add_argument("--data", metavar="NAME|PATH", required=True, type=path,
                   help="mnist, fashion, another data set with labels, a folder with a sub-folder "
                   "per class, or an .npz with `images` and `labels`; without a test set of its "
                   "own a tenth is held out")
    p.add_argument("--epochs", type=positive, default=EPOCHS,
                   help=f"passes over the data (default: {EPOCHS})")
    p.add_argument("--seed", type=non_negative, default=0,
                   help="of all random numbers (default: 0)")
    p.add_argument("--image-size", type=size, metavar="SIDE|HxW",
                   help="of the pictures of a folder, 64, or 48x64 which is 48 high (default: 64)")
    p.add_argument("--out", metavar="NPZ", type=path,
                   help="the file to write (default: lenet-NAME.npz)")
    p.add_argument("--backend", type=one_of(backend.names()), default="numpy", metavar="NAME",
                   help=" or ".join(backend.names()))
    return p


def main(arguments=None):
    return command(PROG, lambda: run(parser().parse_args(arguments)))


def run(options):
    began = time.perf_counter()
    title = re.sub(r"[^A-Za-z0-9._-]+", "-",
                   os.path.basename(os.path.abspath(options.data)).removesuffix(".npz"))
    out = options.out or f"lenet-{title}.npz"
    folder = os.path.dirname(os.path.abspath(out))
    # Refused now, not after the training.
    if os.path.isdir(out) or not (os.path.isdir(folder) and os.access(folder, os.W_OK)):
        raise ValueError(f"--out {out}: expected the name of a file in a folder that can be "
                         "written to")
    backend.use_backend(options.backend)
    streams = backend.Streams(options.seed)
    training, test = train_and_test(options.data, options.image_size, streams)
    network = LeNet(training.x.shape[1:], len(training.classes), streams["init"])
    made = printable(f"python -m {PROG} --data {shlex.quote(options.data)} --epochs "
                     f"{options.epochs} --seed {options.seed}"
                     + (f" --image-size {options.image_size}" if options.image_size else ""))
    classifier = Classifier(network, f"LeNet-{title}", training.classes, training.x.shape[1:], 0.0,
                            made)
    losses = fit(network, training.x, training.labels, options.epochs, streams)
    for epoch, loss in enumerate(losses, 1):
        classifier.accuracy = classifier.share_right(test.x, test.labels)
        say(f"epoch {epoch} of {options.epochs}: loss {loss:.4f}, {classifier.accuracy:.2%} of "
            f"{len(test.x)} test images right, {time.perf_counter() - began:.0f} s")
    try:
        save(out, classifier)
    except OSError as error:  # a full disk, say: what took minutes is kept elsewhere
        with tempfile.NamedTemporaryFile(suffix=".npz", delete=False) as spare:
            save(spare.name, classifier)
        return fail(PROG, f"{error}; the trained network is in {spare.name}", 1)
    say(f"{printable(out)}: {classifier.name}, {sum(p.size for p in network.parameters()):,} "
        "weights")


if __name__ == "__main__":
    sys.exit(main())
