"""SRGAN: small pictures, the pixel shuffle, what the losses weigh, ESRGAN's losses, bicubic interpolation beside it."""

import numpy as np
import pytest
from PIL import Image

import minigan as mg
from minigan import data, nn, plots
from minigan.data import DataError, made
from minigan.metrics import psnr
from minigan.runs import models
from minigan.trainer import Batch, Facts
from minigan.zoo.srgan import RelativisticAverage, generator
from helpers import gradient_of, refused, small_translator, torch, train, undrawn

__all__ = ["torch", "train", "undrawn"]  # the fixtures
SHAPE, SMALL, N = (16, 12, 3), (4, 3, 3), 4


def enlarger(**options):
    return small_translator("srgan", Facts(SHAPE, other=SMALL), **dict(blocks=2) | options)


def batch(seed=2):
    rng = np.random.default_rng(seed)
    return Batch(rng.uniform(-1, 1, (N, *SHAPE)), None, rng.uniform(-1, 1, (N, *SMALL)))


# Small pictures

def test_a_small_picture_has_the_rounded_means_of_the_squares():
    x = np.random.default_rng(0).integers(256, size=(3, 8, 12, 3), dtype=np.uint8)
    found = made.small(x)
    assert found.shape == (3, 2, 3, 3) and found.dtype == np.uint8
    for n, i, j in np.ndindex(3, 2, 3):
        square = x[n, 4 * i:4 * i + 4, 4 * j:4 * j + 4].reshape(16, 3)
        np.testing.assert_array_equal(found[n, i, j], np.rint(square.astype(float).mean(0)))


@pytest.mark.parametrize("shape", [(8, 10, 1), (6, 8, 3), (3, 3, 1)])
def test_sides_that_are_not_multiples_of_4_are_refused(shape, tmp_path):
    np.savez(tmp_path / "x.npz", images=np.zeros((5, *shape), np.uint8))
    with pytest.raises(DataError, match=f"small: pictures of {shape[0]} × {shape[1]} pixels.*multiples of 4"):
        data.load(f"small:{tmp_path / 'x.npz'}")


def test_pairs_of_different_sizes_are_for_this_model_only(train):
    refused(train("--model", "pix2pix", "--data", "small:digits"), "small:digits", "the same number and the same size")
    refused(train("--model", "cyclegan", "--data", "small:emoji"), "the same shape")
    refused(train("--model", "srgan", "--data", "masked:digits"), "--model srgan", "small:digits makes")


# The pixel shuffle

@pytest.mark.parametrize("factor, shape", [(1, (2, 3, 4, 5)), (2, (2, 3, 4, 12)), (3, (1, 2, 5, 18))])
def test_pixels_are_shuffled_as_pytorch_does_it(torch, factor, shape):
    x = np.random.default_rng(0).standard_normal(shape)
    found = nn.PixelShuffle(factor)(mg.Tensor(x)).numpy()
    theirs = torch.nn.functional.pixel_shuffle(torch.from_numpy(x.transpose(0, 3, 1, 2)), factor)
    np.testing.assert_array_equal(found, theirs.numpy().transpose(0, 2, 3, 1))


def test_the_numbers_of_a_pixel_become_a_square_of_each_channel():
    x = np.arange(8.0).reshape(1, 1, 1, 8)
    first, second = nn.PixelShuffle(2)(mg.Tensor(x)).numpy()[0].transpose(2, 0, 1).tolist()
    assert first == [[0, 1], [2, 3]] and second == [[4, 5], [6, 7]]


def test_the_shuffle_has_first_and_second_derivatives(rng):
    x = mg.Tensor(rng.standard_normal((2, 2, 3, 8)), requires_grad=True)
    mg.check_grads(lambda x: nn.PixelShuffle(2)(x) ** 3, [x], order=2)


@pytest.mark.parametrize("shape", [(2, 3, 3, 6), (2, 4), (4, 4, 8)])
def test_channels_that_make_no_squares_are_refused(shape):
    with pytest.raises(ValueError, match=r"PixelShuffle: expected x \(N, H, W, C · 4\), got"):
        nn.PixelShuffle(2)(mg.Tensor(np.zeros(shape)))
    with pytest.raises(ValueError, match="PixelShuffle.*factor"):
        nn.PixelShuffle(0)


# SRResNet

def test_a_picture_has_four_times_the_sides():
    G = generator(3, 4, 2, np.random.default_rng(0))
    y = G(mg.Tensor(np.random.default_rng(1).standard_normal((N, 4, 3, 3), dtype=np.float32)))
    assert y.shape == (N, 16, 12, 3) and abs(y.numpy()).max() < 1


