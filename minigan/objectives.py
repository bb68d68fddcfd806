"""The GAN objectives: the formulas and nothing else.

r and f are the discriminator's scores for real and for fake samples, logits of shape (N, 1) or
(N,), or of patches (N, h, w, 1); σ is the logistic function. D minimises the first loss with
respect to its own weights, G the second one with respect to its. Every loss is a mean over the
batch, and over the patches: of the losses, not the loss of a mean score. The discriminator of a
Wasserstein objective is called a critic: its score is no probability. `undecided` is D's best score
where real and fake samples are equally dense.

| name        | discriminator                    | generator       |
|-------------|----------------------------------|-----------------|
| minimax     | softplus(−r) + softplus(f)       | −softplus(f)    |
| gan         | the same                         | softplus(−f)    |
| lsgan       | ½(r − 1)² + ½f²                  | ½(f − 1)²       |
| wgan        | f − r, weights then clipped      | −f              |
| wgan-gp     | f − r + λ(‖∇D(x̂)‖ − 1)²          | −f              |
| hinge       | max(0, 1 − r) + max(0, 1 + f)    | −f              |
| relativistic | softplus(f − r)                 | softplus(r − f) |

A `Penalty` on D's slope may be added to D's loss, whatever the objective.
"""

from math import log
from typing import NamedTuple

from minigan import backend, nn, ops
from minigan.autograd import grad
from minigan.tensor import Tensor, constant


class Minimax:
    """V(D, G) = E ln σ(r) + E ln(1 − σ(f)), which D maximises and G minimises.

    D's loss is −V = softplus(−r) + softplus(f), since −ln σ(r) = softplus(−r) and −ln(1 − σ(f)) =
    softplus(f). G's is ln(1 − σ(f)) = −softplus(f), whose slope −σ(f) vanishes when D is sure that
    the samples are fake (f → −∞). Source: Goodfellow et al. 2014, arXiv:1406.2661, eq. 1."""

    undecided = 0.0  # D's best score where real and fake samples are equally dense

    def discriminator_loss(self, real_scores, fake_scores):
        _check_scores(real_scores, fake_scores)
        return ops.softplus(-real_scores).mean() + ops.softplus(fake_scores).mean()

    def generator_loss(self, fake_scores):
        _check_scores(fake_scores)
        return -ops.softplus(fake_scores).mean()


class NonSaturating:
    """The same discriminator; the generator maximises ln σ(f) instead: its loss −ln σ(f) =
    softplus(−f) has the slope −σ(−f), which is largest when D is sure that the samples are fake.
    Source: arXiv:1406.2661, §3."""

    undecided = 0.0  # D's best score where real and fake samples are equally dense

    def discriminator_loss(self, real_scores, fake_scores):
        return Minimax().discriminator_loss(real_scores, fake_scores)

    def generator_loss(self, fake_scores):
        _check_scores(fake_scores)
        return ops.softplus(-fake_scores).mean()


class Smoothed:
    """One-sided label smoothing s of `objective`, a Minimax or NonSaturating: D is to say 1 − s of
    real samples instead of 1, and 0 of fake ones as ever.

    −(1 − s) ln σ(r) − s ln(1 − σ(r)) = softplus(−r) + s r has a least value, so that D is never
    infinitely sure. Source: Salimans et al. 2016, arXiv:1606.03498, §3.4."""

    def __init__(self, objective, smoothing):
        if not 0.0 <= smoothing < 1.0:
            raise ValueError(f"label smoothing: expected 0 ≤ s < 1, got {smoothing}")
        self.objective, self.smoothing = objective, smoothing
        self.undecided = log((1.0 - smoothing) / (1.0 + smoothing))
        self.generator_loss = objective.generator_loss

    def discriminator_loss(self, real_scores, fake_scores):
        loss = self.objective.discriminator_loss(real_scores, fake_scores)
        return loss + self.smoothing * real_scores.mean()


class LeastSquares:
    """Scores are regressed to 1 on real and 0 on fake samples, G's samples to 1: the slope does not
    vanish while a sample lies on the wrong side. No sigmoid anywhere. Source: Mao et al. 2017,
    arXiv:1611.04076, eq. 9."""

    undecided = 0.5  # D's best score where real and fake samples are equally dense

    def discriminator_loss(self, real_scores, fake_scores):
        _check_scores(real_scores, fake_scores)
        return 0.5 * ((real_scores - 1.0) ** 2).mean() + 0.5 * (fake_scores ** 2).mean()

    def generator_loss(self, fake_scores):
        _check_scores(fake_scores)
        return 0.5 * ((fake_scores - 1.0) ** 2).mean()


