"""Class probabilities: what a classifier makes of samples."""

from typing import NamedTuple

import numpy as np

from minigan.metrics import inputs


class InceptionScore(NamedTuple):
    mean: float
    std: float  # of the splits' scores, ddof 0; the mean's standard error is smaller by √splits


def inception_score(probabilities, splits=10):
    """exp(E KL(p(y|x) ‖ p̄)), p̄ = E p(y|x), for each of `splits` consecutive parts; their mean and
    std.

    probabilities (N, K): a classifier's p(y|x) of N samples for K classes; at least two samples a
    part. From 1 (all samples are alike to the classifier) to K (it is sure of each, and each class
    is as frequent).

    It never looks at real data. A single perfect picture of each class scores K, and so does noise
    that the classifier is sure about; real data of unequal classes cannot. Small parts score too
    low: compare equal N and `splits` only.
    Source: Salimans et al. 2016, arXiv:1606.03498, §4.
    """
    p = inputs.probabilities("inception_score", 2, probabilities=probabilities)
    if splits not in range(1, len(p) // 2 + 1):
        raise ValueError(f"inception_score: splits is {splits}, expected an integer from 1 to "
                         f"{len(p) // 2}, for each needs two of the {len(p)} samples")
    scores = [np.exp(_information(part)) for part in np.array_split(p, splits)]
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))


def mode_score(probabilities, data_shares):
    """exp(E KL(p(y|x) ‖ p̄) − KL(p̄ ‖ p*)): the Inception Score, less what the classes' shares
    differ from the data's.

    probabilities (N, K): a classifier's p(y|x) of N ≥ 2 samples, p̄ their mean; data_shares (K,):
    p*, the classes' shares of the data. At most K; 0 where samples show a class that the data does
    not have.

    It misses all that happens within a class, such as one picture for each. With p* in the first
    term as well, as the formula is sometimes printed, p* cancels out and the Inception Score is
    left.
    Source: Che et al. 2017, arXiv:1612.02136, §4.
    """
    p = inputs.probabilities("mode_score", 2, probabilities=probabilities)
    expected = _data_shares("mode_score", data_shares, p.shape[1])
    return float(np.exp(_information(p) - kl(p.mean(axis=0), expected)))


def class_divergence(probabilities, data_shares):
    """KL(q ‖ p*) = Σ qₖ ln(qₖ/p*ₖ), in nats: how far the shares q of the classes among samples are
    from the data's.

    probabilities (N, K): a classifier's p(y|x) of N samples, each of which is counted in its most
    probable class; data_shares (K,): p*, the classes' shares of the data, counted likewise. 0 where
    the shares are equal; infinite where samples show a class that the data does not have. Of N
    samples from the data itself it is about (K − 1)/2N.

    A picture of nothing is counted in some class too: look at the samples as well. It is the
    reverse KL divergence of `mode_coverage`, with a classifier for the modes, as stacked MNIST is
    judged in arXiv:1712.04086, §4.2.
    """
    p = inputs.probabilities("class_divergence", 1, probabilities=probabilities)
    return float(kl(class_shares(p), _data_shares("class_divergence", data_shares, p.shape[1])))


def class_shares(probabilities):
    """The share (K,) of samples whose most probable class each one is; probabilities (N, K)."""
    p = inputs.probabilities("class_shares", 1, probabilities=probabilities)
    return np.bincount(p.argmax(axis=1), minlength=p.shape[1]) / len(p)


def _data_shares(name, data_shares, classes):
    p = inputs.probabilities(name, 1, data_shares=np.atleast_2d(inputs.host(data_shares)))
    if p.shape != (1, classes):
        raise ValueError(f"{name}: expected data_shares of the {classes} classes, got {p.shape}")
    return p[0]


def _information(p):
    """E KL(p(y|x) ‖ p̄): how many nats a sample tells about its class."""
    return np.mean(kl(p, p.mean(axis=0)))


def kl(p, q):
    """KL(p ‖ q) = Σ p ln(p/q) over the last axis, in nats; 0·ln 0 = 0, and infinite where q lacks
    what p has."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sum(np.where(p > 0, p * np.log(p / q), 0.0), axis=-1)
