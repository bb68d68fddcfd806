"""What models share that make a picture of a picture: what they are shown, and what they draw."""

import contextlib

import numpy as np

from minigan import backend
from minigan.model import Batch, Drawn, Model
from minigan.tensor import Tensor, no_grad


class Translator(Model):
    """A model whose `translated` makes pictures of others.

    `examples` is what it draws when nothing else is asked for: a `Batch` of `other`, and where it
    is known `x`, what should become of each, and `labels`, of which kind that is. Training never
    sees them, where the data have a test split.
    """

    examples = None
    walk = None  # there is no way from one picture to another
    legend = ("Side by side: what is given, what is made of it, and what should be, where that is "
              "known.")

    def input_shape(self):
        """(H, W, C) of the pictures that it is shown."""
        return self.facts.other

    def translated(self, inputs, rng, labels):
        """What becomes of pictures (n, H, W, C), a tensor, if they are asked to become of the kinds
        `labels`, (n,) integers or None; random numbers come from `rng`."""
        raise NotImplementedError

    def draw(self, n, rng, inputs=None):
        """What becomes of n of the `inputs` (N, H, W, C), floats in [−1, 1], over and over if there
        are fewer; by default of the examples, and with it what should become of them."""
        return self.drawn(n, rng, self.shown(inputs))

    def shown(self, inputs):
        """A `Batch` whose `other` is what pictures are made from: `inputs` (N, h, w, C) in [−1, 1],
        or the examples, whose counterparts are then its `x` if they are known."""
        if inputs is None and self.examples is None:
            raise ValueError("this model makes pictures of others: give it some as `inputs`")
        return self.examples if inputs is None else Batch(None, other=inputs)

    def drawn(self, n, rng, shown, label=None):
        """What becomes of the first n of a `Batch`, over and over; of the kind `label` if given."""
        targets, labels, inputs, _ = shown.where(np.arange(n) % len(shown.other))
        if label is not None:
            labels = np.broadcast_to(np.asarray(label, np.int64), (n,))
        return Drawn(self.in_blocks(inputs, rng, labels), labels, inputs, targets)

    def in_blocks(self, inputs, rng, labels, block=64):
        """What becomes of inputs (N, h, w, C), as an array (N, H, W, C): `block` of them at a time,
        so that networks need no more memory for more."""
        parts = []
        with no_grad():
            for i in range(0, len(inputs), block):
                x = Tensor(backend.asarray(inputs[i:i + block], self.dtype))
                asked = None if labels is None else labels[i:i + block]
                parts.append(self.translated(x, rng, asked).data)
        return backend.xp_of(parts[0]).concatenate(parts)


@contextlib.contextmanager
def evaluating(network):
    """Within it the network is in evaluation mode, so that what becomes of a picture depends on no
    other one; then it is in the mode that it was in."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)
