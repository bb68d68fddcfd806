"""Two kinds of pictures, such as summer and winter, to be translated into each other."""

import numpy as np

from minigan.data.batches import Batches, to_unit
from minigan.data.files import DataError
from minigan.model import Batch


def in_domains(dataset, source):
    """The pictures of two kinds as a data set: those of the second one as `x`, of the first one as
    `other`, `classes` their names. The kinds are the classes where there are two, else what the
    first and the second pictures of pairs are; that they are pairs is then forgotten.
    DataError if there are neither, or a kind has no picture."""
    if len(dataset.classes) == 2 and dataset.labels is not None:
        other, x = [dataset.x[dataset.labels == kind] for kind in (0, 1)]
        names = dataset.classes
    elif dataset.other is not None:
        other, x, names = dataset.other, dataset.x, ("A", "B")
    else:
        raise DataError(f"{source} has {len(dataset.classes) or 'no'} classes: expected two kinds "
                        "of pictures, in a folder two sub-folders, or pairs")
    for pictures, name in ((other, names[0]), (x, names[1])):
        if not len(pictures):
            raise DataError(f"{source} has no picture of the kind {name}")
    return type(dataset)(x, None, names).with_companions(other)


def examples_in_domains(dataset):
    """A `Batch` of pictures of both kinds, as `labels` what each is to become, 0 for the first
    kind, and as `x` what it should then be, where that is known."""
    if len(dataset.classes) == 2 and dataset.labels is not None:
        inputs, labels, targets = dataset.x, 1 - dataset.labels, dataset.other
    else:
        inputs = np.concatenate([dataset.other, dataset.x])
        targets = np.concatenate([dataset.x, dataset.other])
        labels = np.repeat([1, 0], len(dataset.x))
    return Batch(None if targets is None else to_unit(targets), labels, to_unit(inputs))


class UnpairedBatches(Batches):
    """Batches with a picture of each kind side by side, in two orders that know nothing of each
    other."""

    def __init__(self, x, other, batch_size, rng, mirror=None):
        super().__init__(x, batch_size, rng, mirror)
        self.others = Batches(other, batch_size, rng, mirror)

    def deal(self, count=1):
        return super().deal(count)._replace(other=self.others.deal(count).x)

    def change(self, batch_size):
        super().change(batch_size)
        self.others.change(batch_size)

    def state_dict(self):
        others = {f"other.{name}": array for name, array in self.others.state_dict().items()}
        return super().state_dict() | others

    def load_state_dict(self, state):
        before = self.others.state_dict()
        self.others.load_state_dict({name.removeprefix("other."): array
                                     for name, array in state.items() if name.startswith("other.")})
        try:
            super().load_state_dict(state)
        except BaseException:  # both orders go on from `state`, or none
            self.others.load_state_dict(before)
            raise
