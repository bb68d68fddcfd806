"""Each model of the zoo does what a run needs of it. The folder is the list: no model needs a line here."""

import json
import re
from html import escape
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minigan as mg
import strict
from minigan import backend, data, evaluate, plots, report, sample
from minigan.fast import native
from minigan.optim import MovingAverage
from minigan.pictures import tables
from minigan.runs import models, run_folder, supply
from minigan.runs.options import typed
from minigan.trainer import Model
from helpers import (assert_same_run, call, done, failed, last_checkpoint, refused, refused_by, save_images, stats_of,
                     train, undrawn)
from products_seen import products_of_arrays

__all__ = ["call", "train", "undrawn"]  # the fixtures
SOURCES = {"pairs": "edges:digits", "domains": "half:digits", "masked": "masked:digits",
           "small": "small:digits", "captions": "shapes"}  # by what a model needs; digits for all others
TINY = dict(width=2, latent=3, batch_size=8, ema=0.5)  # of which a model takes what it has
TWO_PHASES = "vqgan",  # the first of two steps is of one kind, the second of another
SEEDLESS = "cyclegan", "inpaint", "srgan"  # what draws no random numbers
ENDINGS = "_loss", "_score", "_grad_norm", "_share"
each_model = pytest.mark.parametrize("name", models.names())


class KeepAll:
    """A generator by which dropout leaves nothing out."""
    random = staticmethod(np.ones)


def asked_for(name, **options):
    """A tiny run of a model on pictures with labels, as it is typed."""
    own = models.model_class(name).OPTIONS
    words = [(typed(option), value) for option, value in (TINY | options).items() if option in own]
    return "--model", name, "--data", source_of(name), *[word for pair in words for word in pair]


def source_of(name):
    return next((SOURCES[need] for need in models.model_class(name).NEEDS if need in SOURCES), "digits")


def shape_of(name):
    """Of the pictures that it draws."""
    return (32, 32, 3) if source_of(name) == "shapes" else (8, 8, 1)


def shows_examples(name):
    """Whether a model draws of the pictures or captions of the data."""
    return models.shows_examples(models.model_class(name))


def translates(name):
    """Whether a model makes pictures of others."""
    return "inputs" in signature(models.model_class(name).draw).parameters


def some_inputs(name, n):
    """Pictures for a model that makes others of them."""
    found = data.load(source_of(name))
    return data.to_unit((found.x if found.other is None else found.other)[:n])


@pytest.fixture
def run(train, name):
    """The folder of a run of the model, of two steps."""
    done(train(*asked_for(name), "--steps", 2, "--log-every", 1))
    [folder] = Path("runs").iterdir()
    return folder


def built(name, **options):
    """(model, batches) of a tiny run."""
    words = asked_for(name, **options)[4:]
    chosen = {word[2:].replace("-", "_"): value for word, value in zip(words[::2], words[1::2])}
    given = dict(model=name, data=source_of(name), seed=0, mirror=False, image_size=None, steps=2) | chosen
    dataset = supply.load_data(given, models.model_class(name).NEEDS)
    return models.build(models.complete(given, models.facts_of(dataset)), dataset)[:2]


# The file

@each_model
def test_a_file_of_at_most_150_lines_states_one_model(name):
    assert len((models.ZOO / f"{name}.py").read_text().splitlines()) <= 150
    own = models.model_class(name)
    assert issubclass(own, Model) and own.OPTIONS.keys() >= Model.OPTIONS.keys()
    assert all(len(option) in (2, 3) and option[1] for option in own.OPTIONS.values())


@pytest.mark.parametrize("name, betas", [
    ("cgan", (0.5, 0.999)), ("gman", (0.5, 0.999)), ("vaegan", (0.5, 0.999)), ("biggan", (0.0, 0.999)),
    ("sagan", (0.0, 0.9)), ("progan", (0.0, 0.99)), ("stylegan2", (0.0, 0.99)), ("r3gan", (0.0, 0.99))])
