"""How good are the samples? Measures on features, on class probabilities, and on points of a known mixture.

No measure sees everything, and each docstring says what its own one misses: report several. Features (N, d) are what
one fixed network makes of N samples; a figure depends on that network and on N, so it is quoted with both. Arrays of
any backend are taken to the host and to float64: this is evaluation, and rounding should not decide it. Every function
raises ValueError, with its name, what came and what was expected, for data that it cannot judge: NaN or infinite, of
another shape, too few.
"""

from typing import NamedTuple

import numpy as np

from minigan import backend

BLOCK = 1 << 22  # numbers in a block of pairs: 32 MiB, where all pairs of 10,000 samples would take 800 MB


# Two sets of features as a whole

class Moments(NamedTuple):
    """What the Fréchet distance keeps of N features."""
    mean: np.ndarray        # (d,)
    covariance: np.ndarray  # (d, d), the sums divided by N − 1


def moments(features):
    """Features (N, d), N ≥ 2 → `Moments`: to be kept of a data set that is compared with again and again."""
    [x] = _features("moments", 2, features=features)
    mean = x.mean(axis=0)
    x -= mean
    return Moments(mean, x.T @ x / (len(x) - 1))


def frechet_distance(real, fake):
    """d² = ‖m − m′‖² + Tr(C + C′ − 2(CC′)^½), the squared Fréchet distance of N(m, C) and N(m′, C′); 0 is best.

    real (N, d), fake (M, d), at least two each; m, C and m′, C′ are their means and covariances. The root is the
    matrix's, not the elements'. The unit is that of the features, squared. With Inception features this is the FID, and
    with no others.

    It misses what means and covariances do not show: clouds of the same moments and of different shapes are the same to
    it. It is biased upward, by about 1/N times what depends on the features: compare figures of equal N only. It cannot
    tell poor samples from too uniform ones, and a generator that repeats the training data is perfect.
    Source: Dowson & Landau 1982, doi 10.1016/0047-259X(82)90077-X; Heusel et al. 2017, arXiv:1706.08500, eq. 6.
    """
    real, fake = _features("frechet_distance", 2, real=real, fake=fake)
    return frechet_distance_of_moments(moments(real), moments(fake))


def frechet_distance_of_moments(real, fake):
    """`frechet_distance` from two `Moments`, or pairs (mean (d,), covariance (d, d)).

    With C = FFᵀ and C′ = GGᵀ, the eigenvalues of CC′ = FFᵀGGᵀ are the squared singular values of FᵀG (and zeros), so
    that Tr (CC′)^½ is the sum of these: real though CC′ is not symmetric, and right for singular covariances too.
    """
    (m_real, F), (m_fake, G) = (_mean_and_factor(*given) for given in (real, fake))
    if m_real.shape != m_fake.shape:
        raise ValueError(f"frechet_distance: real has {len(m_real)} features, fake has {len(m_fake)}: expected equally "
                         "many")
    squared = np.sum((m_real - m_fake) ** 2) + np.sum(F ** 2) + np.sum(G ** 2) - 2 * np.linalg.norm(F.T @ G, "nuc")
    return max(0.0, float(squared))  # of equal moments only a rounding error is left, of either sign


def _mean_and_factor(mean, covariance):
    """m and an F with FFᵀ = C, from the symmetric C = V diag(w) Vᵀ: F = V diag(√w)."""
    name = "frechet_distance"
    mean, covariance = _array(name, "mean", mean), _array(name, "covariance", covariance)
    if mean.ndim != 1 or covariance.shape != 2 * mean.shape or not np.allclose(
            covariance, covariance.T, atol=1e-6 * np.abs(covariance).max(initial=0.0)):
        raise ValueError(f"{name}: expected a mean (d,) and a symmetric covariance (d, d), got {mean.shape} and "
                         f"{covariance.shape}")
    w, V = np.linalg.eigh(covariance)
    if w[0] < -1e-4 * w[-1]:
        raise ValueError(f"{name}: expected a covariance, got a matrix with the eigenvalue {w[0]:.3g}")
    # A zero is computed as some 1e-16 of the greatest eigenvalue, whose root is 1e-8 of its root: of the many zeros
    # that fewer samples than dimensions leave, that would be a visible sum.
    w[w < len(w) * np.finfo(np.float64).eps * w[-1]] = 0.0
    return mean, V * np.sqrt(w)


