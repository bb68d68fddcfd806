"""Layers in lists, tuples and dictionaries are found, trained, saved and switched like any others."""

import numpy as np
import pytest

from minigan import nn, objectives, optim
from minigan.trainer import GANTrainer
from trainers import pair

pytestmark = pytest.mark.on_each_engine


class Held(nn.Module):
    """Layers in every kind of container, and one in a container inside another."""

    def __init__(self, extra=None):
        super().__init__()
        self.blocks = [nn.Dense(2, 3), nn.BatchNorm(3)]
        self.heads = {"left": nn.Dense(3, 1), "right": [nn.Dense(3, 1), (nn.Dropout(0.5),)]}
        self.pair = (nn.Dense(1, 1), nn.Parameter(np.ones(1, np.float32)))
        self.extra = extra

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        x = self.heads["left"](x) + self.heads["right"][0](x)
        return self.pair[0](x) * self.pair[1]


NAMES = ["pair.1", "blocks.0.weight", "blocks.0.bias", "blocks.1.weight", "blocks.1.bias", "heads.left.weight",
         "heads.left.bias", "heads.right.0.weight", "heads.right.0.bias", "pair.0.weight", "pair.0.bias"]


def test_they_are_found_with_names():
    net = Held()
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert [name for name, _ in net.named_buffers()] == ["blocks.1.running_mean", "blocks.1.running_var"]
    assert [name for name, _ in net.named_modules()] == [
        "", "blocks.0", "blocks.1", "heads.left", "heads.right.0", "heads.right.1.0", "pair.0"]


def test_they_are_trained():
    net = Held()
    before = net.state_dict()
    optimizer = optim.Adam(net.parameters(), lr=0.1)
    (net(np.random.default_rng(0).standard_normal((5, 2)).astype(np.float32)) ** 2).sum().backward()
    optimizer.step()
    still = {name for name, array in net.state_dict().items() if (array == before[name]).all()}
    assert still <= {"blocks.0.bias"}  # the batch norm behind it takes it away


def test_they_are_saved_and_loaded():
    net, twin = Held(), Held()
    assert set(net.state_dict()) == {*NAMES, "blocks.1.running_mean", "blocks.1.running_var"}
    twin.load_state_dict(net.state_dict())
    x = np.ones((2, 2), np.float32)
    np.testing.assert_array_equal(twin.eval()(x).data, net.eval()(x).data)


def test_modes_dtypes_and_freezing_reach_them():
    net = Held().eval().astype(np.float64).requires_grad_(False)
    assert not any(module.training for _, module in net.named_modules())
    assert not net.heads["right"][1][0].training and not net.blocks[1].training
    assert {array.dtype for array in net.state_dict().values()} == {np.dtype(np.float64)}
    assert not any(p.requires_grad for p in net.parameters())


def test_a_batch_norm_among_them_is_refused_in_a_penalised_critic():
    with pytest.raises(ValueError, match="BatchNorm"):
        objectives.refuse_batch_norm(Held())
    with pytest.raises(ValueError, match="BatchNorm"):
        GANTrainer(pair()[0], Held(), objective="wgan-gp")


def test_repr_shows_them():
    assert "(blocks.0): Dense(" in repr(Held()) and "(heads.right.1.0): Dropout(" in repr(Held())


class Skipping(nn.Sequential):
    """A sequence with a layer and a parameter beside it."""

    def __init__(self):
        super().__init__(nn.Dense(2, 2), nn.Tanh())
        self.skip, self.scale = [nn.Dense(2, 2)], nn.Parameter(np.ones(1, np.float32))

    def forward(self, x):
        return super().forward(x) + self.skip[0](x) * self.scale


def test_what_a_sequence_has_beside_its_layers_is_found():
    names = ["scale", "0.weight", "0.bias", "skip.0.weight", "skip.0.bias"]
    assert [name for name, _ in Skipping().named_parameters()] == names
    assert not Skipping().eval().skip[0].training


@pytest.mark.parametrize("extra", [
    {nn.Dense(2, 2)}, frozenset([nn.Parameter(np.ones(1, np.float32))]), [{"in": {(1, nn.Tanh())}}]],
    ids=["a set", "a frozenset of parameters", "a set inside others"])
def test_layers_in_a_set_which_has_no_order_are_refused(extra):
    net = Held(extra)
    for use in (net.parameters, net.named_modules, net.state_dict, net.eval):
        with pytest.raises(TypeError, match=r"extra.* is a (frozen)?set .*: use a list"):
            use()


@pytest.mark.parametrize("wrap", [lambda blocks: blocks.append(blocks), lambda blocks: blocks.append({"b": (blocks,)})])
def test_a_list_that_contains_itself_is_named(wrap):
    blocks = [nn.Dense(1, 1)]
    wrap(blocks)
    with pytest.raises(ValueError, match=r"extra\.1.* contains itself|extra contains itself"):
        Held(blocks).parameters()


def test_a_set_without_layers_is_nobodys_business():
    assert [name for name, _ in Held({"relu", 3, (None,)}).named_parameters()] == NAMES