def test_adam_has_the_betas_of_the_paper(name, betas):
    """A twin takes over those of the model."""
    model, _ = built(name)
    assert model.g_optimizer.betas == model.d_optimizer.betas == betas


@each_model
def test_each_optimizer_has_its_own_rate_and_averages_their_decay(name):
    own = models.model_class(name).OPTIONS
    names = [option for option in own if option.startswith("lr_") and option != "lr_decay"]
    rates = {option: 0.001 * k for k, option in enumerate(names, 1)}
    model, _ = built(name, **rates, ema=0.75)
    for option, rate in rates.items():
        assert getattr(model, f"{option.removeprefix('lr_')}_optimizer").lr == rate
    decays = {value.decay for value in vars(model).values() if isinstance(value, MovingAverage)}
    assert decays == ({0.75} if "ema" in own else set())


# Training

@pytest.mark.skipif(native.functions(np.dtype("f")) is None, reason=f"no compiled kernels: {native.why_not}")
@each_model
def test_no_product_of_a_step_is_left_to_the_matrix_library(name):
    """Its threads wait awake for more work, and compete with ours for the cores."""
    model, batches = built(name)
    steps = [batches.deal(model.batches_per_step) for _ in range(2)]
    assert products_of_arrays(lambda: [model.step(step) for step in steps]) == set()


@pytest.mark.on_each_backend
@each_model
def test_n_plus_m_steps_are_n_steps_a_stop_and_m_more(train, monkeypatch, name):
    """To the bit, over the end of an epoch, while rates fall, and however often it is looked at."""
    given = (*asked_for(name, batch_size=500), "--steps", 5, "--log-every", 1)
    done(train(*given, "--out", "whole"))
    save = plots.save_sheet

    def full_disk(path, *what, **how):
        if Path(path).stem == "000003":
            raise OSError("the disk is full")
        save(path, *what, **how)
    with monkeypatch.context() as patch:
        patch.setattr(plots, "save_sheet", full_disk)
        failed(train(*given, "--out", "parts", "--snapshot-every", 1, "--checkpoint-every", 2), "the disk is full")
    [whole], [parts] = Path("whole").iterdir(), Path("parts").iterdir()
    assert "going on after step 2" in done(train("--resume", parts))
    assert_same_run(parts, whole)
    for picture in ("samples/000005.png", "reals.png"):
        assert (parts / picture).read_bytes() == (whole / picture).read_bytes()


@pytest.mark.parametrize("backend_name", ["strict"], indirect=True)
@each_model
def test_a_step_never_waits_for_the_device(backend_name, name):
    model, batches = built(name)
    strict.costs.clear()
    for _ in range(2):
        model.step(batches.deal(model.batches_per_step))
    assert strict.costs == []
    model.draw(5, models.preview(0))
    assert [cost for cost in strict.costs if "trainer.py" in cost] == []
    model.check_finite()
    assert strict.costs  # a flag of each optimizer: what waits is seen


@each_model
def test_its_statistics_tell_by_their_names_what_they_are(run, name):
    lines, model = stats_of(run), models.model_class(name)
    assert [line["step"] for line in lines] == [1, 2]
    assert (lines[0].keys() == lines[1].keys()) == (name not in TWO_PHASES)
    assert set(model.headline) <= lines[0].keys() | lines[1].keys()
    for line in lines:
        assert any(value.endswith("_loss") for value in line) and all(map(np.isfinite, line.values()))
        assert all(value.endswith(ENDINGS) for value in line.keys() - {"step"})


@each_model
def test_every_network_learns(name):
    """All weights of all networks get a gradient, and move; those of a model that grows before the end."""
    model, batches = built(name, steps=2)
    before = {part: network.state_dict() for part, network in model.networks().items()}
    for _ in range(2):
        model.step(batches.deal(model.batches_per_step))
    for part, network in model.networks().items():
        after, weights = network.state_dict(), [key for key, p in network.named_parameters() if p.size > 1]
        assert [key for key in weights if np.array_equal(before[part][key], after[key])] == [], part


