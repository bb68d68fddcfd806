"""BigGAN: batches that are accumulated, noise for every block, filters unlike, noise that is truncated."""

import numpy as np
import pytest

import minigan as mg
from minigan import backend, init, nn, residual, train
from minigan.runs import models
from minigan.trainer import Batch, Facts
from minigan.zoo import biggan

FACTS = Facts((16, 16, 1), ("a", "b", "c"), (0.5, 0.3, 0.2))


def made(facts=FACTS, seed=1, **options):
    options = dict(model="biggan", width=2, latent=7, embedding=3, lr_decay=1.0, accumulate=1, n_critic=1) | options
    return models.made(models.complete(options, facts), facts, backend.Streams(seed))


def batch(n=4, seed=2):
    rng = np.random.default_rng(seed)
    return Batch(rng.uniform(-1, 1, (n, 16, 16, 1)).astype(np.float32), rng.integers(3, size=n))


def twice(one):
    return Batch(np.concatenate([one.x, one.x]), np.concatenate([one.labels, one.labels]))


# Several batches

@pytest.mark.parametrize("name", ["d_loss", "g_loss", "d_grad_norm", "g_grad_norm"])
def test_a_step_goes_down_the_mean_of_the_gradients(name):
    """A batch twice is as good as once; a sum would be twice as long. In evaluation, where no statistic moves."""
    found = []
    for accumulate, given in ((1, batch()), (2, twice(batch())), (4, twice(twice(batch())))):
        model = made(accumulate=accumulate, orthogonal=0.0, lr_d=0.0)
        for network in (model.generator.eval(), model.discriminator.eval()):
            network.astype("float64")
        noise = mg.Tensor(np.random.default_rng(0).standard_normal((4, 7)))
        model.noise = lambda n: noise
        assert model.batches_per_step == accumulate
        found.append(float(model.step(given)[name]))
    np.testing.assert_allclose(found, found[0], rtol=1e-6)


def test_two_batches_are_as_one_of_twice_the_size():
    """Where batch norm rests, for it sees each batch by itself."""
    steps = []
    for accumulate in (1, 2):
        model = made(accumulate=accumulate)
        for network in (model.generator, model.discriminator):
            network.astype("float64").eval()
        noise = np.random.default_rng(0).standard_normal((8, 7))
        model.noise = lambda n, parts=[noise] if accumulate == 1 else [noise[:4], noise[4:]], calls=[]: mg.Tensor(
            parts[calls.append(0) or (len(calls) - 1) % len(parts)])
        model.step(batch(8))
        steps.append([p.numpy() for part in ("generator", "discriminator") for p in getattr(model, part).parameters()])
    for one, two in zip(*steps):
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-9)


def test_each_chunk_has_at_least_a_number_of_the_noise_and_no_weight_is_negative():
    assert made(latent=3).generator.chunk == 1  # 4 → 8 → 16: a picture and two blocks
    with pytest.raises(ValueError, match="a latent of 2 is too narrow for 3 chunks"):
        made(latent=2)
    with pytest.raises(ValueError, match="BigGAN: orthogonal: expected a number ≥ 0 and finite, got -1"):
        made(orthogonal=-1.0)


def test_its_progress_is_counted_in_batches():
    """Two discriminator steps of two batches each: after a step of the model all four are done."""
    model = made(accumulate=2, n_critic=2)
    model.step(batch(16))
    assert train.batches_done(model) == model.batches_per_step == 4


def test_a_step_takes_a_batch_for_each_gradient():
    model = made(accumulate=2, n_critic=3)
    seen = []
    forward = model.discriminator.forward
    model.discriminator.forward = lambda x, labels: seen.append(x) or forward(x, labels)
    given = batch(24)
    model.step(given)
    assert model.batches_per_step == 6 and model.d_optimizer.steps == 3 and model.g_optimizer.steps == 1
    np.testing.assert_array_equal(np.concatenate([x.numpy() for x in seen[:12:2]]), given.x)
    assert len(seen) == 2 * 6 + 2


# Filters unlike

def alike(*filters):
    """Of one kernel with these filters."""
    layer = nn.Conv2d(len(filters[0]), len(filters), 1).astype("float64")
    layer.weight.data = np.array(filters, float).T.reshape(1, 1, -1, len(filters))
    return biggan.alike(layer).item()


def test_filters_at_right_angles_cost_nothing_however_long_they_are():
    """The diagonal, their squared lengths, does not count."""
    assert alike((1, 0, 0), (0, 1, 0)) == 0 and alike((5, 0, 0), (0, 0, -9)) == 0


def test_filters_that_are_alike_cost_the_square_of_their_product_both_ways():
    assert alike((1, 2, 0), (3, 1, 7)) == pytest.approx(2 * 5 ** 2)
    assert alike((1, 0), (1, 0), (1, 0)) == pytest.approx(6)


