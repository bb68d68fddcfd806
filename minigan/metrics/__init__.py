"""How good are the samples? Measures on features, on class probabilities, on points of a known
mixture, and on the pictures themselves.

No measure sees everything, and each docstring says what its own one misses: report several.
Features (N, d) are what one fixed network makes of N samples; a figure depends on that network and
on N, so it is quoted with both. Arrays of any backend are taken to the host and to float64: this is
evaluation, and rounding should not decide it. Every function raises ValueError, with its name, what
came and what was expected, for data that it cannot judge: NaN or infinite, of another shape, too
few.

    distances     two sets of features as a whole: Fréchet and kernel distance
    scores        class probabilities: Inception Score, mode score, class divergence
    neighbours    precision and recall, density and coverage, realism, the nearest sample
    modes         a known mixture, or classes that are modes: which are covered
    matching      codes and classes of the same samples: the best one-to-one match
    likeness      pictures beside pictures, without a network: PSNR, SSIM, sliced Wasserstein
    error_bars    the standard error of any of them
    latent        interpolation in the latent space, perceptual path length
    lenet         the feature network and its training
    classifiers   trained feature networks: shipped, saved and loaded
    general       features for pictures that no network was trained on
    channels      a network of grey pictures, for the channels of RGB ones
    judges        which measures suit the samples of a run
"""

from minigan.metrics.distances import (  # noqa: F401
    Moments, frechet_distance, frechet_distance_of_moments, kernel_distance, moments)
from minigan.metrics.error_bars import Estimate, half_sampling  # noqa: F401
from minigan.metrics.exact import ShapesJudge, agreement  # noqa: F401
from minigan.metrics.likeness import (  # noqa: F401
    SlicedWasserstein, psnr, sliced_wasserstein, ssim)
from minigan.metrics.matching import assignment, code_agreement  # noqa: F401
from minigan.metrics.modes import (  # noqa: F401
    ClassCoverage, ModeCoverage, class_coverage, mode_coverage)
from minigan.metrics.neighbours import (  # noqa: F401
    DensityCoverage, Nearest, PrecisionRecall, density_coverage, nearest, precision_recall, realism)
from minigan.metrics.scores import (  # noqa: F401
    InceptionScore, class_divergence, class_shares, inception_score, mode_score)
