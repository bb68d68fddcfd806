"""Layers that a DCGAN does not have: in float64 they are PyTorch's, in value, gradient and state."""

import copy

import numpy as np
import pytest

import minigan as mg
from minigan import backend, init, nn, ops
from minigan.trainer import averaged, settle
from helpers import torch

__all__ = ["torch"]  # the fixture
pytestmark = pytest.mark.on_each_engine
LABELS = np.array([2, 0, 2, 1, 2])


def channels_first(x):
    return np.moveaxis(x, -1, 1) if x.ndim == 4 else x


def theirs_of(torch, x):
    return torch.from_numpy(channels_first(x).copy()).requires_grad_()


def compare(ours, theirs, err_msg=""):
    """An array of ours with a tensor of theirs, pictures in both orders."""
    theirs = theirs.detach().numpy()
    expected = np.moveaxis(theirs, 1, -1) if theirs.ndim == 4 else theirs
    np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-11, err_msg=err_msg)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def moved(layer, seed=1):
    """In float64, with weights that are not 0 and 1."""
    for p in layer.astype("float64").parameters():
        p.data = p.data + 0.3 * draw(*p.shape, seed=seed)
    return layer


def compare_gradients(torch, y, inputs, their_y, their_inputs):
    """Of one and the same weighted sum."""
    c = draw(*y.shape, seed=7)
    ours = mg.grad(y, inputs, c)
    theirs = torch.autograd.grad(their_y, their_inputs, torch.from_numpy(channels_first(c).copy()))
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        compare(a.data, b, f"gradient {i}")


# Beside PyTorch

@pytest.mark.parametrize("affine", [False, True])
def test_instance_norm(torch, affine):
    x = draw(3, 4, 5, 2) * 3 + 7
    layer = moved(nn.InstanceNorm(2, affine=affine))
    twin = torch.nn.InstanceNorm2d(2, affine=affine).double()
    if affine:
        twin.load_state_dict({name: torch.from_numpy(a) for name, a in layer.state_dict().items()})
    ours, theirs = mg.Tensor(x, requires_grad=True), theirs_of(torch, x)
    for mode in (True, False):  # the same in evaluation
        y, their_y = layer.train(mode)(ours), twin.train(mode)(theirs)
        compare(y.data, their_y)
        compare_gradients(torch, y, [ours, *layer.parameters()], their_y, [theirs, *twin.parameters()])


def test_embedding(torch):
    layer, indices = moved(nn.Embedding(4, 3)), np.array([[3, 0], [3, 3]])
    twin = torch.nn.Embedding(4, 3, _weight=torch.from_numpy(layer.weight.numpy()))
    y, their_y = layer(indices), twin(torch.from_numpy(indices))
    np.testing.assert_array_equal(y.data, their_y.detach().numpy())
    compare_gradients(torch, y, [layer.weight], their_y, [twin.weight])
    assert nn.Embedding(200, 300).weight.data.std() == pytest.approx(1.0, abs=0.01)


def test_conditional_batch_norm(torch):
    """Three calls in training and one in evaluation: scales and shifts are embeddings, statistics those of all."""
    layer = moved(nn.ConditionalBatchNorm(2, 4))
    norm = torch.nn.BatchNorm2d(2, affine=False).double()
    weight, bias = [torch.from_numpy(p.numpy()).requires_grad_() for p in layer.parameters()]
    for call, mode in enumerate((True, True, True, False)):
        x = draw(5, 3, 4, 2, seed=call) * (call + 1)
        ours, theirs = mg.Tensor(x, requires_grad=True), theirs_of(torch, x)
        y = layer.train(mode)(ours, LABELS)
        scale, shift = (table[torch.from_numpy(LABELS)][:, :, None, None] for table in (weight, bias))
        their_y = norm.train(mode)(theirs) * scale + shift
        compare(y.data, their_y)
        compare_gradients(torch, y, [ours, *layer.parameters()], their_y, [theirs, weight, bias])
        for name in layer.buffer_names:
            compare(getattr(layer, name), getattr(norm, name))


NORMALISED = {  # a layer, PyTorch's, the shape of an input, the axes of PyTorch's weight in our order
    "Dense": (lambda: nn.Dense(4, 3), lambda torch: torch.nn.Linear(4, 3), (5, 4), (1, 0)),
    "Conv2d": (lambda: nn.Conv2d(2, 3, (3, 2), stride=2, padding=1),
               lambda torch: torch.nn.Conv2d(2, 3, (3, 2), stride=2, padding=1), (2, 5, 6, 2), (2, 3, 1, 0)),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(2, 3, 4, stride=2, padding=1),
                        lambda torch: torch.nn.ConvTranspose2d(2, 3, 4, stride=2, padding=1), (2, 3, 4, 2),
                        (2, 3, 1, 0)),
}


