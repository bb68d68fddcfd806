"""The options of a run: as they are typed, as they are recorded in options.json, and as a resumed
run keeps them."""

import argparse
import contextlib
import os

from minigan import backend, data
from minigan.data import DataError, files
from minigan.runs import models, supply
from minigan.runs.commandline import (
    Parser, flag, non_negative, one_of, path, positive, real, size)
from minigan.runs.run_folder import RunError, latest_folder, read_options

CHANGEABLE = {"steps", "log_every", "snapshot_every", "evaluate_every", "classifier",
              "checkpoint_every", "keep", "keep_best", "backend",
              "data"}  # by a run that is resumed; the fingerprint proves that data are the same
DEFAULTS = dict(data="fashion-mini", model="gan", backend="numpy", seed=0, image_size=None,
                mirror=False, log_every=50, snapshot_every=100, evaluate_every=0, classifier=None,
                checkpoint_every=250, keep=2, keep_best=False, **{"from": None})
ABOUT_THIS_CALL = {"out", "name", "resume", "dry_run", "tf32"}  # and not the run


EXAMPLES = ("python -m minigan.train                      # clothes, in a few minutes",
            "python -m minigan.train --data ring8         # points: what mode collapse looks like",
            "python -m minigan.train --data my/pictures --image-size 32 --evaluate-every 500 "
            "--classifier fashion",
            "python -m minigan.train --resume --steps 5000")


def parser(model="gan", prog="minigan.train", **more):
    """The options of a run, and those of this model. Those left out are not in the result at all,
    so that a resumed run can tell what was asked for."""
    p = Parser(prog=prog, description="Train a model. Everything about the run is left in a "
               "folder of its own.", argument_default=argparse.SUPPRESS, examples=EXAMPLES,
               elsewhere=lambda option: elsewhere(option, model), **more)
    p.add_argument("--data", metavar="NAME|PATH", type=path, help=f"{', '.join(data.NAMES)}, a "
                   "folder or a .zip of pictures, or an .npz with `images` or `points`; with "
                   "edges:, half:, masked: or small: before it, pairs made of it (default: "
                   "fashion-mini)")
    p.add_argument("--model", metavar="NAME", type=one_of(models.names()),
                   help=f"{', '.join(models.names())}; --model NAME --help lists its options "
                   "(default: gan)")
    p.add_argument("--backend", metavar="NAME", type=one_of(backend.names()),
                   help=f"{' or '.join(backend.names())} (default: numpy)")
    p.add_argument("--tf32", action="store_true",
                   help="with cupy: faster, less exact products of matrices (10 binary digits)")
    p.add_argument("--seed", type=non_negative, help="of all random numbers (default: 0)")
    p.add_argument("--image-size", type=size, metavar="SIDE|HxW", help="to which the pictures of a "
                   "folder are cropped and resized, 64, or 48x64 which is 48 high (default: 64)")
    p.add_argument("--mirror", type=flag, nargs="?", const=True, metavar="True|False",
                   help="turn every other picture left to right, drawn anew each time it is seen")
    p.add_argument("--from", type=path, metavar="RUN", help="begin with the weights of this run; "
                   "model, networks and recipe are its own unless given")
    p.add_argument("--out", metavar="FOLDER", type=path,
                   help="where run folders are made (default: runs)")
    p.add_argument("--name", help="the run folder's name after its number (default: from data, "
                   "objective and seed)")
    p.add_argument("--log-every", type=positive, metavar="STEPS", help="(default: 50)")
    p.add_argument("--snapshot-every", type=positive, metavar="STEPS",
                   help="a picture of samples (default: 100)")
    p.add_argument("--evaluate-every", type=non_negative, metavar="STEPS",
                   help="quick measures of 2000 samples, into stats.jsonl and losses.png "
                   "(default: 0, never)")
    p.add_argument("--classifier", metavar="NAME|FILE", type=path,
                   help="the feature network to measure images with: mnist, fashion, digits, or a "
                   "file that python -m minigan.classifier wrote (default: by the data)")
    p.add_argument("--checkpoint-every", type=positive, metavar="STEPS",
                   help="a state to resume from (default: 250)")
    p.add_argument("--keep", type=positive, help="how many checkpoints stay (default: 2)")
    p.add_argument("--keep-best", type=flag, nargs="?", const=True, metavar="True|False",
                   help="keep the state with the least Fréchet distance too, as checkpoints/"
                   "best.npz; needs --evaluate-every")
    p.add_argument("--resume", nargs="?", const="latest", metavar="RUN", type=path,
                   help="go on with this run folder, or with the latest one that has a checkpoint")
    p.add_argument("--dry-run", action="store_true",
                   help="print the resolved options, run one step, write nothing")
    own = p.add_argument_group(f"options of --model {model}")
    for name, (default, text, *choices) in models.model_class(model).OPTIONS.items():
        text = text if "(default" in text else f"{text} (default: {default})"
        own.add_argument(typed(name), help=text, **how_typed(default, choices))
    return p


