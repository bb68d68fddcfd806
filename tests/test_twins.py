"""Each model of the zoo is the paper's: it takes the very steps of an independent PyTorch program, its twin."""

import importlib
from pathlib import Path

import numpy as np
import pytest

import minigan as mg
from minigan import backend, networks, nn
from minigan.runs import models
from minigan.trainer import Batch, Facts
from helpers import torch

__all__ = ["torch"]  # the fixture

ROOT = Path(__file__).parent.parent
FACTS = Facts((16, 16, 1), ("a", "b", "c"), (0.5, 0.25, 0.25), words=("blue", "large", "ring", "star"))
SAID = np.array(["a large blue star", "star", "a star, star", "a blue ring", "large, large, blue", "who knows"])
SMALL = dict(width=2, latent=3, batch_size=8, lr_decay=1.0)  # how rates fall is tested with `Model`
OPTIONS = {"infogan": dict(categories=4, continuous=3), "semisupervised": dict(labelled=12),
           "cyclegan": dict(pool=10, blocks=2), "inpaint": dict(bottleneck=5, adversarial=0.4),
           "srgan": dict(blocks=2, adversarial=0.5), "vae": dict(beta=1.5),
           "vqgan": dict(codes=5, features=3, begin=0.0, renew=1, prior=0.34, prior_width=8, steps=3),
           "biggan": dict(accumulate=2, n_critic=2, embedding=4, orthogonal=0.5),
           "stargan": dict(n_critic=2, blocks=2), "progan": dict(steps=3, grow=0.8),
           "stylegan2": dict(r1=0.5, r1_every=2, path=0.5, path_every=2, mixing=0.5, depth=2, ada=True,
                             ada_images=32)}  # beside SMALL
OTHER = {"pairs": (16, 16, 2), "domains": (16, 16, 1), "masked": (16, 16, 1),
         "small": (4, 4, 1)}  # the second pictures, by what a model needs
NOT_GAN = [name for name in models.names() if name != "gan"]  # whose twin is compared in test_toolbox


def float64_model(name, **options):
    """A tiny model whose weights are large enough to matter, and its options."""
    given = dict(model=name) | SMALL | OPTIONS.get(name, {}) | options
    own = models.model_class(name).OPTIONS
    given = {key: value for key, value in given.items() if key in own or key == "model"}
    facts = FACTS._replace(other=other_shape(name))
    options = models.complete(given, facts)
    model = models.made(options, facts, backend.Streams(1))
    [known] = batches(name, 1, n=40, seed=3)
    model.learn_from(known.x.astype("float32"), known.labels, known.captions)
    for network in model.networks().values():
        for p in network.parameters():
            if p.ndim > 1:
                p.data = p.data * (5.0 if np.abs(p.data).max() < 0.2 else 1.0)
        network.astype("float64")
    if options.get("ada"):
        model.adaptive.p = 0.5 + model.adaptive.p  # so that pictures are changed from the first step
    return model, options


def other_shape(name):
    """That of the second pictures, () for a model that needs none."""
    return next((shape for need, shape in OTHER.items() if need in models.model_class(name).NEEDS), ())


def batches(name, steps, n=SMALL["batch_size"], seed=2):
    rng, other = np.random.default_rng(seed), other_shape(name)
    return [Batch(rng.uniform(-1, 1, (n, *FACTS.shape)), rng.integers(len(FACTS.classes), size=n),
                  rng.uniform(-1, 1, (n, *other)) if other else None, SAID[rng.integers(len(SAID), size=n)])
            for _ in range(steps)]


def arrays_of(network):
    """The parameters of a PyTorch network, and the vectors u of its spectral norms."""
    return {name: tensor.detach().numpy() for name, tensor in network.state_dict().items()
            if name in dict(network.named_parameters()) or name.endswith("weight_u")}


@pytest.mark.on_each_engine
@pytest.mark.parametrize("name, options", [*[(name, {}) for name in NOT_GAN], ("srgan", dict(relativistic=True)),
                                           ("progan", dict(grow=0.0)),
                                           ("stylegan2", dict(ada=False, r1_every=1, path_every=1, mixing=1.0))])
def test_a_model_takes_the_steps_of_its_twin(torch, engine, name, options):
    """Three steps in float64: every loss and every weight to 1e-8."""
    twins = importlib.import_module(f"benchmarks.twins.{name}")
    model, _ = float64_model(name, **options)
    twin = twins.Twin(model, backend.Streams(1))
    for batch in batches(name, 3):
        ours = model.step(batch)
        x, other = [None if array is None else torch.from_numpy(array.transpose(0, 3, 1, 2).copy())
                    for array in (batch.x, batch.other)]
        said = [batch.captions] if "captions" in models.model_class(name).NEEDS else []
        theirs = twin.step(x, batch.labels, *([] if other is None else [other]), *said)
        assert len(theirs) >= (1 if name == "vqgan" else 2)
        for key, value in theirs.items():
            np.testing.assert_allclose(float(ours[key]), value, rtol=1e-8, atol=1e-8, err_msg=key)
    again = twins.Twin(model, backend.Streams(1))  # minigan's weights after the steps, in PyTorch's order
    learning = {key for key, network in model.networks().items() if network.parameters()}
    assert twin.networks.keys() == {key for key in learning if not key.startswith("averaged")}
    for key, network in twin.networks.items():
        expected, found = arrays_of(again.networks[key]), arrays_of(network)
        for weight in expected:
            np.testing.assert_allclose(found[weight], expected[weight], rtol=0, atol=1e-8, err_msg=f"{key} {weight}")


@pytest.mark.parametrize("first_norm", [True, False])
@pytest.mark.parametrize("sides", [(16, 32), (36, 8)])
def test_a_translator_of_larger_pictures_halves_them_twice(torch, sides, first_norm):
    from benchmarks.twins import cyclegan
    ours = networks.residual_translator(sides, 3, 2, 4, 1, first_norm, np.random.default_rng(0)).astype("float64")
    assert sum(isinstance(layer, nn.ConvTranspose2d) for layer in ours) == (2 if max(sides) > 32 else 1)
    x = np.random.default_rng(1).uniform(-1, 1, (2, *sides, 3))
    theirs = cyclegan.generator(ours, 3, 4, 2, first_norm)(torch.from_numpy(x.transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(ours(mg.Tensor(x)).numpy(), theirs.detach().numpy().transpose(0, 2, 3, 1), atol=1e-10)


@pytest.mark.parametrize("name", models.names())
def test_a_twin_knows_no_formula_of_minigans(name):
    """It may take pieces of networks from `benchmarks.reference`, and nothing of the package."""
    source = (ROOT / "benchmarks" / "twins" / f"{name}.py").read_text(encoding="utf-8")
    assert "minigan" not in source.replace("minigan's", "")
