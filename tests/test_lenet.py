"""The feature network: its formulas and its training."""

import hashlib
import re

import numpy as np
import pytest
from hypothesis import given, strategies as st

import minigan as mg
from minigan import backend, data, nn
from minigan.metrics import lenet
from minigan.metrics.lenet import LeNet, fit, moved
from minigan.objectives import cross_entropy, entropy
from minigan.ops import log_softmax
from helpers import slow_log_softmax

generators = st.integers(0, 2 ** 32 - 1).map(np.random.default_rng)


# The network

@pytest.mark.on_each_backend
@pytest.mark.parametrize("shape, classes", [((28, 28, 1), 10), ((8, 8, 1), 2), ((9, 14, 3), 5), ((32, 32, 3), 100),
                                            ((128, 8, 3), 3)])
def test_images_become_features_and_logits(shape, classes, rng):
    network = LeNet(shape, classes, backend.Streams()["init"])
    x = mg.Tensor(rng.uniform(-1, 1, (3, *shape)).astype(np.float32))
    assert network.body(x).shape == (3, 84) and network(x).shape == (3, classes)
    np.testing.assert_array_equal(network(x).numpy(), network.head(network.body(x)).numpy())
    assert network.body(x).numpy().min() == 0  # none below, and some there


def test_the_plan_is_two_convolutions_and_three_dense_layers():
    network = LeNet((28, 28, 1), 10, backend.Streams()["init"])
    shapes = [p.shape for name, p in network.named_parameters() if name.endswith("weight")]
    assert shapes == [(5, 5, 1, 16), (5, 5, 16, 16), (784, 64), (64, 84), (84, 10)]
    assert sum(isinstance(layer, nn.ReLU) for _, layer in network.named_modules()) == 4


@pytest.mark.parametrize("shape, classes", [((7, 28, 1), 10), ((28, 129, 1), 10), ((28, 28, 2), 10), ((28, 28, 4), 10),
                                            ((28, 28, 1), 1), ((28, 28, 1), 0), ((2,), 8), ((28, 28), 10)])
def test_images_it_was_not_meant_for_are_refused(shape, classes):
    with pytest.raises(ValueError, match=f"^LeNet: expected .*{re.escape(str(shape))} and {classes} classes"):
        LeNet(shape, classes, backend.Streams()["init"])


# The loss

@pytest.mark.on_each_backend
def test_log_softmax_cross_entropy_and_entropy_are_their_definitions(rng):
    logits, labels = 3 * rng.standard_normal((7, 4)), np.array([0, 3, 1, 1, 2, 0, 3])
    expected = [slow_log_softmax(row) for row in logits]
    np.testing.assert_allclose(log_softmax(mg.Tensor(logits)).numpy(), expected, rtol=1e-13)
    surprise = -sum(row[label] for row, label in zip(expected, labels)) / 7
    assert cross_entropy(mg.Tensor(logits), labels).item() == pytest.approx(surprise, rel=1e-13)
    undecided = -sum(np.exp(row) @ row for row in expected) / 7
    assert entropy(mg.Tensor(logits)).item() == pytest.approx(undecided, rel=1e-13)
    assert entropy(mg.Tensor(np.zeros((7, 4)))).item() == pytest.approx(np.log(4), rel=1e-13)
    assert entropy(mg.Tensor(1e4 * logits)).item() == 0.0  # certain, and finite


@pytest.mark.on_each_backend
def test_their_first_and_second_derivatives_are_right(rng):
    logits, labels = rng.standard_normal((4, 3)), np.array([2, 0, 1, 1])
    mg.check_grads(log_softmax, [logits], order=2)
    mg.check_grads(lambda z: cross_entropy(z, labels), [logits], order=2)
    mg.check_grads(entropy, [logits], order=2)


@given(generators, st.integers(2, 6))
def test_the_gradient_of_the_cross_entropy_is_what_the_probabilities_lack(rng, classes):
    z, labels = mg.Tensor(rng.standard_normal((5, classes)), requires_grad=True), rng.integers(classes, size=5)
    [g] = mg.grad(cross_entropy(z, labels), [z])
    p = np.exp([slow_log_softmax(row) for row in z.numpy()])
    np.testing.assert_allclose(g.numpy(), (p - np.eye(classes)[labels]) / 5, rtol=1e-12, atol=1e-15)


@pytest.mark.on_each_backend
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [50.0, 1e4])
def test_great_logits_neither_overflow_nor_lose_the_gradient(dtype, size):
    z = mg.Tensor(np.array([[size, -size, 0.0], [size, -size, 0.0]], dtype), requires_grad=True)
    np.testing.assert_array_equal(log_softmax(z).numpy(), np.array([[0.0, -2 * size, -size]] * 2, dtype))
    loss = cross_entropy(z, np.array([0, 1]))
    assert loss.item() == size and loss.dtype == dtype
    [g] = mg.grad(loss, [z])
    np.testing.assert_allclose(g.numpy(), [[0, 0, 0], [0.5, -0.5, 0]], atol=1e-20)


@pytest.mark.parametrize("offset", [-1e4, 1e4])
def test_what_all_logits_have_in_common_makes_no_difference(offset, rng):
    logits = rng.standard_normal((4, 5))
    np.testing.assert_allclose(log_softmax(mg.Tensor(logits + offset)).numpy(), log_softmax(mg.Tensor(logits)).numpy(),
                               atol=1e-11)


