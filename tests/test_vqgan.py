"""VQ-GAN: the codebook and the way past it, λ, the two stages, what is drawn and shown."""

import numpy as np
import pytest

import minigan as mg
from minigan import backend, nn
from minigan.autoencoding import Codebook, residual_pair
from minigan.runs import models
from minigan.trainer import Batch, Facts

SHAPE, N, K, C = (8, 12, 1), 6, 7, 3
FACTS = Facts(SHAPE)


def made(**options):
    """A tiny model in float64 that rests unless rates are given; all four stages' steps are 10 by default."""
    rates = {option: 0.0 for option in models.model_class("vqgan").OPTIONS if option.startswith("lr_")}
    given = dict(model="vqgan", width=2, codes=K, features=C, prior_width=8, steps=10, begin=0.0, lr_decay=1.0)
    options = models.complete(rates | given | options, FACTS)
    model = models.made(options, FACTS, backend.Streams(1))
    for network in model.networks().values():
        network.astype("float64")
    return model


def batch(n=N, seed=2):
    return Batch(np.random.default_rng(seed).uniform(-1, 1, (n, *SHAPE)))


def codebook(rows):
    made = Codebook(*rows.shape).astype("float64")
    made.rows.data = rows
    return made


def gradients(network):
    return [0.0 if p.grad is None else p.grad.numpy().copy() for p in network.parameters()]


# The codebook

def test_the_nearest_row_takes_a_vectors_place(rng):
    rows, z = rng.standard_normal((K, C)), rng.standard_normal((N, 2, 3, C))
    book = codebook(rows)
    codes = book.nearest(z)
    assert codes.shape == (N, 6, K) and (codes.sum(-1) == 1).all()
    distances = np.linalg.norm(z.reshape(N, 6, 1, C) - rows, axis=-1)
    np.testing.assert_array_equal(codes.argmax(-1), distances.argmin(-1))
    np.testing.assert_array_equal(book(codes).numpy(), rows[distances.argmin(-1)])


def test_rows_that_were_not_used_begin_anew_as_vectors_that_were_given(rng):
    rows, z = rng.standard_normal((K, C)), rng.standard_normal((N, 2, 3, C))
    book = codebook(rows.copy())
    book.note(np.eye(K)[[[1, 1, 4]]])
    book.renew(z, np.random.default_rng(0))
    now = book.rows.numpy()
    np.testing.assert_array_equal(now[[1, 4]], rows[[1, 4]])
    chosen = z.reshape(-1, C)[np.random.default_rng(0).integers(N * 6, size=K)]
    others = [0, 2, 3, 5, 6]
    np.testing.assert_allclose(now[others], chosen[others], rtol=1e-12)
    assert not book.used.any()  # what was used is counted from here on anew


def test_all_rows_begin_as_vectors_of_the_first_batch_and_only_lost_ones_are_renewed_later():
    model, given = made(renew=3, prior=0.0), batch()
    z = model.encoder(mg.Tensor(given.x)).numpy().reshape(-1, C)
    model.step(given)
    rows, used = model.codebook.rows.numpy().copy(), model.codebook.used > 0
    assert all((abs(z - row).max(1) < 1e-12).any() for row in rows)
    model.step(given), model.step(given)
    np.testing.assert_array_equal(model.codebook.rows.numpy(), rows)
    model.codebook.rows.data[0] = 1e3  # far away from all
    for _ in range(4):  # the steps 4 and 7 look back at those since the last look
        model.step(given)
    assert abs(model.codebook.rows.numpy()[0]).max() < 1e2
    np.testing.assert_array_equal(model.codebook.rows.numpy()[1:][used[1:]], rows[1:][used[1:]])


def test_looking_at_it_counts_nothing():
    model = made()
    model.step(batch())
    before = model.codebook.used.copy()
    model.reconstructed(batch().x)
    model.draw(3, np.random.default_rng(0))
    np.testing.assert_array_equal(model.codebook.used, before)


# The way past it

def without_gan(**options):
    """(a model that has taken a step, a graph of its loss's parts): what it descended, written a second time."""
    model, given = made(adversarial=0.0, **options), batch()
    model.step(given)  # the codebook begins with its vectors
    model.codebook.rows.data = model.codebook.rows.data + 0.1  # so that none is met
    model.step(given)
    x, book = mg.Tensor(given.x), model.codebook
    z = model.encoder(x)
    chosen = book(book.nearest(z.data)).reshape(z.shape)
    return model, x, z, chosen