def typed(name):
    return f"--{name.replace('_', '-')}"


def how_typed(default, choices):
    """How argparse is told of a model's option: it is of the default's type."""
    if choices:
        return dict(type=one_of(choices[0]), metavar="NAME")
    if isinstance(default, bool):
        return dict(type=flag, nargs="?", const=True, metavar="True|False")
    if isinstance(default, int):
        return dict(type=positive if default > 0 else non_negative)
    return dict(type=real)


def elsewhere(option, model):
    """The models that have an option which `model` has not."""
    having = [name for name in models.names() if name != model
              and option in map(typed, models.model_class(name).OPTIONS)]
    return f"it is an option of --model {' and '.join(having)}" if having else ""


def model_named(arguments, prog):
    """The model that a command line is about: the one it names, or that of the run it goes on with
    or begins with. Its options are known only then."""
    p = Parser(prog, add_help=False, argument_default=argparse.SUPPRESS)
    p.add_argument("--model", type=one_of(models.names()))
    p.add_argument("--resume", nargs="?", const="latest", type=path)
    p.add_argument("--from", type=path)
    p.add_argument("--out", type=path, default="runs")
    given = vars(p.parse_known_args(arguments)[0])
    run = given.get("resume", given.get("from"))
    if "model" in given or run is None:
        return given.get("model", "gan")
    with contextlib.suppress(RunError, OSError):  # which the command itself complains of
        folder = latest_folder(given["out"]) if given.get("resume") == "latest" else run
        name = read_options(folder)["options"].get("model")
        return name if name in models.names() else "gan"
    return "gan"


def of_the_run(given):
    return {name: value for name, value in given.items() if name not in ABOUT_THIS_CALL}


def recorded_options(record, folder, prog="minigan.train"):
    """The options in a run's options.json, read as if they were typed, so that what was tampered
    with is refused. Those that are younger than the run are what they were in effect."""
    path = folder / "options.json"
    options = models.BEFORE | record["options"]
    model = options["model"]
    if model not in models.names():
        raise ValueError(f"{path} names a model that this version does not know: "
                         f"{str(model)[:40]}; a newer minigan may have written it")
    expected = DEFAULTS.keys() | models.model_class(model).OPTIONS.keys()
    if model != "gan":
        options = {name: value for name, value in options.items()
                   if name in record["options"] or name in expected}
    if unknown := sorted(options.keys() - expected):
        raise ValueError(f"{path} has options that this version does not know: "
                         f"{', '.join(unknown)[:200]}; a newer minigan may have written it")
    if missing := sorted(expected - options.keys()):
        raise ValueError(f"{path} does not hold a run's options: {', '.join(missing)} missing")
    words = [f"{typed(name)}={value}" for name, value in options.items() if value is not None]
    read = vars(parser(model, prog, hint=f"in {path}").parse_args(words))
    for name, value in options.items():
        if read.get(name) != value or value is None and DEFAULTS.get(name, 0) is not None:
            raise ValueError(f"{path} does not hold a run's options: {name} {str(value)[:40]}")
    return options


def resume_options(given, recorded, folder):
    """The options of a run that goes on. ValueError, listing every difference, if others than
    CHANGEABLE and `breaking` differ."""
    if "name" in given:
        raise ValueError(f"--name {given['name']} is for a new run: one that goes on keeps its "
                         f"own, {folder}")
    chosen = of_the_run(given)
    differences = [f"{typed(name)} {value} (it has {recorded.get(name)})"
                   for name, value in chosen.items() if name not in CHANGEABLE | breaking(recorded)
                   and value != recorded.get(name)]
    if differences:
        raise ValueError(f"{folder} was started with other options, and a resumed run keeps its "
                         "own: "
                         + ", ".join(differences))
    return recorded | chosen