@pytest.mark.parametrize("labels, seen", [
    ([0, 1], "(2,)"), ([[0], [1], [2]], "(3, 1)"), ([0.0, 1.0, 2.0], "float64"), (["0", "1", "2"], "<U1"),
    ([True, False, True], "bool"), ([0, 1, 3], "to 3"), ([0, -1, 2], "from -1")])
def test_labels_that_are_none_are_refused(labels, seen):
    with pytest.raises(ValueError, match="^cross_entropy: expected .*label") as error:
        cross_entropy(mg.Tensor(np.zeros((3, 3))), np.array(labels))
    assert seen in str(error.value)


def test_no_logits_have_no_loss():
    with pytest.raises(ValueError, match="^cross_entropy: "):
        cross_entropy(mg.Tensor(np.zeros((0, 3))), np.array([], int))


# Training

def test_thirty_passes_over_small_digits_teach_it_to_read_those_it_has_not_seen(digits):
    found, test, losses = digits
    assert len(test.x) == 179 and found.accuracy > 0.93
    assert losses[0] > 2.2 and losses[-1] < 0.1  # from about ln 10


def test_the_accuracy_is_the_share_of_right_answers(digits):
    found, test, _ = digits
    best = np.array([row.argmax() for row in found.probabilities(test.x)])
    assert found.share_right(test.x, test.labels) == sum(best == test.labels) / 179
    assert found.share_right(test.x, best) == 1.0


def test_the_mean_loss_of_an_epoch_counts_each_image_once(monkeypatch):
    """Here 150 images are a batch of 100 and one of 50; at a rate of zero the loss of all is known."""
    monkeypatch.setattr(lenet, "RATE", 0.0)
    monkeypatch.setattr(lenet, "moved", lambda images, rng: images)
    x, labels, _ = data.load("digits")
    network = LeNet((8, 8, 1), 10, backend.Streams()["init"])
    [first, second] = fit(network, x[:150], labels[:150], 2, backend.Streams())
    expected = cross_entropy(network(mg.Tensor(data.to_unit(x[:150]))), labels[:150]).item()
    assert first == pytest.approx(expected, rel=1e-5) and second == pytest.approx(expected, rel=1e-5)


@pytest.mark.on_each_backend
def test_every_image_is_seen_once_an_epoch_and_the_rate_falls_evenly_to_nothing(monkeypatch):
    seen, rates = [], []
    monkeypatch.setattr(lenet, "moved", lambda images, rng: seen.append(images[:, 0, 0, 0]) or images)
    step = lenet.optim.Adam.step
    monkeypatch.setattr(lenet.optim.Adam, "step", lambda self: rates.append(self.lr) or step(self))
    x = np.zeros((250, 8, 8, 1), np.uint8)
    x[:, 0, 0, 0] = np.arange(250)
    network = LeNet((8, 8, 1), 2, backend.Streams()["init"])
    assert len(list(fit(network, x, np.arange(250) % 2, 2, backend.Streams()))) == 2
    assert [len(batch) for batch in seen] == [100, 100, 50] * 2
    first, second = np.concatenate(seen[:3]), np.concatenate(seen[3:])
    assert sorted(first) == sorted(second) == list(range(250)) and (first != second).any()
    np.testing.assert_allclose(rates, 2e-3 * (1 - np.array([0, 100, 200, 250, 350, 450]) / 500))


@pytest.mark.parametrize("H, W, most", [(28, 28, 1), (29, 28, 1), (8, 40, 0), (60, 56, 2)])
def test_a_moved_image_is_the_image_or_a_neighbour_of_it_up_to_a_28th_of_its_side(H, W, most):
    x = np.random.default_rng(0).integers(256, size=(400, H, W, 3), dtype=np.uint8)
    found, reach = moved(x, np.random.default_rng(1)), 2 * most + 1
    assert found.shape == x.shape and found.dtype == x.dtype
    places = []
    for image, new in zip(x, found):
        padded = np.pad(image, ((most, most), (most, most), (0, 0)), mode="edge")
        places += [place for place in np.ndindex(reach, reach)
                   if np.array_equal(padded[place[0]:place[0] + H, place[1]:place[1] + W], new)]
    assert len(places) == 400 and set(places) == set(np.ndindex(reach, reach))
    assert min(places.count(place) for place in np.ndindex(reach, reach)) > 200 / reach ** 2


def test_a_tenth_is_held_out_where_there_is_no_test_set():
    training, test = lenet.train_and_test("digits", None, backend.Streams(3))
    whole = data.load("digits")
    assert (len(training.x), len(test.x)) == (1618, 179)
    pairs = [sorted((hashlib.sha256(image).hexdigest(), label) for image, label in zip(x, labels)) for x, labels in (
        whole[:2], (np.concatenate([training.x, test.x]), np.concatenate([training.labels, test.labels])))]
    assert pairs[0] == pairs[1]
    again = lenet.train_and_test("digits", None, backend.Streams(3))[1]
    other = lenet.train_and_test("digits", None, backend.Streams(4))[1]
    assert (again.x == test.x).all() and (other.x != test.x).any()