class Wasserstein:
    """E r − E f is, for a critic that is 1-Lipschitz, at most the Wasserstein-1 distance of the two
    distributions; the critic maximises it. Without a constraint it has no bound: clip the weights
    after each critic step (`clip_weights`) or add `gradient_penalty`. Source: Arjovsky et al. 2017,
    arXiv:1701.07875, eq. 2 and Alg. 1."""

    undecided = None  # a critic's scores have no such zero

    def discriminator_loss(self, real_scores, fake_scores):
        _check_scores(real_scores, fake_scores)
        return fake_scores.mean() - real_scores.mean()

    def generator_loss(self, fake_scores):
        _check_scores(fake_scores)
        return -fake_scores.mean()


class Hinge:
    """D wants r ≥ 1 and f ≤ −1 and no more; G raises f. Source: Lim & Ye 2017, arXiv:1705.02894,
    §3; Miyato et al. 2018, arXiv:1802.05957, eq. 16 and 17."""

    undecided = 0.0  # D's best score where real and fake samples are equally dense

    def discriminator_loss(self, real_scores, fake_scores):
        _check_scores(real_scores, fake_scores)
        return ops.relu(1.0 - real_scores).mean() + ops.relu(1.0 + fake_scores).mean()

    def generator_loss(self, fake_scores):
        _check_scores(fake_scores)
        return -fake_scores.mean()


class Relativistic:
    """D tells which of a pair is the real one, P(r > f) = σ(r − f); G wants the opposite. Only
    differences of scores count, so a real sample stands beside each fake one in G's loss too.
    Source: the paired RSGAN of Jolicoeur-Martineau 2018, arXiv:1807.00734, §4."""

    undecided = None  # all scores may be raised by the same number
    paired = True     # G's loss takes the real scores too

    def discriminator_loss(self, real_scores, fake_scores):
        return ops.softplus(self._lead(fake_scores, real_scores)).mean()

    def generator_loss(self, fake_scores, real_scores):
        return ops.softplus(self._lead(real_scores, fake_scores)).mean()

    @staticmethod
    def _lead(one, other):
        _check_scores(one, other)
        if one.shape != other.shape:  # (N,) and (N, 1) would make N² pairs
            raise ValueError("expected a fake score beside each real one, in the same shape, got "
                             f"{one.shape} and {other.shape}")
        return one - other


def gradient_penalty(critic, real, fake, epsilon, target=1.0):
    """E (‖∇ₓ D(x̂)‖₂ − target)² at x̂ = ε·real + (1 − ε)·fake; the weight λ is not included.

    real, fake: (N, …), taken as constants; epsilon: (N, 1, …) mixing weights in [0, 1], one per
    sample. The norm is over all axes of a sample. The result can be differentiated with respect to
    the critic's weights. ValueError for shapes that differ, and for a critic with batch norm, where
    D(x̂ᵢ) depends on other samples. Source: Gulrajani et al. 2017, arXiv:1704.00028, eq. 3, §4."""
    refuse_batch_norm(critic)
    real, fake = _array(real), _array(fake)
    epsilon = _array(epsilon).astype(real.dtype, copy=False)
    N, ones = real.shape[0], (1,) * (real.ndim - 1)
    if fake.shape != real.shape or epsilon.shape != (N, *ones):
        raise ValueError(f"gradient_penalty: expected fake like real {real.shape} and epsilon "
                         f"{(N, *ones)}, got fake {fake.shape} and epsilon {epsilon.shape}")
    mixed = Tensor(epsilon * real + (1.0 - epsilon) * fake, requires_grad=True)
    [slope] = grad(critic(mixed).sum(), mixed, create_graph=True)
    return ((ops.norm(slope.reshape(N, -1), axis=1) - target) ** 2).mean()