@pytest.mark.parametrize("name", NORMALISED)
def test_spectral_norm(torch, name):
    """Four training steps and two calls in evaluation: one iteration a call in training, none in evaluation."""
    make, make_theirs, shape, order = NORMALISED[name]
    layer = moved(nn.SpectralNorm(make()))
    twin = torch.nn.utils.spectral_norm(make_theirs(torch).double())
    inner, back = layer.layer, np.argsort(order)
    with torch.no_grad():
        twin.weight_orig.copy_(torch.from_numpy(inner.weight.numpy().transpose(back).copy()))
        twin.bias.copy_(torch.from_numpy(inner.bias.numpy()))
        twin.weight_u.copy_(torch.from_numpy(backend.to_numpy(layer.u)))

    for call, mode in enumerate((True, True, True, True, False, False)):
        x, before = draw(*shape, seed=call), layer.state_dict()
        ours, theirs = mg.Tensor(x, requires_grad=True), theirs_of(torch, x)
        y, their_y = layer.train(mode)(ours), twin.train(mode)(theirs)
        compare(y.data, their_y)
        compare(layer.u, twin.weight_u)
        assert all((layer.state_dict()[key] == before[key]).all() != (mode and key in "uv") for key in before)
        compare_gradients(torch, y, [ours, inner.bias], their_y, [theirs, twin.bias])
        y, their_y = layer.eval()(ours), twin.eval()(theirs)  # the same u and v; PyTorch has given up its graph
        c = draw(*y.shape, seed=7)
        [slope] = mg.grad(y, [inner.weight], c)
        [their_slope] = torch.autograd.grad(their_y, [twin.weight_orig], torch.from_numpy(channels_first(c).copy()))
        np.testing.assert_allclose(slope.data, their_slope.numpy().transpose(order), rtol=1e-9, atol=1e-11)
        inner.weight.data = inner.weight.data - 0.1 * slope.data  # so that u and v have something to follow
        with torch.no_grad():
            twin.weight_orig -= 0.1 * their_slope


def test_a_residual_and_sizes(torch):
    x, branch = draw(2, 4, 6, 3), moved(nn.Conv2d(3, 3, 3, padding=1))
    tensor, functional = mg.Tensor(x), torch.nn.functional
    np.testing.assert_allclose(nn.Residual(branch)(tensor).data, x + branch(tensor).data, rtol=1e-12)
    short = nn.Residual(nn.AveragePool(), nn.AveragePool())
    np.testing.assert_allclose(short(tensor).data, 2 * nn.AveragePool()(tensor).data, rtol=1e-12)
    for factor in (2, 3):
        compare(nn.Upsample(factor)(tensor).data, functional.interpolate(theirs_of(torch, x), scale_factor=factor))
    compare(nn.AveragePool()(tensor).data, functional.avg_pool2d(theirs_of(torch, x), 2))
    compare(nn.ReflectionPad(2)(tensor).data, torch.nn.ReflectionPad2d(2)(theirs_of(torch, x)))


def test_self_attention(torch):
    """PyTorch's own, where γ is not 0: queries of all places, keys and values the largest of 2 × 2."""
    layer = moved(nn.SelfAttention(16)).eval()
    x = draw(2, 4, 6, 16)
    ours, theirs = mg.Tensor(x, requires_grad=True), theirs_of(torch, x)
    weights = [torch.from_numpy(p.numpy().copy()).requires_grad_() for p in layer.parameters()]
    gamma, *kernels = weights
    functional, parts = torch.nn.functional, (layer.f, layer.g, layer.h, layer.v)
    f, g, h, v = [(kernel / (torch.from_numpy(part.v) @ kernel @ torch.from_numpy(part.u))).T[:, :, None, None]
                  for kernel, part in zip(kernels, parts)]
    of = lambda weight: functional.conv2d(theirs, weight)
    q, k, value = [y.flatten(2).transpose(1, 2) for y in (
        of(g), functional.max_pool2d(of(f), 2), functional.max_pool2d(of(h), 2))]
    found = functional.scaled_dot_product_attention(q, k, value, scale=1.0).transpose(1, 2).unflatten(2, (4, 6))
    y, their_y = layer(ours), theirs + gamma * functional.conv2d(found, v)
    compare(y.data, their_y)
    compare_gradients(torch, y, [ours, *layer.parameters()], their_y, [theirs, *weights])


