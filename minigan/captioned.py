"""What models share that make pictures of captions: how captions become numbers, and what is drawn.

Of a caption a model is told which words it has, and not in which order.
"""

import difflib
import re
import unicodedata
from functools import lru_cache

import numpy as np

from minigan import backend, init, nn, ops
from minigan.model import WAY, Drawn, Model, ways

LONGEST = 100  # letters of a word; of a longer one the others are left out


def words_of(caption):
    """["a", "red", "star"] of "A red star!". A letter and its accent are one letter."""
    composed = unicodedata.normalize("NFC", caption.lower())
    return [word[:LONGEST] for word in re.findall(r"\w+", composed)]


def vocabulary(captions):
    """The words of all captions, sorted."""
    return tuple(sorted({word for caption in {*captions.tolist()} for word in words_of(caption)}))


@lru_cache(4)
def _places(words):
    return {word: i for i, word in enumerate(words)}


def bags_of_words(captions, words):
    """(n, words): how often each caption has each of the words, divided by the Euclidean norm of
    the row, so that short and long captions say as much. A word that is not among `words` is passed
    over; a caption of such only is a row of zeros."""
    places, found = _places(words), np.zeros((len(captions), len(words)))
    for row, caption in zip(found, captions):
        for word in words_of(caption):
            if word in places:
                row[places[word]] += 1.0
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1.0)


def check_known(caption, words):
    """ValueError, with near ones, for a caption that has a word which is not among `words`."""
    asked = words_of(caption)
    if not asked:
        raise ValueError(f"caption '{caption}': expected some words")
    unknown = [word for word in asked if word not in _places(words)]
    if unknown:
        near = difflib.get_close_matches(unknown[0], words) or words[:10]
        raise ValueError(f"caption '{caption}': no caption of the data has the word "
                         f"'{unknown[0]}', expected such as {', '.join(near)}")


class TextEncoder(nn.Module):
    """Bags of words (n, words) → features of captions (n, features): the sum of the embeddings,
    each times what the bag has of its word, a dense layer and a leaky ReLU. At first the mean
    square of all numbers is 1, and behind the leaky ReLU 0.52."""

    def __init__(self, words, features, rng):
        super().__init__()
        self.embedding = nn.Embedding(words, features, rng)
        self.dense = init.lecun(nn.Dense(features, features, rng=rng), rng)

    def forward(self, told):
        table = self.embedding.weight
        return ops.leaky_relu(self.dense(backend.asarray(told, table.dtype) @ table))


class Captioned(Model):
    """A model whose averaged generator takes noise and bags of words, and whose `words` are those
    of the training captions.

    `examples`, a `Batch` of pictures and captions, is what it draws of when nothing else is asked
    for. Training never sees them, where the data have a test split.
    """

    NEEDS = ("captions",)
    legend = "Side by side: what is made of the caption, and the picture that has it."
    examples = None

    def learn_from(self, x, labels, captions):
        self.known = captions

    def told(self, captions):
        """Captions (n,) as the networks take them, (n, words)."""
        return bags_of_words(captions, self.words)

    def inputs(self, n, rng):
        """Noise, and captions of the training data."""
        return self.noise(n, rng), self.told(self.known[rng.integers(len(self.known), size=n)])

    def draw(self, n, rng, caption=None):
        """n pictures of `caption`, or of a caption each; by default of those of the examples, over
        and over, and with them the pictures that they were said of."""
        captions, targets = self.asked(n, caption)
        return Drawn(self.sample(self.noise(n, rng), self.told(captions)),
                     targets=targets, captions=captions)

    def walk(self, rng, count=4, caption=None):
        """Ways from noise to noise, each of one caption."""
        noise, (captions, _) = ways(self.noise(2 * count, rng).numpy()), self.asked(count, caption)
        return Drawn(self.sample(noise, self.told(np.repeat(captions, WAY))))

    def asked(self, n, caption):
        """(n captions, their pictures where these are known)."""
        if caption is None and self.examples is None:
            raise ValueError("this model makes pictures of captions: give it one as `caption`")
        if caption is None:
            shown = self.examples.where(np.arange(n) % len(self.examples.x))
            return shown.captions, shown.x
        captions = np.broadcast_to(caption, (n,))
        for text in {*captions.tolist()}:
            check_known(text, self.words)
        return captions, None
