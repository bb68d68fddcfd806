"""`data`: what the names stand for, pixels in [−1, 1], and batches that resume exactly."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import strict
from minigan import backend, data
from minigan.data import Batches, DataError

thorough = settings(deadline=None, derandomize=True)


def rng(seed=0):
    return np.random.Generator(np.random.Philox(seed))


def one_line(error):
    """The message of a caught DataError, which must be a single printable line."""
    message = str(error.value)
    assert message.isprintable() and len(message) > 10
    return message


# Mixtures

def test_ring8_has_eight_different_modes_on_the_unit_circle():
    modes = data.MIXTURES["ring8"].modes
    assert modes.shape == (8, 2) and modes.dtype == np.float64
    np.testing.assert_allclose(np.hypot(*modes.T), 1, atol=1e-15)
    distances = np.linalg.norm(modes[:, None] - modes[None], axis=2) + np.eye(8) * 9
    np.testing.assert_allclose(distances.min(axis=1), 2 * np.sin(np.pi / 8), atol=1e-15)


def test_grid25_is_every_pair_of_even_numbers_from_minus_4_to_4():
    modes = data.MIXTURES["grid25"].modes
    assert modes.shape == (25, 2) and modes.dtype == np.float64
    assert {tuple(mode) for mode in modes} == {(x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)}


@pytest.mark.parametrize("name, sigma", [("ring8", 0.01), ("grid25", 0.05)])
def test_mixture_samples_have_the_right_modes_shares_and_width(name, sigma):
    mixture = data.MIXTURES[name]
    x, labels, classes = data.load(name, n=50_000)
    assert x.shape == (50_000, 2) and x.dtype == np.float32 and labels.dtype == np.int64
    count = len(mixture.modes)
    assert classes == tuple(str(k) for k in range(count))
    offsets = (x - mixture.modes[labels]) / sigma
    assert abs(offsets.mean()) < 0.02
    np.testing.assert_allclose(offsets.std(axis=0), 1, atol=0.02)  # five standard errors
    assert abs(np.mean(offsets[:, 0] * offsets[:, 1])) < 0.03
    np.testing.assert_allclose(np.bincount(labels) / 50_000, 1 / count, atol=0.01)


def test_a_mixture_depends_on_its_seed_and_on_nothing_else():
    first = data.load("ring8", n=100, seed=3).x
    np.random.seed(1)
    np.testing.assert_array_equal(first, data.load("ring8", n=100, seed=3).x)
    assert not np.array_equal(first, data.load("ring8", n=100, seed=4).x)


def test_a_mixture_without_points_is_refused():
    with pytest.raises(DataError, match="n 0"):
        data.load("ring8", n=0)


# Names

def test_a_data_set_unpacks_as_pictures_labels_and_classes():
    x, labels, classes = data.load("digits")
    assert x.ndim == 4 and labels.shape == (len(x),) and len(classes) == 10


def test_an_unknown_name_is_answered_with_the_nearest_ones_and_the_list():
    with pytest.raises(DataError) as error:
        data.load("fashion_mini")
    message = one_line(error)
    assert "did you mean fashion-mini" in message and all(name in message for name in data.NAMES)


def test_a_name_in_capitals_finds_its_near_one():
    with pytest.raises(DataError, match="did you mean mnist"):
        data.load("MNIST")


@thorough
@given(st.text())
def test_any_text_that_names_nothing_gets_one_line(name):
    if os.path.exists(name) or name in data.NAMES:
        return
    with pytest.raises(DataError) as error:
        data.load(name)
    one_line(error)


@pytest.mark.parametrize("name", ["ring8", "grid25", "fashion-mini", "digits"])
def test_a_data_set_without_a_test_split_says_so(name):
    with pytest.raises(DataError, match="no test split"):
        data.load(name, split="test")


def test_an_unknown_split_is_refused():
    with pytest.raises(DataError, match="valid"):
        data.load("mnist", split="valid")


def test_only_a_folder_is_resized():
    assert data.load("digits", image_size=8).x.shape[1:] == (8, 8, 1)
    for name in ("digits", "ring8"):
        with pytest.raises(DataError, match="only a folder or a .zip of pictures is resized"):
            data.load(name, image_size=32)


# Bundled pictures

def test_fashion_mini_is_300_garments_of_each_class():
    x, labels, classes = data.load("fashion-mini")
    assert x.shape == (3000, 28, 28, 1) and x.dtype == np.uint8
    assert np.bincount(labels).tolist() == [300] * 10 and labels.dtype == np.int64
    assert classes[0] == "T-shirt/top" and classes[9] == "Ankle boot" and len(classes) == 10


def test_digits_use_the_whole_range_of_pixels():
    x, labels, classes = data.load("digits")
    assert x.shape == (1797, 8, 8, 1) and x.dtype == np.uint8 and (x.min(), x.max()) == (0, 255)
    assert set(np.unique(x)) == {round(k * 255 / 16) for k in range(17)}
    assert classes == tuple("0123456789") and labels[:10].tolist() == list(range(10))


def test_bundled_files_are_small_and_each_stands_beside_its_licence():
    for name, path in data.BUNDLED.items():
        assert os.path.getsize(path) < 2e6
        licence = Path(path).with_name(name + ".LICENSE.txt").read_text(encoding="utf-8")
        assert {"fashion-mini": "2017 Zalando SE", "digits": "10.24432/C50P49"}[name] in licence


@pytest.mark.skipif(not os.path.isdir("/usr/share/datasets/fashion-mnist"), reason="needs dataset-fashion-mnist")
def test_fashion_mini_is_the_first_300_of_each_class_in_their_order(monkeypatch):
    monkeypatch.delenv("MINIGAN_DATA", raising=False)
    x, labels, classes = data.load("fashion")
    keep = [i for k in range(10) for i in np.flatnonzero(labels == k)[:300]]
    mini = data.load("fashion-mini")
    np.testing.assert_array_equal(mini.x, x[sorted(keep)])
    np.testing.assert_array_equal(mini.labels, labels[sorted(keep)])
    assert mini.classes == classes


# Pixels and batches

def test_pixels_0_to_255_become_minus_1_to_1():
    x = data.to_unit(np.array([0, 51, 255], np.uint8))
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, [-1, -0.6, 1], atol=1e-7)
    assert x[0] == -1 and x[2] == 1


def test_float32_is_returned_as_it_is_and_other_dtypes_are_refused():
    points = np.array([[-4.0, 4.0]], np.float32)
    assert data.to_unit(points) is points
    for dtype in (np.float64, np.int64, np.float16, bool):
        with pytest.raises(DataError, match="uint8"):
            data.to_unit(np.zeros(3, dtype))


sizes = st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n)))


@thorough
@given(sizes)
def test_an_epoch_is_a_permutation_less_its_incomplete_batch(size):
    n, batch = size
    batches = Batches(np.zeros((n, 2), np.float32), batch, rng())
    for _ in range(3):
        dealt = np.concatenate([batches.next_indices() for _ in range(n // batch)])
        assert len(set(dealt)) == len(dealt) == n // batch * batch
        assert set(dealt) <= set(range(n))


def test_each_epoch_is_shuffled_anew():
    batches = Batches(np.zeros((100, 2), np.float32), 100, rng())
    assert not np.array_equal(batches.next_indices(), batches.next_indices())


def test_batches_hold_the_samples_of_their_indices_in_unit_range():
    x = data.load("digits").x
    batch, indices = Batches(x, 32, rng()).next(), Batches(x, 32, rng()).next_indices()
    assert batch.shape == (32, 8, 8, 1) and batch.dtype == np.float32
    np.testing.assert_array_equal(batch, data.to_unit(x[indices]))


def test_batches_can_be_gone_through_and_know_their_labels():
    x, labels, _ = data.load("digits")
    batches, others = Batches(x, 32, rng()), Batches(x, 32, rng())
    for found, _ in zip(batches, range(len(x) // 32 + 2)):  # there is always another one
        indices = others.next_indices()
        np.testing.assert_array_equal(found, others.of(indices))
        np.testing.assert_array_equal(found, data.to_unit(x[indices]))
        assert labels[indices].shape == (32,)


@pytest.mark.on_each_backend
def test_data_that_fits_is_kept_where_batches_are_used(monkeypatch):
    x = data.load("digits").x
    here = data.to_unit(x[Batches(x, 32, rng()).next_indices()])
    near = Batches(x, 32, rng())
    monkeypatch.setattr("minigan.data.batches.ON_DEVICE", x.nbytes - 1)
    far = Batches(x, 32, rng())
    assert type(near.x) is backend.current().array_type and type(far.x) is np.ndarray
    strict.costs.clear()
    batches = [near.next(), far.next()]
    assert strict.costs == []
    for batch in batches:
        np.testing.assert_array_equal(backend.to_numpy(backend.asarray(batch)), here)


def test_building_batches_draws_nothing_so_restored_streams_stay_where_they_were():
    used, untouched = rng(), rng()
    Batches(np.zeros((10, 2), np.float32), 3, used)
    assert used.random() == untouched.random()


@pytest.mark.parametrize("batch", [0, -1, 11])
def test_a_batch_that_is_empty_or_larger_than_the_data_is_refused(batch):
    with pytest.raises(DataError, match="10 samples"):
        Batches(np.zeros((10, 2), np.float32), batch, rng())


@thorough
@given(sizes, st.integers(0, 100), st.integers(1, 100))
def test_resumed_batches_go_on_exactly(size, before, after):
    n, batch = size
    x = np.zeros((n, 2), np.float32)
    whole = Batches(x, batch, rng(1))
    for _ in range(before):
        whole.next_indices()
    saved, stream = whole.state_dict(), whole.rng.bit_generator.state
    resumed = Batches(x, batch, rng(2))
    resumed.load_state_dict(saved)
    resumed.rng.bit_generator.state = stream
    for _ in range(after):
        np.testing.assert_array_equal(whole.next_indices(), resumed.next_indices())


def test_a_saved_state_is_numpy_arrays_that_later_batches_leave_alone():
    batches = Batches(np.zeros((10, 2), np.float32), 3, rng())
    batches.next()
    state = batches.state_dict()
    before = {key: value.copy() for key, value in state.items()}
    for _ in range(5):
        batches.next()
    assert all(isinstance(value, np.ndarray) for value in state.values())
    assert all(np.array_equal(state[key], before[key]) for key in state)


@pytest.mark.parametrize("change", [
    {"order": np.arange(9)}, {"order": np.arange(11)}, {"order": np.zeros(10, np.int64)},
    {"order": np.arange(10.0)}, {"order": np.arange(10).reshape(2, 5)}, {"order": np.arange(10) - 1},
    {"position": np.array(-3)}, {"position": np.array(12)}, {"position": np.array(1)},
    {"position": np.array([3])}, {"position": np.array(3.0)},
    {"order": np.empty(0, np.int64)},
])
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(change):
    batches, twin = (Batches(np.zeros((10, 2), np.float32), 3, rng()) for _ in range(2))
    batches.next_indices(), twin.next_indices()
    with pytest.raises(DataError, match="Batches"):
        batches.load_state_dict({**batches.state_dict(), **change})
    np.testing.assert_array_equal(batches.next_indices(), twin.next_indices())