def test_the_decoders_gradient_reaches_the_encoder_once_and_unchanged():
    """∂L/∂z is that with respect to z_q: neither blocked nor doubled; and the codebook gets none of it."""
    model, x, z, chosen = without_gan(commitment=0.0)
    given = mg.Tensor(chosen.numpy(), requires_grad=True)
    [slope] = mg.grad(((x - model.decoder(given)) ** 2).mean(), given)
    expected = mg.grad(z, model.encoder.parameters(), slope)
    for ours, theirs in zip(gradients(model.encoder), expected):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-9, atol=1e-12)
    assert max(abs(slope).max() for slope in gradients(model.encoder)) > 1e-8


def test_the_codebook_goes_to_the_vectors_and_they_to_it_by_beta_as_much():
    """Not the other way round: the codebook's loss has weight 1 and moves rows only."""
    model, x, z, chosen = without_gan()
    [of_rows] = mg.grad(((z.detach() - chosen) ** 2).mean(), model.codebook.rows)
    np.testing.assert_allclose(gradients(model.codebook)[0], of_rows.numpy(), rtol=1e-9)
    plain, *_ = without_gan(commitment=0.0)
    of_z = mg.grad(((chosen.detach() - z) ** 2).mean(), model.encoder.parameters())
    for both, one, theirs in zip(gradients(model.encoder), gradients(plain.encoder), of_z):
        np.testing.assert_allclose(both - one, 0.25 * theirs.numpy(), rtol=1e-7, atol=1e-12)


def test_what_is_decoded_are_rows_and_not_vectors():
    model, x, z, chosen = without_gan()
    stats = model.step(batch())
    z = model.encoder(x)
    chosen = model.codebook(model.codebook.nearest(z.data)).reshape(z.shape)
    loss = ((x - model.decoder(chosen)) ** 2).mean().item()
    np.testing.assert_allclose(float(stats["reconstruction_loss"]), loss, rtol=1e-9)
    vectors = ((x - model.decoder(z)) ** 2).mean().item()
    assert abs(loss - vectors) > 1e-9


# The discriminator and λ

def test_lambda_makes_both_terms_weigh_the_same_at_the_last_kernel_and_has_no_slope():
    """The gradient is ∇L_rec + w ‖∇L_rec‖/(‖∇L_GAN‖ + δ) ∇L_GAN, the norms those at the last kernel."""
    model, given = made(adversarial=0.7), batch()
    model.step(given)
    x, book, last = mg.Tensor(given.x), model.codebook, model.decoder[-1].weight
    restored = model.decoder(book(book.nearest(model.encoder(x).data)).reshape(N, 2, 3, C))
    rec, gan = ((x - restored) ** 2).mean(), -model.discriminator(restored).mean()
    of_rec, of_gan = (mg.grad(loss, model.decoder.parameters()) for loss in (rec, gan))
    norms = [np.linalg.norm(mg.grad(loss, last)[0].numpy()) for loss in (rec, gan)]
    weight = 0.7 * norms[0] / (norms[1] + 1e-6)
    for ours, one, other in zip(gradients(model.decoder), of_rec, of_gan):
        np.testing.assert_allclose(ours, one.numpy() + weight * other.numpy(), rtol=1e-7, atol=1e-11)
    assert weight > 0 and norms[1] > 0


def test_the_discriminator_gets_no_gradient_but_its_own():
    model, given = made(), batch()
    seen, descend = [], model.descend
    model.descend = lambda optimizer, loss: (descend(optimizer, loss), seen.append(
        gradients(model.discriminator)))[0]
    model.step(given)
    of_the_others, own = seen
    assert not any(np.any(slope) for slope in of_the_others) and any(np.any(slope) for slope in own)


def test_the_discriminator_begins_late_or_never():
    model = made(steps=20, prior=0.0, begin=0.25)
    assert ["d_loss" in model.step(batch()) for _ in range(20)] == [False] * 5 + [True] * 15
    assert not any("d_loss" in made(adversarial=0.0).step(batch()) for _ in range(3))


# Two stages