@each_model
def test_each_learning_rate_can_be_changed_by_a_run_that_goes_on(train, run, name):
    rates = [option for option in models.model_class(name).OPTIONS if option.startswith("lr_")]
    rates.remove("lr_decay")
    for steps, rate in enumerate(rates, 3):
        done(train("--resume", "--steps", steps, typed(rate), 0.03125))
        assert last_checkpoint(run)[f"trainer.{rate.removeprefix('lr_')}_optimizer.lr"] == 0.03125


@each_model
def test_a_dry_run_tells_its_options_and_networks_and_writes_nothing(train, name):
    out = done(train(*asked_for(name), "--dry-run"))
    own = models.model_class(name).OPTIONS
    assert [option for option in own if not re.search(rf"^{option} +\S", out, re.M)] == []
    learning = [part for part, network in built(name)[0].networks().items()
                if network.parameters() and not part.startswith("averaged")]
    assert re.findall(r"^(\S+), [\d,]+ parameters: ", out, re.M) == learning  # an average learns nothing itself
    assert list(Path().iterdir()) == []


@each_model
def test_a_run_may_begin_with_the_weights_of_another(train, run, name):
    """Without being told once more which model that is, and how wide; and goes on afterwards."""
    out = done(train("--data", source_of(name), "--batch-size", 8, "--steps", 1, "--from", run, "--out", "more"))
    assert f"begun with the generator of {run} after step 2" in out and "differs" not in out
    done(train("--resume", "--out", "more", "--steps", 2))
    [more] = Path("more").iterdir()
    assert run_folder.read_options(more)["options"]["model"] == name


def altered(default):
    """Another value of an option, a number or a switch, that fits wherever the default does."""
    return not default if isinstance(default, bool) else 2 * default if default else 8


@each_model
def test_what_networks_are_is_known_of_each_option(name):
    """An option that changes the shapes of weights is taken over by `--from`; no other one need be."""
    shapes = lambda model: {(part, key): parameter.shape for part, network in model.networks().items()
                            for key, parameter in network.named_parameters()}
    usual, changing = shapes(built(name)[0]), set()
    for option, (default, _, *choices) in models.model_class(name).OPTIONS.items():
        if isinstance(default, int) and not choices and option not in ("steps", "batch_size", *TINY):
            if shapes(built(name, **{option: altered(default)})[0]) != usual:
                changing.add(option)
    assert changing <= models.OF_NETWORKS | {"dense"}


@each_model
def test_a_run_begun_from_another_has_networks_as_that_has(train, name):
    own = models.model_class(name).OPTIONS
    others = {option: altered(own[option][0]) for option in models.OF_NETWORKS & own.keys() - TINY.keys()
              if len(own[option]) == 2}
    done(train(*asked_for(name, **others), "--steps", 1))
    [run] = Path("runs").iterdir()
    out = done(train("--data", source_of(name), "--batch-size", 8, "--steps", 1, "--from", run, "--out", "more"))
    assert f"begun with the generator of {run}" in out and "which has other layers" not in out
    [more] = Path("more").iterdir()
    recorded = run_folder.read_options(more)["options"]
    assert {option: recorded[option] for option in others} == others


@each_model
def test_points_are_learned_from_or_refused_in_one_line(train, name):
    points = np.random.default_rng(0).standard_normal((300, 2))
    np.savez("points.npz", points=points, labels=np.arange(300) % 3)
    result = train(*asked_for(name), "--data", "points.npz", "--steps", 1)
    if result[0] == 0:
        done(result)
        assert mg.load(next(Path("runs").iterdir())).sample(3).shape == (3, 2)
    else:
        refused(result, f"--model {name}", "(2,)")


# What it has learned