def attention(q, k, v):
    """softmax(q kᵀ/√d) v, rows of a sample: it needs no operation of its own."""
    return ops.softmax(q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1]), -1) @ v


def test_attention_is_made_of_products(torch):
    arrays = draw(2, 4, 3), draw(2, 5, 3, seed=1), draw(2, 5, 6, seed=2)
    ours = [mg.Tensor(x, requires_grad=True) for x in arrays]
    theirs = [torch.from_numpy(x).requires_grad_() for x in arrays]
    y, their_y = attention(*ours), torch.nn.functional.scaled_dot_product_attention(*theirs)
    compare(y.data, their_y)
    compare_gradients(torch, y, ours, their_y, theirs)
    mg.check_grads(attention, arrays, order=2)


def test_beside_sets_the_label_at_every_place():
    layer = nn.Beside(nn.Flatten(), 3)
    picture = mg.Tensor(draw(5, 2, 2, 1))
    y = layer(picture, LABELS).data.reshape(5, 2, 2, 4)
    np.testing.assert_array_equal(y[..., :1], picture.data)
    np.testing.assert_array_equal(y[..., 1:], np.broadcast_to(np.eye(3)[LABELS][:, None, None], (5, 2, 2, 3)))
    assert y.dtype == np.float64 and layer(mg.Tensor(draw(5, 7)), LABELS).shape == (5, 10)


# Derivatives

LAYERS = {
    "InstanceNorm": (lambda: nn.InstanceNorm(2, affine=True), (2, 3, 2, 2), ()),
    "ConditionalBatchNorm": (lambda: nn.ConditionalBatchNorm(2, 3), (5, 2, 2), (LABELS,)),
    "ConditionalBatchNorm in evaluation": (lambda: nn.ConditionalBatchNorm(2, 3).eval(), (5, 2, 2), (LABELS,)),
    "SpectralNorm of Dense": (lambda: nn.SpectralNorm(nn.Dense(3, 2)).eval(), (4, 3), ()),
    "SpectralNorm of Conv2d": (lambda: nn.SpectralNorm(nn.Conv2d(2, 2, 2)).eval(), (2, 3, 3, 2), ()),
    "SpectralNorm of ConvTranspose2d": (lambda: nn.SpectralNorm(nn.ConvTranspose2d(2, 3, 2, 2)).eval(), (2, 2, 2, 2),
                                        ()),
    "Equalised": (lambda: nn.Equalised(nn.Conv2d(2, 3, 2), rate=0.1), (2, 3, 3, 2), ()),
    "PixelNorm": (lambda: nn.Sequential(nn.Dense(3, 3), nn.PixelNorm()), (4, 3), ()),
    "Residual": (lambda: nn.Residual(nn.Dense(3, 3)), (4, 3), ()),
    "Pointwise": (lambda: nn.Pointwise(3, 2), (2, 2, 2, 3), ()),
    "SelfAttention": (lambda: nn.SelfAttention(8).eval(), (2, 2, 4, 8), ()),
    "Beside": (lambda: nn.Beside(nn.Dense(6, 2), 3), (5, 3), (LABELS,)),
}


@pytest.mark.on_each_backend
@pytest.mark.parametrize("name", LAYERS)
def test_derivatives_are_right_to_the_second_order(name):
    """By x and by every weight. That of a spectral norm in evaluation is also that of a training step: there u and v
    are other numbers, and constants too."""
    make, shape, more = LAYERS[name]
    layer = make()
    for p in layer.astype("float64").parameters():
        p.data = p.data + backend.asarray(0.3 * draw(*p.shape, seed=1))
    arrays = [p.numpy() for p in layer.parameters()]
    owners = {key: module for key, module in layer.named_modules()}
    names = [key.rpartition(".")[::2] for key, _ in layer.named_parameters()]

    def f(x, *weights):
        for (owner, attribute), weight in zip(names, weights):
            setattr(owners[owner], attribute, weight)
        return ops.tanh(layer(x, *more))
    mg.check_grads(f, [draw(*shape), *arrays], order=2, max_entries=8)