def test_in_the_second_stage_only_the_transformer_moves():
    model = made(steps=10, prior=0.4, lr_ae=0.01, lr_d=0.01, lr_prior=0.01)
    states = []
    for step in range(10):
        stats = model.step(batch(seed=step))
        assert ("prior_loss" in stats) == (step >= 6) and ("reconstruction_loss" in stats) == (step < 6)
        states.append({part: network.state_dict() for part, network in model.networks().items()})
    for part in model.networks():
        for moved, (before, after) in ((True, (0, 5)), (False, (5, 9))):
            if part == "transformer":
                moved = not moved
            same = all(np.array_equal(states[before][part][name], states[after][part][name])
                       for name in states[after][part])
            assert same != moved, part


def test_rates_fall_in_each_stage_of_its_own():
    model = made(steps=10, prior=0.4)
    model.lr_decay = 0.1
    shares = []
    for _ in range(10):
        model.step(batch())
        shares.append(model.share_of_rate())
    np.testing.assert_allclose(shares, [*np.linspace(1, 0.1, 6), *np.linspace(1, 0.1, 4)])


def test_the_prior_learns_the_codes_of_the_pictures():
    """Its loss is the mean of −ln p over places; before it has learned anything ln K."""
    model, given = made(steps=200, prior=0.99, lr_prior=0.02), batch()
    losses = [model.step(given) for _ in range(200)]
    found = [float(stats["prior_loss"]) for stats in losses if "prior_loss" in stats]
    codes = model.codebook.nearest(model.encoder(mg.Tensor(given.x)).data).argmax(-1)
    assert abs(found[0] - np.log(K)) < 0.5
    kinds, counts = np.unique(codes, axis=0, return_counts=True)
    entropy = -(counts / N * np.log(counts / N)).sum() / codes.shape[1]  # of whole sequences, a place
    assert entropy <= found[-1] < entropy + 0.15
    drawn = model.transformer.sample(50, np.random.default_rng(0)).argmax(-1)
    known = {tuple(row) for row in kinds}
    assert np.mean([tuple(row) in known for row in drawn]) > 0.5


@pytest.mark.parametrize("prior, first", [(0.0, 10), (0.4, 6), (0.99, 1)])
def test_no_first_stage_is_empty(prior, first):
    """A transformer of the codes of networks that have learned nothing would be of no use."""
    assert made(steps=10, prior=prior).first == first


@pytest.mark.parametrize("stop", [2, 5, 6, 8])
def test_it_goes_on_exactly_in_each_stage(stop):
    """The counts of the codebook are saved too: without them other rows would begin anew."""
    given = dict(steps=10, prior=0.4, renew=3, lr_ae=0.05, lr_d=0.01, lr_prior=0.01, codes=20)
    whole, first, second = made(**given), made(**given), made(**given)
    for step in range(10):
        whole.step(batch(1, seed=step))
    for step in range(stop):
        first.step(batch(1, seed=step))
    second.load_state_dict(first.state_dict())
    second.streams.load_state_dict(first.streams.state_dict())
    for step in range(stop, 10):
        second.step(batch(1, seed=step))
    for name, array in whole.state_dict().items():
        np.testing.assert_array_equal(array, second.state_dict()[name], err_msg=name)


# What is drawn and shown

def test_a_picture_is_what_the_decoder_makes_of_codes_in_rows():
    model = made()
    codes = np.eye(K)[np.arange(6)[None] % K]
    grid = model.codebook.rows.numpy()[np.arange(6).reshape(1, 2, 3)]
    np.testing.assert_allclose(model.decoded(codes).numpy(), model.decoder(mg.Tensor(grid)).numpy(), rtol=1e-12)


def test_it_draws_by_its_transformer_in_blocks_as_it_is_asked():
    model = made()
    drawn = model.draw(300, np.random.default_rng(0)).x
    assert drawn.shape == (300, *SHAPE) and len(np.unique(drawn.reshape(300, -1), axis=0)) > 100
    likeliest = model.draw(5, np.random.default_rng(0), top_k=1).x
    np.testing.assert_array_equal(likeliest, np.repeat(likeliest[:1], 5, axis=0))


