"""The pairs: which layers, of which shapes, and what cannot be built."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigan as mg
from minigan import networks, nn


def kinds(net):
    return [type(layer).__name__ for layer in net.layers]


def shapes(net):
    return {name: p.shape for name, p in net.named_parameters()}


# For points

@pytest.mark.parametrize("features, latent, width, depth", [(2, 2, 128, 3), (3, 5, 7, 1), (1, 1, 1, 2)])
def test_perceptrons_have_the_shapes_asked_for(features, latent, width, depth):
    generator, discriminator = networks.mlp_pair(features, latent, width, depth)
    points = generator(np.zeros((4, latent), np.float32))
    assert points.shape == (4, features) and discriminator(points).shape == (4, 1)
    assert kinds(generator) == ["Dense", "ReLU"] * depth + ["Dense"]
    assert kinds(discriminator) == ["Dense", "LeakyReLU"] * depth + ["Dense"]
    assert generator[0].weight.shape == (latent, width) and generator[-1].weight.shape == (width, features)
    assert discriminator[0].weight.shape == (features, width) and discriminator[-1].weight.shape == (width, 1)
    if depth > 1:
        assert generator[2].weight.shape == discriminator[2].weight.shape == (width, width)
    assert all(layer.bias is not None for net in (generator, discriminator) for layer in net if hasattr(layer, "bias"))
    assert discriminator[1].slope == 0.2


def test_the_default_perceptrons_are_for_points_in_the_plane():
    generator, discriminator = networks.mlp_pair()
    assert shapes(generator) == {"0.weight": (2, 128), "0.bias": (128,), "2.weight": (128, 128), "2.bias": (128,),
                                 "4.weight": (128, 128), "4.bias": (128,), "6.weight": (128, 2), "6.bias": (2,)}
    assert shapes(discriminator)["6.weight"] == (128, 1)


# Packs

@pytest.mark.parametrize("shape", [(6, 2), (6, 4, 3, 2), (6, 5, 3), (6, 1)])
@pytest.mark.parametrize("pack", [1, 2, 3, 6])
def test_a_pack_is_consecutive_samples_side_by_side_in_the_last_axis(rng, shape, pack):
    x = rng.standard_normal(shape)
    packed = networks.pack_samples(mg.Tensor(x), pack).numpy()
    np.testing.assert_array_equal(packed, np.concatenate([x[i::pack] for i in range(pack)], axis=-1), strict=True)


def test_packing_is_differentiated_like_any_operation(rng):
    mg.check_grads(lambda x: networks.pack_samples(x, 2), [rng.standard_normal((4, 3, 2))], order=2)


def test_a_batch_that_cannot_be_divided_into_packs_is_refused():
    with pytest.raises(ValueError, match="pack_samples: a batch of 7 .* packs of 2"):
        networks.pack_samples(mg.Tensor(np.zeros((7, 2))), 2)


def test_the_discriminator_judges_packs_and_the_generator_makes_samples():
    noise = np.zeros((6, 4), np.float32)
    for generator, discriminator in (networks.mlp_pair(2, 4, width=3, pack=3),
                                     networks.dcgan_pair((8, 8, 2), 4, width=3, pack=3)):
        samples = generator(noise)
        assert len(samples) == 6
        assert discriminator(networks.pack_samples(samples, 3)).shape == (2, 1)


# For images

@pytest.mark.parametrize("image_shape, smallest, channels", [
    ((28, 28, 1), (7, 7), [8, 16]), ((32, 32, 3), (4, 4), [8, 16, 32]), ((64, 64, 3), (4, 4), [8, 16, 32, 64]),
    ((8, 8, 1), (4, 4), [8]), ((28, 56, 2), (7, 14), [8, 16]), ((56, 28, 1), (14, 7), [8, 16]),
    ((12, 20, 1), (6, 10), [8]), ((24, 40, 1), (6, 10), [8, 16]), ((16, 10, 1), (8, 5), [8])])
def test_both_sides_are_halved_while_they_are_even_and_above_seven(image_shape, smallest, channels):
    generator, discriminator = networks.dcgan_pair(image_shape, latent=5, width=8)
    *convolutions, _ = [layer for layer in discriminator if hasattr(layer, "bias") and hasattr(layer, "weight")
                        and layer.weight.ndim > 1]
    h, w = smallest
    C = image_shape[2]
    assert [layer.weight.shape for layer in convolutions] == [
        (4, 4, before, after) for before, after in zip([C, *channels], channels)]
    assert discriminator[-1].weight.shape == (h * w * channels[-1], 1)
    assert generator[0].weight.shape == (5, h * w * channels[-1]) and generator[1].shape == (h, w, channels[-1])
    transposed = [layer.weight.shape for layer in generator if isinstance(layer, nn.ConvTranspose2d)]
    assert transposed == [(4, 4, after, before) for before, after in zip(channels[::-1], [*channels[-2::-1], C])]
    images = generator(mg.Tensor(np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)))
    assert images.shape == (3, *image_shape) and images.dtype == np.float32
    assert discriminator(images).shape == (3, 1)


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 3))
def test_an_image_size_is_built_or_refused(H, W, C):
    """Refused exactly if not even one level is possible; what is built makes images of just this size."""
    if H % 2 or W % 2 or min(H, W) < 8:
        with pytest.raises(ValueError, match=f"dcgan_pair: images of {H}×{W} cannot be halved.*even and above 7"):
            networks.dcgan_pair((H, W, C), latent=2, width=1)
    else:
        generator, discriminator = networks.dcgan_pair((H, W, C), latent=2, width=1)
        images = generator(mg.Tensor(np.ones((2, 2), np.float32)))
        assert images.shape == (2, H, W, C) and discriminator(images).shape == (2, 1)


def test_the_pair_for_28_by_28_is_this_one():
    generator, discriminator = networks.dcgan_pair((28, 28, 1))
    assert kinds(generator) == ["Dense", "Reshape", "BatchNorm", "ReLU", "ConvTranspose2d", "BatchNorm", "ReLU",
                                "ConvTranspose2d", "Tanh"]
    assert kinds(discriminator) == ["Conv2d", "LeakyReLU", "Conv2d", "BatchNorm", "LeakyReLU", "Flatten", "Dense"]
    assert shapes(generator) == {
        "0.weight": (100, 6272), "2.weight": (128,), "2.bias": (128,), "4.weight": (4, 4, 64, 128), "5.weight": (64,),
        "5.bias": (64,), "7.weight": (4, 4, 1, 64), "7.bias": (1,)}
    assert shapes(discriminator) == {
        "0.weight": (4, 4, 1, 64), "0.bias": (64,), "2.weight": (4, 4, 64, 128), "3.weight": (128,), "3.bias": (128,),
        "6.weight": (6272, 1), "6.bias": (1,)}
    assert all(layer.slope == 0.2 for layer in discriminator if isinstance(layer, nn.LeakyReLU))


@pytest.mark.parametrize("options", [{}, {"norm": "batch"}, {"norm": "layer"}, {"penalised": True}])
def test_no_layer_has_a_bias_that_the_next_one_takes_away(options):
    """A normalisation subtracts every constant; all other layers have their bias."""
    for net in networks.dcgan_pair((32, 32, 3), latent=4, width=4, **options):
        layers = [layer for layer in net if not isinstance(layer, nn.Reshape)]
        for layer, following in zip(layers, layers[1:]):
            if isinstance(layer, (nn.Dense, nn.Conv2d, nn.ConvTranspose2d)):
                assert (layer.bias is None) == isinstance(following, (nn.BatchNorm, nn.LayerNorm))


def norms(net):
    return {type(layer) for layer in net if isinstance(layer, (nn.BatchNorm, nn.LayerNorm))}


def test_a_penalised_critic_gets_layer_norm_by_itself():
    generator, critic = networks.dcgan_pair((32, 32, 1), latent=4, width=4, penalised=True)
    assert norms(critic) == {nn.LayerNorm} and norms(generator) == {nn.BatchNorm}
    images = generator(np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)).detach()
    penalty = mg.objectives.gradient_penalty(critic, images, -images.data, np.full((3, 1, 1, 1), 0.5, np.float32))
    assert np.isfinite(penalty.item())


def test_batch_norm_is_the_default_and_a_choice():
    assert norms(networks.dcgan_pair((32, 32, 1), 4, 4)[1]) == {nn.BatchNorm}
    assert norms(networks.dcgan_pair((32, 32, 1), 4, 4, norm="layer")[1]) == {nn.LayerNorm}
    for penalised in (False, True):
        critic = networks.dcgan_pair((32, 32, 1), 4, 4, norm="none", penalised=penalised)[1]
        assert norms(critic) == set()
        assert all(layer.bias is not None for layer in critic if isinstance(layer, nn.Conv2d))


def test_a_penalty_and_batch_norm_together_are_refused():
    with pytest.raises(ValueError, match="dcgan_pair: .*gradient penalty cannot have batch norm.*'layer'.*'none'"):
        networks.dcgan_pair((32, 32, 1), penalised=True, norm="batch")


def test_neither_first_nor_last_layers_are_normalised():
    for options in ({}, {"penalised": True}):
        generator, discriminator = networks.dcgan_pair((64, 64, 3), latent=4, width=2, **options)
        assert kinds(discriminator)[:2] == ["Conv2d", "LeakyReLU"] and kinds(discriminator)[-2:] == ["Flatten", "Dense"]
        assert kinds(generator)[-2:] == ["ConvTranspose2d", "Tanh"]


def test_images_lie_in_minus_one_to_one(rng):
    generator, _ = networks.dcgan_pair((8, 8, 1), latent=4, width=4)
    for p in generator.parameters():
        p.data = p.data * 20.0
    images = generator(rng.standard_normal((50, 4)).astype(np.float32)).data
    assert images.min() >= -1.0 and images.max() <= 1.0
    assert images.min() < -0.9 and images.max() > 0.9


def test_scores_are_logits(rng):
    """Nothing comes after the last dense layer, no sigmoid in particular: its bias is added as it is."""
    for discriminator, shape in ((networks.mlp_pair()[1], (5, 2)),
                                 (networks.dcgan_pair((8, 8, 1), 4, 4)[1], (5, 8, 8, 1))):
        x = rng.standard_normal(shape).astype(np.float32)
        before = discriminator(x).data
        for shift in (-100.0, 100.0):
            discriminator[-1].bias.data = discriminator[-1].bias.data + shift
            np.testing.assert_allclose(discriminator(x).data, before + shift, rtol=1e-5, atol=1e-4)
            discriminator[-1].bias.data = discriminator[-1].bias.data - shift


def test_weights_begin_as_in_the_dcgan_paper():
    for net in networks.dcgan_pair((32, 32, 3)):
        for name, p in net.named_parameters():
            if name.endswith("bias"):
                assert not p.data.any()
            else:
                assert p.data.mean() == pytest.approx(1.0 if p.ndim == 1 else 0.0, abs=0.01)
                assert p.data.std() == pytest.approx(0.02, rel=0.3 if p.size < 1000 else 0.05), name


@pytest.mark.parametrize("make", [lambda rng=None: networks.mlp_pair(rng=rng),
                                  lambda rng=None: networks.dcgan_pair((8, 8, 1), 4, 4, rng=rng)], ids=["mlp", "dcgan"])
def test_a_pair_is_determined_by_the_seed_or_the_generator_given(make):
    def weights(pair):
        return np.concatenate([p.data.ravel() for net in pair for p in net.parameters()])

    first = weights(make())
    assert not np.array_equal(weights(make()), first)
    mg.seed(0)
    np.testing.assert_array_equal(weights(make()), first)
    mg.seed(0)
    np.testing.assert_array_equal(weights(make(np.random.default_rng(3))), weights(make(np.random.default_rng(3))))
    np.testing.assert_array_equal(weights(make()), first)  # which drew nothing from the stream


# What cannot be built

@pytest.mark.parametrize("name", ["features", "latent", "width", "depth"])
@pytest.mark.parametrize("number", [0, -1, 2.0, "3"])
def test_perceptrons_need_positive_whole_numbers(name, number):
    with pytest.raises(ValueError, match=f"mlp_pair: {name} is an integer ≥ 1, got {number!r}"):
        networks.mlp_pair(**{name: number})


@pytest.mark.parametrize("options, what", [
    ({"image_shape": (0, 28, 1)}, "H"), ({"image_shape": (28, -2, 1)}, "W"), ({"image_shape": (28, 28, 0)}, "C"),
    ({"image_shape": (28, 28.0, 1)}, "W"), ({"latent": 0}, "latent"), ({"width": 0}, "width"),
    ({"width": 1.5}, "width")])
def test_image_pairs_need_positive_whole_numbers(options, what):
    with pytest.raises(ValueError, match=f"dcgan_pair: {what} is an integer ≥ 1"):
        networks.dcgan_pair(**({"image_shape": (28, 28, 1)} | options))


@pytest.mark.parametrize("image_shape", [(28, 28), (28,), (1, 28, 28, 1)])
def test_an_image_shape_has_a_height_a_width_and_channels(image_shape):
    with pytest.raises(ValueError, match=r"dcgan_pair: .*\(H, W, C\)"):
        networks.dcgan_pair(image_shape)


@pytest.mark.parametrize("H, W", [(7, 7), (27, 27), (28, 27), (6, 28), (28, 6), (29, 28)])
def test_sides_that_cannot_be_halved_are_named(H, W):
    with pytest.raises(ValueError, match=f"dcgan_pair: images of {H}×{W} cannot be halved"):
        networks.dcgan_pair((H, W, 1))


def test_an_unknown_norm_is_refused():
    with pytest.raises(ValueError, match="dcgan_discriminator: norm is 'batch', 'layer' or 'none', got 'group'"):
        networks.dcgan_pair((28, 28, 1), norm="group")


def test_noise_of_the_wrong_size_is_named():
    generator, _ = networks.dcgan_pair((8, 8, 1), latent=4, width=2)
    with pytest.raises(ValueError, match=r"Dense: expected x \(N, 4\), got \(3, 5\)"):
        generator(np.zeros((3, 5), np.float32))


@pytest.mark.parametrize("norm, layers", [("batch", [nn.Dense, nn.BatchNorm]), ("layer", [nn.Dense, nn.LayerNorm]),
                                          ("none", [nn.Dense])])
def test_a_discriminator_may_have_one_more_dense_layer(norm, layers):
    plain, deeper = [networks.dcgan_pair((16, 16, 1), 4, 2, norm=norm, dense=dense)[1].layers for dense in (0, 5)]
    added = deeper[len(plain) - 1:-1]
    assert [type(layer) for layer in added] == [*layers, nn.LeakyReLU]
    assert added[0].weight.shape == (plain[-1].weight.shape[0], 5) and deeper[-1].weight.shape == (5, 1)
    assert (added[0].bias is None) == (norm != "none")  # a norm takes it out again
    assert nn.Sequential(*deeper)(mg.Tensor(np.zeros((3, 16, 16, 1), np.float32))).shape == (3, 1)