def test_a_spectral_norm_takes_u_and_v_as_constants():
    """∂/∂W ⟨G, W/σ⟩ = (G − ⟨G, W/σ⟩ v uᵀ)/σ: with u and v from W, σ's own derivative is v uᵀ only at convergence."""
    layer = moved(nn.SpectralNorm(nn.Dense(4, 3, bias=False)))
    W, x, c = layer.layer.weight, draw(6, 4), draw(6, 3, seed=2)
    W.data = W.data + 2.0 * draw(4, 3, seed=5)  # u and v are far from those of this matrix
    [found] = mg.grad(layer(mg.Tensor(x)), W, c)
    u, v, G = layer.u[None], layer.v[:, None], x.T @ c
    sigma = (v.T @ W.data @ u.T).item()
    np.testing.assert_allclose(found.data, (G - (G * W.data).sum() / sigma * (v @ u)) / sigma, rtol=1e-10)


def test_a_spectral_norm_finds_the_largest_singular_value():
    layer = nn.SpectralNorm(nn.Conv2d(2, 3, 3, bias=False)).astype("float64")
    for _ in range(200):
        layer._iterate()
    matrix = layer.layer.weight.data.reshape(-1, 3)
    x = draw(2, 3, 3, 2)
    expected = layer.layer(mg.Tensor(x)).data / np.linalg.norm(matrix, 2)
    np.testing.assert_allclose(layer.eval()(mg.Tensor(x)).data, expected, rtol=1e-10)


def test_a_weight_of_zeros_spoils_neither_u_nor_v():
    """σ of a matrix that is 0 is 0; u and v stay numbers."""
    layer = nn.SpectralNorm(nn.Dense(3, 2))
    layer.layer.weight.data = 0.0 * layer.layer.weight.data
    layer._iterate()
    assert np.isfinite(layer.u).all() and np.isfinite(layer.v).all()


def test_the_weight_is_there_again_after_a_call_that_fails():
    layer = nn.SpectralNorm(nn.Dense(3, 2))
    weight = layer.layer.weight
    with pytest.raises(ValueError, match=r"Dense: expected x \(N, 3\)"):
        layer(np.zeros((2, 5), np.float32))
    assert layer.layer.weight is weight and weight in layer.parameters()


# State

def test_the_names_of_weights_and_buffers():
    names = {
        nn.SpectralNorm(nn.Dense(3, 2)): ["layer.weight", "layer.bias", "u", "v"],
        nn.ConditionalBatchNorm(2, 3): ["weight", "bias", "running_mean", "running_var"],
        nn.Equalised(nn.Dense(3, 2)): ["layer.weight", "layer.bias"], nn.PixelNorm(): [],
        nn.InstanceNorm(2): [], nn.InstanceNorm(2, affine=True): ["weight", "bias"], nn.Embedding(3, 2): ["weight"],
        nn.Residual(nn.Dense(2, 2), nn.Dense(2, 2, bias=False)): ["residual.weight", "residual.bias",
                                                                  "shortcut.weight"],
        nn.Beside(nn.Dense(2, 2), 1): ["network.weight", "network.bias"],
        nn.SelfAttention(2): ["gamma", *[f"{name}.layer.weight" for name in "fghv"],
                              *[f"{name}.{array}" for name in "fghv" for array in "uv"]]}
    for layer, expected in names.items():
        assert list(layer.state_dict()) == expected
    assert nn.ConditionalBatchNorm(2, 3).state_dict()["weight"].tolist() == [[1, 1]] * 3
    assert nn.SpectralNorm(nn.ConvTranspose2d(2, 3, 4)).u.shape == (3,)


@pytest.mark.on_each_backend
@pytest.mark.parametrize("name", LAYERS)
def test_all_of_a_layer_is_converted(name):
    make, shape, more = LAYERS[name]
    for dtype in ("float64", "float32"):
        layer = make().astype(dtype)
        assert {array.dtype for array in layer.state_dict().values()} == {np.dtype(dtype)}
        for mode in (True, False):
            y = layer.train(mode)(mg.Tensor(draw(*shape).astype(dtype)), *more)
            assert y.dtype == dtype and type(y.data) is backend.current().array_type
        assert {array.dtype for array in layer.state_dict().values()} == {np.dtype(dtype)}
        layer(backend.asarray(draw(*shape).astype(dtype)), *more)  # a raw array is as good


@pytest.mark.parametrize("name", LAYERS)
def test_a_copy_goes_on_as_the_original_and_apart_from_it(name):
    make, shape, more = LAYERS[name]
    layer = make().train()
    x = mg.Tensor(draw(*shape).astype(np.float32))
    layer(x, *more)
    twin, before = copy.deepcopy(layer), layer.state_dict()
    first = twin(x, *more)
    assert all((layer.state_dict()[key] == before[key]).all() for key in before)
    np.testing.assert_array_equal(layer(x, *more).data, first.data)
    other = make()
    other.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(other.eval()(x, *more).data, layer.eval()(x, *more).data)


