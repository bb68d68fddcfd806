"""What a GAN learns from: 2-D mixtures, bundled pictures, published sets, your own folder or
`.npz`; and batches of it.

    sources     `load`: data sets by name or path
    mixtures    normal distributions in the plane
    files       your own files: read, never trusted
    pictures    which files are pictures, and what an image size may be
    zipped      a `.zip` of pictures
    companions  what a folder has beside its pictures: captions, pairs
    emoji       pictures of two styles, with names
    made        pairs made from pictures: outlines, halves, holes, small ones
    published   MNIST, Fashion-MNIST and CIFAR-10: found or downloaded, and verified
    stacked     three digits of MNIST in one picture
    figures     pictures drawn from known attributes, with captions: `shapes`
    batches     `Batches`: a data set in shuffled batches
"""

from minigan.data.batches import Batches, to_unit  # noqa: F401
from minigan.data.companions import read_picture  # noqa: F401
from minigan.data.files import DataError  # noqa: F401
from minigan.data.mixtures import MIXTURES, Mixture  # noqa: F401
from minigan.data.published import PUBLISHED, not_here  # noqa: F401
from minigan.data.sources import (  # noqa: F401
    BUNDLED, NAMES, WITH_TEST, Dataset, fingerprint, has_test, is_image, load,
    without_prefix)