def kernel_distance(real, fake):
    """The unbiased estimate of MMD² = E k(x, x′) + E k(y, y′) − 2 E k(x, y), k(x, y) = (x·y/d + 1)³; 0 is best, and
    chance takes it below 0.

    real (N, d), fake (M, d), at least two each; x, x′ are real, y, y′ fake. Each mean is that of all pairs but those of
    a sample with itself. With Inception features this is the KID; its published figures are means over subsets.

    It sees the moments up to the third and no others. Being unbiased it can be compared across N, unlike the Fréchet
    distance, but with few samples it is noisy: see `half_sampling`. Repeated training data is perfect here too.
    Source: Bińkowski et al. 2018, arXiv:1801.01401, §4; Gretton et al. 2012, JMLR 13, Lemma 6.
    """
    x, y = _features("kernel_distance", 2, real=real, fake=fake)
    return _mean_kernel_of_others(x) + _mean_kernel_of_others(y) - 2 * _sum_of_kernel(x, y) / (len(x) * len(y))


def _mean_kernel_of_others(x):
    n, d = x.shape
    with_itself = np.sum((np.sum(x * x, axis=1) / d + 1) ** 3)
    return float(_sum_of_kernel(x, x) - with_itself) / (n * (n - 1))


def _sum_of_kernel(x, y):
    total = 0.0
    for _, products in _products(x, y):
        products /= x.shape[1]
        products += 1
        total += np.sum(products * products * products)
    return float(total)


# Class probabilities

class InceptionScore(NamedTuple):
    mean: float
    std: float  # of the splits' scores, ddof 0 as published; the mean's standard error is smaller by √splits


def inception_score(probabilities, splits=10):
    """exp(E KL(p(y|x) ‖ p̄)), p̄ = E p(y|x), for each of `splits` consecutive parts; their mean and std.

    probabilities (N, K): a classifier's p(y|x) of N samples for K classes; at least two samples a part. From 1 (all
    samples are alike to the classifier) to K (it is sure of each, and each class is as frequent).

    It never looks at real data. A single perfect picture of each class scores K, and so does noise that the classifier
    is sure about; real data of unequal classes cannot. Small parts score too low: compare equal N and `splits` only.
    Source: Salimans et al. 2016, arXiv:1606.03498, §4.
    """
    p = _probabilities("inception_score", 2, probabilities=probabilities)
    if splits not in range(1, len(p) // 2 + 1):
        raise ValueError(f"inception_score: splits is {splits}, expected an integer from 1 to {len(p) // 2}, for each "
                         f"needs two of the {len(p)} samples")
    scores = [np.exp(_information(part)) for part in np.array_split(p, splits)]
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))


def mode_score(probabilities, data_shares):
    """exp(E KL(p(y|x) ‖ p̄) − KL(p̄ ‖ p*)): the Inception Score, less what the classes' shares differ from the data's.

    probabilities (N, K): a classifier's p(y|x) of N ≥ 2 samples, p̄ their mean; data_shares (K,): p*, the classes'
    shares of the data. At most K; 0 where samples show a class that the data does not have.

    It misses all that happens within a class, such as one picture for each. With p* in the first term as well, as the
    formula is sometimes printed, p* cancels out and the Inception Score is left.
    Source: Che et al. 2017, arXiv:1612.02136, §4.
    """
    p = _probabilities("mode_score", 2, probabilities=probabilities)
    return float(np.exp(_information(p) - _kl(p.mean(axis=0), _data_shares("mode_score", data_shares, p.shape[1]))))


def class_divergence(probabilities, data_shares):
    """KL(q ‖ p*) = Σ qₖ ln(qₖ/p*ₖ), in nats: how far the shares q of the classes among samples are from the data's.

    probabilities (N, K): a classifier's p(y|x) of N samples, each of which is counted in its most probable class;
    data_shares (K,): p*, the classes' shares of the data, counted likewise. 0 where the shares are equal; infinite
    where samples show a class that the data does not have. Of N samples from the data itself it is about (K − 1)/2N.

    A picture of nothing is counted in some class too: look at the samples as well. It is the reverse KL divergence of
    `mode_coverage`, with a classifier for the modes, as stacked MNIST is judged in arXiv:1712.04086, §4.2.
    """
    p = _probabilities("class_divergence", 1, probabilities=probabilities)
    return float(_kl(class_shares(p), _data_shares("class_divergence", data_shares, p.shape[1])))