def breaking(options):
    """Those that are changeable too, but no run began like that: batch size and learning rates."""
    return {"batch_size", *(name for name in options if name.startswith("lr_"))} - {"lr_decay"}


def breaks(options, recorded):
    """What is said of a run that goes on with another rate or batch size, or ""."""
    to_the_end = options["lr_decay"] < 1 or any(
        options.get(name) for name in ("instance_noise", "grow", "prior"))
    planned = {"steps"} if to_the_end else set()  # what falls or grows by the number of steps
    changed = [f"{typed(name)} {options[name]} (it was {recorded[name]})"
               for name in sorted(breaking(options) | planned) if options[name] != recorded[name]]
    return ("other numbers from here on than the run would have had, for this was changed: "
            + ", ".join(changed)) if changed else ""


def load_data(options):
    return supply.load_data(options, models.model_class(options["model"]).NEEDS)


FILES = ("data", "classifier")  # the options that may name a file or a folder


def places(options, folder):
    """{option: where its file is, as an absolute path and as seen from the run's folder}: to be
    recorded, for a relative path means nothing in another working directory."""
    found = {}
    for name in FILES:
        prefix, value = data.without_prefix(options[name] or "")
        if value and value not in data.NAMES and os.path.exists(value):
            path = os.path.abspath(value)
            with contextlib.suppress(ValueError):  # another drive
                found[name] = [prefix + path, prefix + os.path.relpath(path, folder)]
    return found


def _candidates(record, options, name, folder):
    """The paths at which the file of an option may be, the given one first."""
    known = record.get("places")
    known = known.get(name) if isinstance(known, dict) else None
    known = [each for each in known if isinstance(each, str)] if isinstance(known, list) else []
    others = [prefix + os.path.normpath(os.path.join(folder, each))
              for prefix, each in map(data.without_prefix, known[:2])]
    given = options[name]
    is_name = data.without_prefix(given)[1] in data.NAMES
    return [given] if is_name else list(dict.fromkeys([given, *others]))


def data_of_run(record, options, folder):
    """The data of a run, wherever they are now: where the option says, where they were, or where
    they are as seen from the run's folder. Of what is there, it is what has the run's fingerprint.
    ValueError if it is nowhere; options["data"] then says where it was found."""
    errors = []
    for source in _candidates(record, options, "data", folder):
        try:
            found = load_data(options | {"data": source})
        except files.NotNow:
            raise
        except DataError as error:
            errors.append(error)
            continue
        if _fingerprint(found, record) == record.get("data"):
            check_facts(folder / "options.json", models.facts_in(record), models.facts_of(found),
                        labelled="labels" in record["data"], captioned="captions" in record["data"])
            options["data"] = source
            return found
        errors.append(ValueError(f"{source} has changed since {folder} was started, or is another "
                                 "data set: a run goes on with its own data, and is judged by them"
                                 ))
    raise errors[0]


def check_facts(path, recorded, found, labelled, captioned):
    """ValueError for a record of other samples than those of the run's data, or other classes or
    words."""
    if recorded.shape != found.shape:
        raise ValueError(f"{path}: its sample_shape is {list(recorded.shape)}, that of its data "
                         f"{list(found.shape)}")
    if labelled and len(recorded.classes) != len(found.classes):
        raise ValueError(f"{path}: it has {len(recorded.classes)} classes, its data "
                         f"{len(found.classes)}")
    if captioned and recorded.words != found.words:
        raise ValueError(f"{path}: its {len(recorded.words)} words are not those of its data's "
                         "captions")


def _fingerprint(dataset, record):
    """Of the labels, the pairs and the captions too if the run's is."""
    known = record.get("data")
    known = known if isinstance(known, dict) else {}
    return data.fingerprint(dataset.x, dataset.labels if "labels" in known else None,
                            dataset.other if "other" in known else None,
                            dataset.captions if "captions" in known else None)


def data_folders(record, folder):
    """Where the pictures of a run are, or may be, if its data are a folder of them."""
    options = record["options"]
    if not isinstance(options.get("data"), str):
        return []
    found = _candidates(record, options, "data", folder)
    found = [path for _, path in map(data.without_prefix, found)]
    return [path for path in found if path not in data.NAMES and os.path.isdir(path)]


def classifier_of_run(record, options, folder):
    """The name or file of the run's classifier, wherever that is now; None if it has none."""
    if options["classifier"] is None:
        return None
    found = _candidates(record, options, "classifier", folder)
    return next((path for path in found if os.path.exists(path)), found[0])