@pytest.mark.on_each_backend
@each_model
def test_it_draws_and_its_seed_alone_decides_what(run, name):
    trained, asked = mg.load(run), {}
    if shows_examples(name):
        what, given = ("inputs", some_inputs(name, 20)) if translates(name) else ("caption", "a red star")
        with pytest.raises(ValueError, match=f"makes pictures of .*: give it .* as `{what}`"):
            trained.draw(2)
        asked[what] = given
    drawn, again = trained.draw(20, seed=3, **asked), trained.sample(20, seed=3, **asked)
    other = trained.sample(20, seed=4, **asked)
    assert type(drawn.x) is np.ndarray and drawn.x.dtype == np.float32
    assert drawn.x.shape == (20, *shape_of(name)) and abs(drawn.x).max() <= 1
    np.testing.assert_array_equal(drawn.x, again)
    assert name in SEEDLESS or (again != other).any()
    assert len(np.unique(again.reshape(20, -1), axis=0)) > 1
    assert drawn.labels is None or drawn.labels.shape == (20,) and drawn.labels.dtype.kind == "i"
    assert trained.sample(0, **asked).shape == (0, *shape_of(name))


@pytest.mark.parametrize("name", [name for name in models.names() if translates(name)])
def test_what_becomes_of_a_picture_depends_on_no_other_and_drawing_changes_nothing_in_training(name):
    (one, batches), (other, _) = built(name), built(name)
    dealt, shown = [batches.deal(one.batches_per_step) for _ in range(2)], some_inputs(name, 5)
    asked = dict(label=1) if "label" in signature(one.draw).parameters else {}
    one.step(dealt[0]), other.step(dealt[0])
    together = one.draw(5, KeepAll, inputs=shown, **asked).x
    for i in range(5):
        alone = one.draw(1, KeepAll, inputs=shown[i:i + 1], **asked).x
        np.testing.assert_allclose(alone[0], together[i], atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-3
    one.step(dealt[1]), other.step(dealt[1])
    for (array, a), b in zip(one.state_dict().items(), other.state_dict().values()):
        np.testing.assert_array_equal(a, b, err_msg=array)


@pytest.mark.on_each_backend
@each_model
def test_it_is_sampled_at_the_command_line(call, run, name):
    done(call(sample.main, run, "--n", 5, "--grid", "all.png", "--npz", "all.npz", "--files", "each"))
    assert data.load("all.npz").x.shape == (5, *shape_of(name)) and Path("all.png").stat().st_size > 100
    assert len(list(Path("each").glob("*.png"))) == 5
    interpolated = call(sample.main, run, "--n", 16, "--interpolate")
    if models.model_class(name).walk:
        done(interpolated)
    else:
        refused_by(interpolated, "--interpolate", name)


@pytest.mark.parametrize("name", [name for name in models.names() if translates(name)])
def test_a_picture_is_given_to_it_at_the_command_line(call, run, name):
    mine = Path("mine/a.png")
    mine.parent.mkdir()
    Image.new("RGB", (20, 10), "red").save(mine)
    done(call(sample.main, run, "--input", mine, "--grid", "made.png", "--files", "each"))
    assert len(list(Path("each").iterdir())) == 1
    done(call(sample.main, run, "--input", mine, "--n", 3))
    Path("mine.txt").write_text("no picture")
    for what in ("nowhere.png", "mine.txt", ".", "made.png"):
        refused_by(call(sample.main, run, "--input", what), what)


@pytest.mark.parametrize("name", [name for name in models.names() if not translates(name)])
def test_a_model_that_makes_no_pictures_of_others_refuses_them(call, run, name):
    refused_by(call(sample.main, run, "--input", "mine.png"), "--input mine.png", name)


@each_model
def test_it_is_asked_for_a_caption_or_says_that_it_cannot(call, run, name):
    if "caption" not in signature(models.model_class(name).draw).parameters:
        refused_by(call(sample.main, run, "--caption", "a star"), "--caption a star", name)
        return
    done(call(sample.main, run, "--caption", "A red STAR!", "--n", 4, "--npz", "red.npz", "--grid", "red.png"))
    done(call(sample.main, run, "--caption", "a blue ring", "--n", 4, "--npz", "blue.npz"))
    done(call(sample.main, run, "--caption", "a blue ring", "--n", 8, "--interpolate"))
    assert (data.load("red.npz").x != data.load("blue.npz").x).any()
    for caption, words in (("a red stair", ("'stair'", "star")), ("xyz", ("'xyz'", "such as")), ("", ("some words",))):
        refused_by(call(sample.main, run, "--caption", caption), f"caption '{caption}'", *words)


@each_model
def test_it_is_asked_for_a_class_or_says_that_it_cannot(call, run, name):
    if "label" not in signature(models.model_class(name).draw).parameters:
        refused_by(call(sample.main, run, "--label", 3), "--label 3", name)
        return
    trained = mg.load(run)
    if translates(name):
        kinds = trained.model.label_names()
        asked = dict(inputs=some_inputs(name, 4))
        made = [trained.sample(4, label=kind, **asked) for kind in range(len(kinds))]
        assert len(kinds) >= 2 and (made[0] != made[1]).any()
        done(call(sample.main, run, "--n", 2, "--label", kinds[0]))
        refused_by(call(sample.main, run, "--label", "three"), "no such class", *kinds)
        return
    np.testing.assert_array_equal(trained.draw(4, label=3).labels, [3] * 4)
    np.testing.assert_array_equal(trained.draw(3, label=[0, 9, 5]).labels, [0, 9, 5])
    of_each = np.stack([trained.sample(1, label=k)[0] for k in range(10)])  # at the same noise
    assert len(np.unique(of_each, axis=0)) > 5  # a class that two small batches lacked may look like another
    done(call(sample.main, run, "--n", 2, "--label", 3, "--npz", "three.npz"))
    done(call(sample.main, run, "--n", 8, "--label", "3", "--interpolate"))
    for label in ("10", "-1", "three", ""):
        refused_by(call(sample.main, run, "--label", label), "--label", "no such class", "0, 1, 2")


@each_model
def test_it_is_asked_for_typical_samples_or_says_that_it_cannot(call, run, name):
    if "truncation" not in signature(models.model_class(name).draw).parameters:
        refused_by(call(sample.main, run, "--truncation", 0.5), "--truncation 0.5", name)
        return
    trained = mg.load(run)
    assert (trained.sample(8, truncation=0.5) != trained.sample(8)).any()
    done(call(sample.main, run, "--truncation", 0.5, "--n", 4))
    for bad in ("nan", "half"):
        refused_by(call(sample.main, run, "--truncation", bad), "truncation", bad)
    if models.model_class(name).walk and "truncation" not in signature(models.model_class(name).walk).parameters:
        refused_by(call(sample.main, run, "--truncation", 0.5, "--interpolate"), "--interpolate", "--truncation")


@each_model
def test_what_only_it_can_show_lies_in_its_folder_and_on_its_page(call, run, name):
    named, trained = models.model_class(name).EXHIBITS, mg.load(run)
    made = trained.model.exhibits(backend.Streams(0)["preview"])
    assert made.keys() <= named.keys()
    done(call(report.main, run))
    page = (run / "report.html").read_text(encoding="utf-8")
    assert ("What only this model shows" in page) == bool(named)
    for exhibit, seen in named.items():
        assert exhibit not in made or made[exhibit].ndim == 5 and abs(made[exhibit]).max() <= 1
        with Image.open(run / f"{exhibit}.png") as picture:
            assert min(picture.size) > 8
        assert page.count(escape(seen)) == 2


@each_model
def test_it_is_measured(train, call, run, name):
    done(train("--resume", "--steps", 3, "--evaluate-every", 3))
    quick = stats_of(run)[-1]["evaluation"]
    assert shows_examples(name) or "FD-LeNet-digits" in quick
    done(call(evaluate.main, run, "--n", 60))
    metrics = json.loads((run / "metrics.json").read_text())["metrics"]
    assert metrics.keys() >= quick.keys()
    assert all(map(tables.explanation, metrics))
    assert all(metrics[measure]["value"] > 0 for measure in quick if not measure.startswith("right_"))  # none need be
    if source_of(name) in SOURCES.values():  # what should become of each is known
        assert metrics.keys() >= {"L1", "PSNR"} and quick["L1"] > 0
    elif "labels" in models.model_class(name).NEEDS and "label" in signature(models.model_class(name).draw).parameters:
        assert 0 <= metrics["class_agreement"]["value"] <= 1


@each_model
def test_its_page_shows_its_statistics(call, run, name):
    done(call(report.main, run))
    page = (run / "report.html").read_text(encoding="utf-8")
    assert f'"{name}"' in page or f">{name}<" in page
    assert page.count('class="chart"') >= 2
    assert shows_examples(name) == ("Side by side: " in page)
    lead = re.search("<header>.*?<p>(.*?)</p>", page, re.DOTALL)[1]
    assert lead == f"{'hinge' if name == 'gan' else name} on {source_of(name)}: step 2 of 2."


# Bad input

def black(n, side):
    return dict(other=np.zeros((n, side, side, 1), np.uint8))


LACKING = {  # what a model needs: data beside the pictures that lack it, and what is to be said of them
    "pictures": [],  # points are refused above
    "captions": [({}, "no captions: a folder has them in a captions.csv")],
    "labels": [({}, "has none"), (dict(labels=np.zeros(20, int), classes=np.array(["cats"])), "one only, cats"),
               (dict(labels=np.arange(20) % 2, classes=np.array(["cats", "dogs", "owls"])), "no sample of class owls")],
    "pairs": [({}, "has no pairs"), (black(19, 16), "the same number and the same size"),
              (black(20, 8), "the same number and the same size")],
    "masked": [({}, "the pairs that masked:"), (black(20, 16), "the pairs that masked:")],
    "small": [({}, "the pairs that small:"), (black(20, 16), "the pairs that small:")],
    "domains": [({}, "expected two kinds of pictures"),
                (dict(labels=np.arange(20) % 3), "has 3 classes: expected two kinds"),
                (dict(labels=np.zeros(20, int), classes=np.array(["cats", "dogs"])), "no picture of the kind dogs"),
                (black(20, 8), "the same shape")]}


@each_model
def test_data_without_what_it_needs_are_refused_and_others_learned_from(train, name):
    images, needs = save_images("lacking.npz", size=(16, 16)), models.model_class(name).NEEDS
    for beside, words in [case for need in needs for case in LACKING[need]]:
        np.savez("lacking.npz", images=images, **beside)
        for last in ((), ("--dry-run",)):
            refused(train(*asked_for(name), "--data", "lacking.npz", *last), words)
            if words != "the same shape":
                refused(train(*asked_for(name), "--data", "lacking.npz", *last), "lacking.npz")
    assert not Path("runs").exists()
    if not needs:
        done(train(*asked_for(name), "--data", "lacking.npz", "--steps", 1))


@each_model
def test_an_option_of_another_model_is_refused_with_the_model_that_has_it(train, name):
    own = models.model_class(name).OPTIONS
    for other in models.names():
        for option in models.model_class(other).OPTIONS.keys() - own.keys():
            refused(train("--model", name, typed(option), 1), typed(option), "--model", other)


@each_model
def test_its_help_lists_its_own_options(train, name):
    status, out, err = train("--model", name, "--help")
    assert (status, err) == (0, "") and f"options of --model {name}:" in out
    own = out.split(f"options of --model {name}:")[1]
    assert [option for option in models.model_class(name).OPTIONS if typed(option) not in own] == []


@each_model
def test_a_run_of_one_model_does_not_go_on_as_another(train, run, name):
    for other in set(models.names()) - {name}:
        refused(train("--resume", "--model", other, "--steps", 3), f"--model {other} (it has {name})")


def test_a_model_that_does_not_exist_is_refused_with_those_that_do(train):
    refused(train("--model", "cgn"), "cgn", "did you mean", "cgan")
    refused(train("--model", "__init__"), "__init__", *models.names())
    with pytest.raises(ValueError, match="no model 'cgn': expected one of gan, .*cgan"):
        models.model_class("cgn")