def class_shares(probabilities):
    """The share (K,) of samples whose most probable class each one is; probabilities (N, K)."""
    p = _probabilities("class_shares", 1, probabilities=probabilities)
    return np.bincount(p.argmax(axis=1), minlength=p.shape[1]) / len(p)


def _data_shares(name, data_shares, classes):
    p = _probabilities(name, 1, data_shares=np.atleast_2d(_host(data_shares)))
    if p.shape != (1, classes):
        raise ValueError(f"{name}: expected data_shares of the {classes} classes, got {p.shape}")
    return p[0]


def _information(p):
    """E KL(p(y|x) ‖ p̄): how many nats a sample tells about its class."""
    return np.mean(_kl(p, p.mean(axis=0)))


def _kl(p, q):
    """KL(p ‖ q) = Σ p ln(p/q) over the last axis, in nats; 0·ln 0 = 0, and infinite where q lacks what p has."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sum(np.where(p > 0, p * np.log(p / q), 0.0), axis=-1)


# Nearest neighbours

class PrecisionRecall(NamedTuple):
    precision: float  # the share of fakes that lie among the real samples
    recall: float     # the share of real samples that lie among the fakes


def precision_recall(real, fake, k=3):
    """Improved precision and recall: the shares of samples that lie on the other set's manifold; 0 … 1.

    A set's manifold is taken to be the union of the closed balls around its samples that reach to each one's k-th
    nearest neighbour in the set, itself not counted. real (N, d), fake (M, d), more than `k` each.

    These are no classifier's precision and recall. One outlier has a large ball, which makes everything near it right;
    two samples of one distribution score less than 1; and both shares depend on k, N and M: compare equal ones only.
    Source: Kynkäänniemi et al. 2019, arXiv:1904.06991, eq. 1 and 2; there k = 3 and N = M = 50,000.
    """
    real, fake = _neighbourly("precision_recall", k, real, fake)
    real_reach, fake_reach = _squared_reach(real, k), _squared_reach(fake, k)
    right, recalled = np.zeros(len(fake), bool), np.zeros(len(real), bool)
    for rows, squared in _squared_distances(real, fake):
        right |= np.any(squared <= real_reach[rows, None], axis=0)
        recalled[rows] = np.any(squared <= fake_reach, axis=1)
    return PrecisionRecall(float(right.mean()), float(recalled.mean()))


class DensityCoverage(NamedTuple):
    density: float   # in how many real balls a fake lies, divided by k
    coverage: float  # the share of real balls with a fake in them


def density_coverage(real, fake, k=5):
    """Density, (1/kM) Σᵢⱼ [yⱼ in Bᵢ], and coverage, (1/N) Σᵢ [some yⱼ in Bᵢ]; Bᵢ the closed ball around the real
    sample xᵢ that reaches to its k-th nearest neighbour among the other real ones.

    real (N, d), fake (M, d), more than `k` each. Only real samples have balls, so a fake outlier does no harm. Of fakes
    from the real distribution, in any number of dimensions, the density is 1 on average (it is no share, and above 1
    where fakes crowd at real samples) and the coverage 1 − Π (N − i)/(M + N − i), i = 1 … k, about 1 − 2⁻ᵏ for N = M.

    A ball counts as covered however few its fakes, so shares of modes are missed; and so is copied data.
    Source: Naeem et al. 2020, arXiv:2002.09797, §3; there k = 5. The authors' code has open balls, which makes a
    difference only where fakes are copies of real samples.
    """
    real, fake = _neighbourly("density_coverage", k, real, fake)
    reach = _squared_reach(real, k)
    pairs, covered = 0, np.zeros(len(real), bool)
    for rows, squared in _squared_distances(real, fake):
        within = squared <= reach[rows, None]
        pairs += np.count_nonzero(within)
        covered[rows] = np.any(within, axis=1)
    return DensityCoverage(float(pairs / (k * len(fake))), float(covered.mean()))


def realism(real, fake, k=3):
    """max over real xᵢ of reachᵢ / ‖y − xᵢ‖ for each fake y → (M,): from 1 on it lies on the manifold of
    `precision_recall`, and the larger the deeper; infinite where it is a copy of one of them.

    real (N, d), fake (M, d), more than `k` each; reachᵢ is the distance from xᵢ to its k-th nearest other real sample.
    The half of the real samples with the larger reach is left out, for an outlier's makes everything look real.
    Source: Kynkäänniemi et al. 2019, arXiv:1904.06991, §5, eq. 3.
    """
    real, fake = _neighbourly("realism", k, real, fake)
    reach = _squared_reach(real, k)
    core = reach <= np.median(reach) + 1e-11 * np.sum(real * real, axis=1).max()  # all of equal reach, or none
    real, reach = real[core], reach[core]
    best = np.zeros(len(fake))
    for rows, squared in _squared_distances(real, fake):
        np.maximum(squared, 1e-100, out=squared)  # rounding can take the distance of a copy to 0 and below
        np.maximum(best, np.max(reach[rows, None] / squared, axis=0), out=best)
    best[nearest(real, fake).distance == 0] = np.inf
    return np.sqrt(best)


class Nearest(NamedTuple):
    distance: np.ndarray  # (M,)
    index: np.ndarray     # (M,)


def nearest(real, fake):
    """For each row of fake (M, d) the row of real (N, d) at the least distance, and that distance → `Nearest`.

    With the training data for `real`: samples of a generator that has memorised are nearer to it than fresh data are.
    Nearest in which features? Pixels see a shift of one as a change of everything, a classifier's features hardly do.
    """
    real, fake = _features("nearest", 1, real=real, fake=fake)
    centre = real.mean(axis=0)
    real, fake = real - centre, fake - centre
    distance, index = np.empty(len(fake)), np.empty(len(fake), np.int64)
    for rows, squared in _squared_distances(fake, real):
        index[rows] = squared.argmin(axis=1)
        distance[rows] = np.linalg.norm(fake[rows] - real[index[rows]], axis=1)  # exact: a copy is at 0
    return Nearest(distance, index)


def _neighbourly(name, k, real, fake):
    real, fake = _features(name, 2, real=real, fake=fake)
    most = min(len(real), len(fake)) - 1
    if k not in range(1, most + 1):
        raise ValueError(f"{name}: k is {k}, expected an integer from 1 to {most}, for each of the {len(real)} real "
                         f"and {len(fake)} fake samples needs k others")
    centre = real.mean(axis=0)  # distances do not change, and small ones are computed more exactly near the origin
    return real - centre, fake - centre


def _squared_reach(x, k):
    """The squared distance (N,) from each row of x to the k-th nearest other one; a little more, so that which of two
    equal distances rounding has made the longer does not decide whether a copied sample lies in a ball."""
    reach = np.empty(len(x))
    for rows, squared in _squared_distances(x, x):
        np.fill_diagonal(squared[:, rows], np.inf)  # itself, which duplicates elsewhere are not
        squared.partition(k - 1, axis=1)
        reach[rows] = squared[:, k - 1]
    return reach + 1e-12 * (reach + np.sum(x * x, axis=1))


def _squared_distances(x, y):
    """‖xᵢ − yⱼ‖² = ‖xᵢ‖² − 2 xᵢ·yⱼ + ‖yⱼ‖² for all rows, in blocks: (which rows of x, (rows, M))."""
    x_norms, y_norms = np.sum(x * x, axis=1), np.sum(y * y, axis=1)
    for rows, squared in _products(x, y):
        squared *= -2
        squared += x_norms[rows, None]
        squared += y_norms
        yield rows, squared


def _products(x, y):
    """xᵢ·yⱼ for all rows of x (N, d) and y (M, d), in blocks of about BLOCK: (which rows of x, (rows, M))."""
    step = max(1, BLOCK // len(y))
    for begin in range(0, len(x), step):
        rows = slice(begin, min(begin + step, len(x)))
        yield rows, x[rows] @ y.T


# Known mixtures

class ModeCoverage(NamedTuple):
    """What is left of a mixture in samples of it."""
    modes: int            # how many modes have at least one high-quality sample
    high_quality: float   # the share of all samples that are within 3σ of a mode
    reverse_kl: float     # how far the modes' shares of those are from equal ones, in nats


def mode_coverage(points, modes, sigma):
    """Count modes: points (N, d), modes (K, d), the σ of each mode → `ModeCoverage`.

    A sample is of high quality if its distance to the nearest mode is at most 3σ, and a mode is covered if it is the
    nearest of at least one such sample. With q the modes' shares of the high-quality samples, the reverse KL
    divergence is KL(q ‖ 1/K) = Σ qₖ ln(K qₖ): 0 … ln K, and NaN without such samples. In the plane a perfect sampler's
    share is 1 − e^(−9/2) = 98.9 %, and its reverse KL about (K − 1)/2N: .005 for 25 modes and the 2,500 samples that
    are customary. It misses whether a mode's samples have its shape: all on its centre would be perfect.
    Source: Srivastava et al. 2017 (VEEGAN), arXiv:1705.07761, §5.1; Lin et al. 2018 (PacGAN), arXiv:1712.04086, §4.1.
    """
    name = "mode_coverage"
    points, modes = _features(name, 1, points=points, modes=modes)
    if not sigma > 0:
        raise ValueError(f"{name}: expected a width sigma > 0, got {sigma}")
    distance = np.linalg.norm(points[:, None] - modes[None], axis=2)
    good = distance.min(axis=1) <= 3.0 * sigma
    counts = np.bincount(distance.argmin(axis=1)[good])
    reverse_kl = _kl(counts / good.sum(), 1 / len(modes)) if good.any() else np.nan
    return ModeCoverage(int(np.count_nonzero(counts)), float(good.mean()), float(reverse_kl))


# Error bars

class Estimate(NamedTuple):
    """A metric's value on all samples, and its standard error; each is what the metric returns."""
    value: object
    standard_error: object