def test_a_skip_leads_past_all_residual_blocks():
    G = generator(1, 4, 2, np.random.default_rng(0)).eval()
    small = [mg.Tensor(np.full((1, 4, 4, 1), value, np.float32)) for value in (-1, 1)]
    G[2].residual = lambda x: 0.0 * x
    assert (G(small[0]).numpy() != G(small[1]).numpy()).all()


# What is learned

def gradient(**options):
    model = enlarger(lr_g=0.0, lr_d=0.0, **options)
    model.step(batch())
    return gradient_of(model.generator), gradient_of(model.discriminator)


@pytest.mark.parametrize("relativistic", [False, True])
def test_the_adversarial_loss_is_weighed_and_the_content_loss_is_not(relativistic):
    (content, same), (both, taught) = [gradient(adversarial=weight, relativistic=relativistic) for weight in (0.0, 1.0)]
    assert min(np.linalg.norm(content), np.linalg.norm(both - content)) > 1e-6
    found, _ = gradient(adversarial=0.25, relativistic=relativistic)
    np.testing.assert_allclose(found, content + 0.25 * (both - content), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(taught, same)  # the discriminator learns nothing from the generator's step


def test_the_content_loss_is_the_mean_square_of_pixels():
    model, pairs = enlarger(), batch()
    with mg.no_grad():
        fake = model.generator(mg.Tensor(pairs.other)).numpy()
    found = float(enlarger().step(pairs)["content_loss"])
    np.testing.assert_allclose(found, ((fake - pairs.x) ** 2).mean(), rtol=1e-12)


def test_esrgans_losses_compare_each_score_with_the_mean_of_the_others(rng):
    """By their definition, with the logistic function and logarithms."""
    r, f = 3 * rng.standard_normal((2, 5, 1))
    sure = lambda scores, others: 1 / (1 + np.exp(-(scores - others.mean())))  # D(x, y)
    d_loss = -np.log(sure(r, f)).mean() - np.log(1 - sure(f, r)).mean()
    g_loss = -np.log(1 - sure(r, f)).mean() - np.log(sure(f, r)).mean()
    objective, r, f = RelativisticAverage(), mg.Tensor(r), mg.Tensor(f)
    np.testing.assert_allclose(objective.discriminator_loss(r, f).item(), d_loss, rtol=1e-12)
    np.testing.assert_allclose(objective.generator_loss(f, r).item(), g_loss, rtol=1e-12)


def test_esrgans_losses_stay_finite_and_learn_through_the_means():
    r, f = [mg.Tensor(np.array(values), requires_grad=True) for values in ([3e4, 1e4], [-1e4, -3e4])]
    loss = RelativisticAverage().generator_loss(f, r)
    np.testing.assert_allclose(loss.item(), 4e4 + 4e4, rtol=1e-12)  # the mean lead of r, and of its mean over f
    for slope, sign in zip(mg.grad(loss, [f, r]), (-1, 1)):  # half of it by the means
        np.testing.assert_allclose(slope.numpy(), [sign, sign], rtol=1e-12)


# What is drawn, and measured

@pytest.mark.parametrize("channels", [1, 3])
def test_bicubic_interpolation_is_that_of_whole_pictures(channels):
    x = np.random.default_rng(0).integers(256, size=(3, 4, 6, channels), dtype=np.uint8)
    found = plots.bicubic(data.to_unit(x), 16, 24)
    assert found.shape == (3, 16, 24, channels) and found.dtype == np.uint8
    for picture, enlarged in zip(x, found):
        whole = Image.fromarray(picture if channels == 3 else picture[..., 0])
        whole = whole.resize((24, 16), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(enlarged, np.asarray(whole).reshape(16, 24, channels))


def test_psnr_is_measured_beside_that_of_bicubic_interpolation():
    model, x = enlarger(), data.load("emoji").x[:N, :16, :12]
    model.examples = Batch(data.to_unit(x), None, data.to_unit(made.small(x)))
    [measure] = model.measures(model.draw(N, None), None)
    expected = psnr(plots.bicubic(made.small(x), 16, 12), x).mean()
    assert measure.names == {"PSNR-bicubic": ""}
    np.testing.assert_allclose(measure.metric(*measure.arrays), expected, rtol=1e-5)
    assert expected > 12
    assert model.measures(model.draw(2, None, inputs=batch().other), None) == []


def test_training_goes_on_with_the_adversarial_loss_from_a_run_without(train, tmp_path):
    tiny = ("--model", "srgan", "--data", "small:digits", "--width", 2, "--blocks", 1, "--steps", 1)
    assert train(*tiny, "--adversarial", 0, "--out", "plain")[0] == 0
    [plain] = (tmp_path / "plain").iterdir()
    status, out, _ = train(*tiny, "--from", plain, "--out", "more", "--batch-size", 4)
    assert status == 0 and "begun with the generator of" in out
    [more] = (tmp_path / "more").iterdir()
    assert models.load(more).options["adversarial"] == 0.001