def cross_entropy(logits, labels):
    """−(1/N) Σₙ ln p(labelₙ), a scalar: how surprised the classifier is by the truth.

    logits (N, K), a tensor; labels (N,), integers from 0 to K − 1 on the host. ValueError if they
    are anything else.
    """
    N, K = logits.shape
    if labels.shape != (N,) or labels.dtype.kind not in "iu" or N == 0:
        raise ValueError("cross_entropy: expected an integer label for each row of the logits "
                         f"{logits.shape}, got {labels.dtype} {labels.shape}")
    if not 0 <= labels.min() <= labels.max() < K:
        raise ValueError(f"cross_entropy: expected labels from 0 to {K - 1} for the logits "
                         f"{logits.shape}, got labels from {labels.min()} to {labels.max()}")
    truth = backend.asarray(ops.one_hot(labels, K), logits.dtype)
    return -ops.sum(ops.log_softmax(logits) * truth) * (1.0 / N)


def entropy(logits):
    """(1/N) Σₙ H(pₙ), H(p) = −Σₖ pₖ ln pₖ, a scalar: how undecided a classifier is, 0 to ln K.
    logits (N, K), a tensor."""
    log_p = ops.log_softmax(logits)
    return -(ops.exp(log_p) * log_p).sum(axis=1).mean()


def perturbed_penalty(critic, real, noise, epsilon, target=1.0):
    """The gradient penalty near the data: between real samples x and x + ½ std(x) · noise, std over
    the whole batch. noise: like real, uniform in [0, 1) as in the authors' published code; epsilon
    as for `gradient_penalty`. Source: DRAGAN, Kodali et al. 2017, arXiv:1705.07215."""
    x = constant(_array(real))
    spread = ops.sqrt(((x - x.mean()) ** 2).mean())
    noise = _array(noise).astype(x.dtype, copy=False)
    return gradient_penalty(critic, x, x + 0.5 * spread * noise, epsilon, target)


def zero_centred_penalty(critic, x):
    """E ‖∇ₓ D(x)‖²; γ/2 times it is R₁ on real samples x and R₂ on fake ones.

    x: (N, …), taken as constants. Where the generator is perfect, D can be flat on the data, and
    unlike a slope of 1 this lets it. ValueError for a critic with batch norm. Source: Mescheder et
    al. 2018, arXiv:1801.04406, §4."""
    refuse_batch_norm(critic)
    x = Tensor(_array(x), requires_grad=True)
    [slope] = grad(critic(x).sum(), x, create_graph=True)
    return (slope ** 2).reshape(len(x), -1).sum(1).mean()


class Penalty(NamedTuple):
    """What D's loss gets in addition: `weight` times the one of this name in PENALTIES.

    Lazily, in every `every`-th step only, it weighs `every` times as much, which is the same in the
    mean and costs less. Source: Karras et al. 2020, arXiv:1912.04958, §3.1."""
    name: str
    weight: float
    every: int = 1


def _epsilon(real, rng):
    return rng.random((len(real),) + (1,) * (real.ndim - 1))


PENALTIES = {  # of (critic, real, fake, rng): the samples are those that D sees in its step
    "penalty": lambda critic, real, fake, rng: gradient_penalty(
        critic, real, fake, _epsilon(real, rng)),
    "dragan_penalty": lambda critic, real, fake, rng: perturbed_penalty(
        critic, real, rng.random(real.shape), _epsilon(real, rng)),
    "r1_penalty": lambda critic, real, fake, rng: 0.5 * zero_centred_penalty(critic, real),
    "r2_penalty": lambda critic, real, fake, rng: 0.5 * zero_centred_penalty(critic, fake)}


def refuse_batch_norm(critic):
    """ValueError if `critic`, which is to get a gradient penalty, contains batch norm."""
    if isinstance(critic, nn.Module) and any(
            isinstance(module, nn.BatchNorm) for _, module in critic.named_modules()):
        raise ValueError("a critic with a gradient penalty contains BatchNorm, which mixes the "
                         "samples of a batch: use nn.LayerNorm, or no normalisation")


def clip_weights(critic, c):
    """Clip the critic's parameters, not its buffers, to [−c, c]. arXiv:1701.07875, Alg. 1."""
    if not c > 0:
        raise ValueError(f"clip_weights: expected a bound c > 0, got {c}")
    for parameter in critic.parameters():
        array = parameter.data
        array[...] = array.clip(-c, c)
        parameter.data = array  # marks graphs recorded before as stale


def _array(x):
    return x.data if isinstance(x, Tensor) else backend.asarray(x)


def _check_scores(*scores):
    for s in scores:
        if s.ndim not in (1, 2, 4) or s.ndim > 1 and s.shape[-1] != 1:
            raise ValueError("expected one score per sample, shape (N, 1) or (N,), or per patch, "
                             f"(N, h, w, 1), got {s.shape}")