def test_each_code_is_shown_as_a_picture_of_it_alone():
    model = made(codes=8)
    model.learn_from(batch(20).x.astype(np.float32), None)
    pictures, codes = model.exhibits(np.random.default_rng(0)).values()
    assert pictures.shape == (2, 8, *SHAPE) and codes.shape == (1, 8, *SHAPE)
    grid = np.broadcast_to(model.codebook.rows.numpy()[5], (1, 2, 3, C))
    np.testing.assert_allclose(codes[0, 5], model.decoder(mg.Tensor(grid.copy())).numpy()[0], rtol=1e-9)


def test_sides_are_multiples_of_4():
    with pytest.raises(ValueError, match="vqgan: expected sides that are multiples of 4 and at least 8"):
        models.made(models.complete(dict(model="vqgan"), Facts((10, 12, 1))), Facts((10, 12, 1)), backend.Streams(1))


@pytest.mark.parametrize("option", ["begin", "prior"])
def test_parts_of_the_steps_are_below_1(option):
    for part in (-0.1, 1.0):
        with pytest.raises(ValueError, match=f"vqgan: {option}"):
            made(**{option: part})


def test_codes_are_a_sixteenth_of_the_pixels():
    E, G = residual_pair(3, 4, 5)
    z = E(mg.Tensor(np.zeros((2, 32, 28, 3), np.float32)))
    assert z.shape == (2, 8, 7, 5) and G(z).shape == (2, 32, 28, 3)
    assert sum(isinstance(layer, nn.Residual) for layer in [*E, *G]) == 4


def test_a_picture_of_mostly_black_does_not_silence_the_decoder():
    """Weights on the way to black pictures go on for some steps. A tanh at the end would be
    saturated by then, and its gradient gone: a run on MNIST stayed black."""
    _, G = residual_pair(1, 4, 5)
    last = G[-1]
    last.bias.data = last.bias.data - 12.0
    x = G(mg.Tensor(np.ones((2, 3, 3, 5), np.float32)))
    ((x + 1.0) ** 2).mean().backward()
    assert abs(last.bias.grad.item()) > 1.0


def test_what_is_drawn_or_restored_is_cut_off_at_black_and_white():
    model = made()
    last = model.decoder[-1]
    last.weight.data = 100.0 * last.weight.data
    x = model.facts.shape
    pictures = model.reconstructed(np.zeros((3, *x), np.float32)), model.draw(5, np.random.default_rng(1)).x
    assert all(abs(drawn).max() == 1.0 for drawn in pictures)


def test_what_is_restored_went_through_the_codebook():
    model, x = made(), mg.Tensor(batch().x)
    z = model.encoder(x)
    quantised = model.codebook(model.codebook.nearest(z.data)).reshape(z.shape)
    expected, unquantised = [model.decoder(some).numpy().clip(-1, 1) for some in (quantised, z)]
    np.testing.assert_allclose(model.restored(x).numpy(), expected, atol=1e-10)
    assert abs(expected - unquantised).max() > 1e-4


def test_a_cold_draw_writes_the_likeliest_codes():
    model, rng = made(), lambda: np.random.default_rng(0)
    np.testing.assert_array_equal(model.draw(5, rng(), temperature=1e-6).x, model.draw(5, rng(), top_k=1).x)


def test_all_uses_of_a_row_are_counted_until_it_is_renewed():
    book = Codebook(5, 3)
    for k in (1, 4):
        book.note(np.eye(5, dtype=np.float32)[[[k, k]]])
    np.testing.assert_array_equal(book.used, [0, 2, 0, 0, 2])


def test_the_transformers_adam_forgets_squares_sooner():
    assert made().prior_optimizer.betas == (0.9, 0.95)


def test_the_layers_of_the_residual_pair():
    E, G = residual_pair(1, 2, 3)
    kinds = lambda network: [type(layer).__name__ for layer in network]
    assert kinds(E) == ["Conv2d", "ReLU", "Conv2d", "Residual", "Residual", "ReLU", "Conv2d"]
    assert kinds(G) == ["Conv2d", "Residual", "Residual", "ReLU", "ConvTranspose2d", "ReLU", "ConvTranspose2d"]
    block = E[3].residual
    assert kinds(block) == ["ReLU", "Conv2d", "ReLU", "Conv2d"]
    assert [layer.weight.shape for layer in block if isinstance(layer, nn.Conv2d)] == [(3, 3, 4, 2), (1, 1, 2, 4)]
