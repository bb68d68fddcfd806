"""Twins: each model of the zoo as an independent PyTorch program.

NAME.py defines `Twin(model, streams)`: PyTorch networks with the weights of minigan's `model`, and

    step(x, labels)   one training step on channels-first pictures: {"d_loss": number, …};
                      of pairs step(x, labels, other)
    networks          {name: PyTorch network}, by the names of the model's attributes

Random numbers come from `streams`, by the names and in the order in which minigan draws them, for
the numbers are data here and not what is compared. Losses, updates and networks are PyTorch's own:
no formula of minigan is used. What twins share stands here; the pieces of networks, and how weights
are copied, in `benchmarks.reference`.
"""

import torch


def noise(streams, n, latent):
    return torch.from_numpy(streams["noise"].standard_normal((n, latent)))


def beside(x, labels, classes):
    """x (N, C, …) with the one-hot labels as further channels."""
    rows = torch.nn.functional.one_hot(torch.from_numpy(labels), classes).to(x.dtype)
    rows = rows.view(*rows.shape, *(1,) * (x.ndim - 2))
    return torch.cat([x, rows.expand(*rows.shape[:2], *x.shape[2:])], 1)


class Labelled(torch.nn.Module):
    """network(x with its one-hot labels beside it)."""

    def __init__(self, network, classes):
        super().__init__()
        self.network, self.classes = network, classes

    def forward(self, x, labels):
        return self.network(beside(x, labels, self.classes))


class Masked(torch.nn.Module):
    """Dropout. Which numbers are dropped is drawn in the order of a picture with its channels last."""

    def __init__(self, p, stream):
        super().__init__()
        self.p, self.stream = p, stream

    def forward(self, x):
        kept = torch.from_numpy(self.stream.random(x.movedim(1, -1).shape) >= self.p)
        return x * kept.movedim(-1, 1) / (1 - self.p)


def adam(network, optimizer):
    """PyTorch's Adam with the settings of minigan's optimizer."""
    return torch.optim.Adam(network.parameters(), optimizer.lr, optimizer.betas, optimizer.eps)


def descend(optimizer, loss):
    """A step down the gradient; the loss as a number."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()