def test_it_rests_on_the_generators_kernels_alone():
    """Filters of all inputs and places: a column of W (inputs, outputs) each."""
    model = made(orthogonal=0.25).generator.astype("float64")
    kernels = [p.numpy() for p in model.parameters() if p.ndim == 4]
    assert len(kernels) == 2 * 3 + 1
    expected = 0.0
    for kernel in kernels:
        columns = kernel.reshape(-1, kernel.shape[-1]).T
        expected += sum((a @ b) ** 2 for i, a in enumerate(columns) for j, b in enumerate(columns) if i != j)
    assert biggan.alike(model).item() == pytest.approx(expected)


def test_it_is_part_of_what_the_generator_descends():
    model = made(orthogonal=0.25)
    [kernel, *_] = [p for p in model.generator.parameters() if p.ndim == 4 and p.shape[-1] > 1]
    for p in model.generator.parameters():
        p.data = p.data + np.float32(0.1)
    before, expected = [], 0.25 * biggan.alike(model.generator).item()
    [slope] = mg.grad(0.25 * biggan.alike(model.generator), kernel)
    other = made(orthogonal=0.0)
    other.load_state_dict(model.state_dict())
    for each in (model, other):
        loss = float(each.step(batch())["orthogonal_loss"])
        before.append([p.grad.numpy() for p in each.generator.parameters() if p.shape == kernel.shape][0])
        assert loss == pytest.approx(expected if each is model else 0.0, rel=1e-5)
    np.testing.assert_allclose(before[0] - before[1], slope.numpy(), rtol=1e-3, atol=1e-5)


# The truncation trick

def test_what_lies_beyond_is_drawn_again_and_not_moved_to_the_edge():
    model, t = made(latent=50), 0.8
    whole = model.noise(400, np.random.default_rng(0)).numpy()
    z = model.noise(400, np.random.default_rng(0), t).numpy()
    inside = np.abs(whole) <= t
    np.testing.assert_array_equal(z[inside], whole[inside])
    assert np.abs(z).max() <= t and (np.abs(z) > 0.999 * t).mean() < 0.01
    normal = mg.Tensor(np.array(t)).numpy()
    density = np.exp(-normal ** 2 / 2) / np.sqrt(2 * np.pi)
    share = 0.5762892  # of N(0, 1) within ± 0.8
    assert z.var() == pytest.approx(1 - 2 * t * density / share, abs=0.005)  # that of a truncated normal
    assert z.dtype == np.float32 and abs(z.mean()) < 0.01


def test_without_truncation_noise_is_normal_and_from_the_same_numbers():
    model = made()
    a, b = [model.draw(5, np.random.default_rng(0), truncation=t) for t in (None, 100.0)]
    np.testing.assert_array_equal(a.x, b.x)
    np.testing.assert_array_equal(a.labels, b.labels)
    wide, narrow, least = [model.draw(30, np.random.default_rng(0), 1, t).x.std(0).mean() for t in (None, 0.5, 0.05)]
    assert wide > narrow > least


@pytest.mark.parametrize("truncation", [0.0, -1.0, 0.001, float("nan")])
def test_a_truncation_that_leaves_nothing_is_refused(truncation):
    with pytest.raises(ValueError, match="expected a truncation of at least 0.01, got"):
        made().draw(2, np.random.default_rng(0), truncation=truncation)


def test_its_exhibit_is_a_row_for_each_truncation():
    model = made()
    [(name, shown)] = model.exhibits(np.random.default_rng(0)).items()
    assert shown.shape == (len(biggan.SWEEP), 3, 16, 16, 1) and str(biggan.SWEEP[0]) in model.EXHIBITS[name]
    assert type(shown) is np.ndarray and np.abs(shown).max() <= 1


# The networks

def test_each_chunk_of_the_noise_goes_to_one_block():
    """7 numbers of three chunks: 3 make the smallest picture, 2 and 2 are the blocks'."""
    G = made().generator.eval()
    assert (G.first, G.chunk, G.smallest) == (3, 2, (4, 4, 8))
    seen = []
    for i, block in enumerate(G.blocks):
        block.forward = lambda x, c, i=i, f=block.forward: seen.append((x.numpy(), c.numpy())) or f(x, c)
    z, labels = np.random.default_rng(0).standard_normal((2, 7)).astype(np.float32), np.array([0, 2])
    for moved in (None, 1, 4, 6):
        changed = z.copy()
        if moved is not None:
            changed[:, moved] += 1.0
        G(mg.Tensor(changed), labels)
    plain, first, second, third = [seen[2 * i:2 * i + 2] for i in range(4)]
    differs = lambda run: [[(a != b).any() for a, b in zip(x, y)] for x, y in zip(run, plain)]
    assert differs(first) == [[True, False], [True, False]]     # (x, c) of the first block and of the second
    assert differs(second) == [[False, True], [True, False]]
    assert differs(third) == [[False, False], [False, True]]
    for _, c in plain:
        np.testing.assert_array_equal(c[:, :3], G.embedding.weight.numpy()[labels])
    np.testing.assert_array_equal(np.concatenate([c[:, 3:] for _, c in plain], 1), z[:, 3:])