def test_a_conditional_norm_is_settled_for_averaged_weights():
    """Of both classes together, in the running statistics; labels are given with each batch."""
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.ConditionalBatchNorm(3, 3)

        def forward(self, x, labels):
            return self.norm(x, labels)

    follower, _ = averaged(Net(), 0.9)
    batches = [(mg.Tensor((draw(5, 3, seed=k) * 2 + 5).astype(np.float32)), LABELS) for k in range(4)]
    settle(follower, iter(batches))
    means = np.mean([x.data.mean(0) for x, _ in batches], 0)
    variances = np.mean([x.data.var(0, ddof=1) for x, _ in batches], 0)
    np.testing.assert_allclose(follower.norm.running_mean, means, rtol=1e-5)
    np.testing.assert_allclose(follower.norm.running_var, variances, rtol=1e-4)
    assert not follower.norm.training and follower.norm.momentum == 0.1


def test_how_weights_begin_is_drawn_from_the_generator_given():
    for make in (lambda rng: nn.Embedding(3, 2, rng), lambda rng: nn.SpectralNorm(nn.Dense(3, 2, rng=rng), rng),
                 lambda rng: nn.Equalised(nn.Dense(3, 2, rng=rng), rng=rng)):
        first, again, other = (make(np.random.default_rng(seed)).state_dict() for seed in (0, 0, 1))
        assert all((first[key] == again[key]).all() for key in first)
        assert any((first[key] != other[key]).any() for key in first)
    assert init.normal((2, 3), 0.0, 1.0, np.random.default_rng(0)).dtype == np.float32


# Mistakes

@pytest.mark.parametrize("work, error, message", [
    (lambda: nn.InstanceNorm(2)(np.zeros((3, 2))), ValueError, r"InstanceNorm: expected x \(N, …, 2\) with places"),
    (lambda: nn.InstanceNorm(2)(np.zeros((3, 4, 5, 1))), ValueError, r"got \(3, 4, 5, 1\)"),
    (lambda: nn.Pointwise(3, 2)(np.zeros((2, 4))), ValueError, r"Pointwise: expected x \(…, 3\), got \(2, 4\)"),
    (lambda: nn.SelfAttention(4)(np.zeros((2, 3, 4, 4))), ValueError, r"even sides, got \(2, 3, 4, 4\)"),
    (lambda: nn.SelfAttention(4)(np.zeros((2, 4))), ValueError, r"SelfAttention: expected x \(N, H, W, C\)"),
    (lambda: nn.Embedding(3, 2)(np.array([0, 3])), IndexError, "integers from 0 to 2 expected, got 0 … 3"),
    (lambda: nn.Embedding(3, 2)(np.array([-1])), IndexError, "got -1 … -1"),
    (lambda: nn.Embedding(3, 2)(np.array([0.5])), TypeError, "integers expected, got float64"),
    (lambda: nn.Embedding(3, 2)([True]), TypeError, "integers expected, got bool"),
    (lambda: nn.ConditionalBatchNorm(2, 3)(np.zeros((4, 2), np.float32), np.array([1])), ValueError,
     r"ConditionalBatchNorm: expected a label for each of x \(4, 2\), got labels \(1,\)"),
    (lambda: nn.ConditionalBatchNorm(2, 3)(np.zeros((2, 2), np.float32), np.zeros((2, 1), int)), ValueError,
     r"labels \(2, 1\)"),
    (lambda: nn.ConditionalBatchNorm(2, 3)(np.zeros((4, 2), np.float32), None), ValueError, r"labels \(\)"),
    (lambda: nn.ConditionalBatchNorm(2, 3)(np.zeros((5, 3), np.float32), LABELS), ValueError, "expected x"),
    (lambda: nn.ConditionalBatchNorm(2, 2)(np.zeros((5, 2), np.float32), LABELS), IndexError, "from 0 to 1"),
    (lambda: nn.Beside(nn.Flatten(), 3)(np.zeros((5, 2), np.float32), np.array([1])), ValueError,
     r"Beside: expected a label for each of x \(5, 2\), got labels \(1,\)"),
    (lambda: nn.Beside(nn.Flatten(), 2)(np.zeros((5, 2), np.float32), LABELS), IndexError, "from 0 to 1"),
])
def test_what_does_not_fit_is_named(work, error, message):
    with pytest.raises(error, match=message):
        work()