def half_sampling(metric, *samples, rng, halves=20):
    """`metric(*samples)` and its standard error: the standard deviation of the metric over random halves.

    metric: takes arrays with their rows first, returns a number or a named tuple of numbers
    rng: the NumPy generator that draws half of the rows of every array, without replacement, `halves` times

    Half of the rows have twice the variance of all, but halves of the same rows have half of theirs in common: they
    vary about their mean as much as new samples of the whole size would. The bootstrap draws rows twice; such a row is
    its own nearest neighbour and its own pair, which measures on neighbours and `kernel_distance` must not count.

    The error is that of drawing other samples from the same generator; training another one usually makes a larger
    difference. Estimated from 20 halves it is itself uncertain by a sixth; for measures on neighbours, which change
    with N, by a third or so; and for a count such as `ModeCoverage.modes` it says nothing.
    Source: the delete-d jackknife with d = N/2, Shao & Wu 1989, Annals of Statistics 17(3), 1176.
    """
    samples = [_host(x) for x in samples]
    if halves < 2 or min(len(x) for x in samples) < 2:
        raise ValueError(f"half_sampling: expected 2 or more halves of 2 or more rows, got {halves} halves of samples "
                         f"{', '.join(str(x.shape) for x in samples)}")
    value = metric(*samples)
    found = [metric(*(x[rng.permutation(len(x))[:len(x) // 2]] for x in samples)) for _ in range(halves)]
    with np.errstate(invalid="ignore"):  # where a metric has no finite value there is no error either: NaN
        errors = np.std(found, axis=0, ddof=1)
    return Estimate(value, type(value)(*errors.tolist()) if isinstance(value, tuple) else float(errors))


# What comes in

def _host(x):
    return backend.to_numpy(x) if backend.is_array(x) else np.asarray(x)


def _array(name, what, x):
    """x as float64 on the host, refused unless it holds finite numbers."""
    x = _host(x)
    if x.dtype.kind not in "fiub":
        raise ValueError(f"{name}: {what} holds {x.dtype}, expected real numbers")
    if not np.isfinite(x).all():
        raise ValueError(f"{name}: {what} {x.shape} holds NaN or infinity, expected finite numbers")
    return x.astype(np.float64)


def _features(name, least, **arrays):
    """The arrays as float64 (N, d) on the host, d the same and N ≥ `least`."""
    found = {what: _array(name, what, x) for what, x in arrays.items()}
    for what, x in found.items():
        if x.ndim != 2 or len(x) < least or x.shape[1] < 1:
            raise ValueError(f"{name}: {what} is {x.shape}, expected one sample a row, (N, d) with N ≥ {least} "
                             "and d ≥ 1")
    if len({x.shape[1] for x in found.values()}) > 1:
        shapes = " and ".join(f"{what} {x.shape}" for what, x in found.items())
        raise ValueError(f"{name}: expected rows of the same width, got {shapes}")
    return list(found.values())


def _probabilities(name, least, **array):
    """The array as float64 (N, K) on the host, its rows distributions and N ≥ `least`."""
    [what], [p] = array, _features(name, least, **array)
    sums = p.sum(axis=1)
    if p.min() < 0 or np.abs(sums - 1).max() > 1e-4:
        raise ValueError(f"{name}: expected rows of {what} that are not negative and sum to 1, got a least entry "
                         f"{p.min():.4g} and sums from {sums.min():.4g} to {sums.max():.4g} (logits need a softmax)")
    return p