def test_one_embedding_serves_all_blocks():
    tables = [m for _, m in made().generator.named_modules() if isinstance(m, nn.Embedding)]
    assert len(tables) == 1


def test_scale_and_shift_are_linear_in_the_condition():
    """Without a condition it is plain batch norm."""
    rng = np.random.default_rng(0)
    norm = residual.LinearNorm(2, 3, rng).astype("float64")
    x, c = rng.standard_normal((5, 3, 3, 2)), rng.standard_normal((5, 3))
    plain = nn.BatchNorm(2).astype("float64")(mg.Tensor(x)).numpy()
    np.testing.assert_allclose(norm(mg.Tensor(x), mg.Tensor(0 * c)).numpy(), plain, rtol=1e-10)
    y = norm.eval()(mg.Tensor(x), mg.Tensor(c)).numpy()
    plain = (x - norm.running_mean) / np.sqrt(norm.running_var + norm.eps)
    W, U = [part.layer.weight.numpy() / (part.v @ part.layer.weight.numpy() @ part.u)
            for part in (norm.weight, norm.bias)]
    np.testing.assert_allclose(y, plain * (1 + c @ W)[:, None, None] + (c @ U)[:, None, None], rtol=1e-9)


def test_averaged_weights_get_statistics_of_their_own():
    model = made()
    model.step(batch()), model.draw(2, np.random.default_rng(0))
    norms = [m for _, m in model.averaged.named_modules() if isinstance(m, nn.BatchNorm)]
    assert len(norms) == 5 and all((m.running_mean != 0).any() for m in norms)


def test_blocks_double_and_halve_the_sides():
    rng = np.random.default_rng(0)
    up, x = residual.UpBlock(4, 2, 3, rng), rng.standard_normal((2, 3, 5, 4)).astype(np.float32)
    assert up(mg.Tensor(x), mg.Tensor(np.zeros((2, 3), np.float32))).shape == (2, 6, 10, 2)
    for pool, sides in ((True, (2, 4)), (False, (4, 8))):
        down = residual.down_block(3, 5, rng, pool=pool)
        assert down(mg.Tensor(rng.standard_normal((2, 4, 8, 3)).astype(np.float32))).shape == (2, *sides, 5)


def test_every_weight_but_the_embeddings_has_spectral_norm_and_begins_orthogonal():
    """An orthogonal matrix has no other singular value than 1."""
    model = made()
    for network in (model.generator, model.discriminator):
        modules = dict(network.named_modules())
        for name, p in network.named_parameters():
            owner = modules[name.rpartition(".")[0]]
            assert ".layer." in name or name == "embedding.weight" or type(owner) is nn.BatchNorm, name
            if name.endswith("layer.weight"):
                values = np.linalg.svd(p.numpy().reshape(-1, p.shape[-1]), compute_uv=False)
                np.testing.assert_allclose(values, 1.0, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("sides", [(5, 3), (3, 5), (4, 4)])
def test_orthogonal_weights_are_all_equally_likely(sides):
    rng = np.random.default_rng(0)
    found = [init.orthogonal(nn.Dense(*sides, rng=rng), rng) for _ in range(400)]
    assert not any(layer.bias.numpy().any() for layer in found)
    assert np.abs(np.mean([layer.weight.numpy() for layer in found], 0)).max() < 0.1  # LAPACK's signs are not random


def test_the_projection_is_an_inner_product_with_the_summed_features():
    D = made().discriminator.astype("float64").eval()
    x = mg.Tensor(batch().x.astype(np.float64))
    a, b = (D(x, np.full(4, label)).numpy()[:, 0] for label in (0, 2))
    V, phi = D.embedding.layer.weight.numpy(), D.blocks(x).numpy().sum((1, 2))
    np.testing.assert_allclose(a - b, phi @ (V[0] - V[2]) / (D.embedding.v @ V @ D.embedding.u), rtol=1e-9)


def test_sides_that_do_not_fit_are_refused():
    for sides in ((10, 12), (4, 4), (28, 30)):
        with pytest.raises(ValueError, match="--model biggan: expected sides that are multiples of 4"):
            made(FACTS._replace(shape=(*sides, 1)))


def test_the_sweep_has_a_row_for_each_truncation_and_a_column_for_each_class():
    model, rng = made(), np.random.default_rng(0)
    [shown] = model.exhibits(np.random.default_rng(0)).values()
    for row, truncation in zip(shown, biggan.SWEEP, strict=True):
        np.testing.assert_array_equal(row, model.draw(3, rng, np.arange(3), truncation).x)
