"""Generator and discriminator pairs: an MLP pair for points, a DCGAN pair for images.

Both end in plain numbers: the discriminator in one logit, which the objectives turn into a loss. It
may be made to judge `pack` samples at once, which the trainer lays together with `pack_samples`.
"""

from numbers import Integral

from minigan import init, nn


def mlp_pair(features=2, latent=2, width=128, depth=3, pack=1, rng=None):
    """Two perceptrons with `depth` hidden layers of `width` units: noise (N, latent) → points (N,
    features) by ReLU; packs of points (N, pack · features) → logits (N, 1) by leaky ReLU 0.2. No
    normalisation: a penalised critic can be used as it is."""
    _check_positive("mlp_pair", features=features, latent=latent, width=width, depth=depth,
                    pack=pack)
    return (_mlp(latent, width, depth, features, nn.ReLU, rng),
            _mlp(pack * features, width, depth, 1, nn.LeakyReLU, rng))


def _mlp(inputs, width, depth, outputs, activation, rng):
    layers = []
    for _ in range(depth):
        layers += [nn.Dense(inputs, width, rng=rng), activation()]
        inputs = width
    return nn.Sequential(*layers, nn.Dense(inputs, outputs, rng=rng))


def dcgan_pair(image_shape, latent=100, width=64, norm=None, penalised=False, pack=1, rng=None):
    """The pair of Radford et al. 2016, arXiv:1511.06434, for images (H, W, C) that can be halved.

    The discriminator takes (N, H, W, pack · C). It halves the image by convolutions, kernel 4,
    stride 2, padding 1, while both sides are even and above 7 (28 → 14 → 7, 32 → 16 → 8 → 4), with
    `width` channels after the first and twice as many after each further one. A dense layer gives
    the logit. The generator goes the same way up from noise (N, latent) to (N, H, W, C) in (−1, 1).
    There is batch norm after every layer but the generator's last and the discriminator's first,
    and no bias before it. Weights start as in the paper.

    `norm` is the discriminator's: "batch", "layer" or "none"; by default "batch", and "layer" for a
    `penalised` critic. ValueError for sides that cannot be halved and batch norm with a penalty."""
    if len(image_shape) != 3:
        raise ValueError(f"dcgan_pair: image_shape is (H, W, C), got {image_shape}")
    H, W, C = image_shape
    _check_positive("dcgan_pair", H=H, W=W, C=C, latent=latent, width=width, pack=pack)
    norm = norm or ("layer" if penalised else "batch")
    if norm not in ("batch", "layer", "none"):
        raise ValueError(f"dcgan_pair: norm is 'batch', 'layer' or 'none', got {norm!r}")
    if penalised and norm == "batch":
        raise ValueError("dcgan_pair: a critic with a gradient penalty cannot have batch norm, "
                         "which mixes the samples of a batch: use norm='layer' or norm='none'")
    h, w, levels = H, W, 0
    while h % 2 == w % 2 == 0 and min(h, w) > 7:
        h, w, levels = h // 2, w // 2, levels + 1
    if levels == 0:
        raise ValueError(f"dcgan_pair: images of {H}×{W} cannot be halved: both sides must be even "
                         "and above 7 (28, 32 and 64 are common)")
    channels = [width * 2 ** level for level in range(levels)]  # from the image inwards
    generator = _dcgan_generator((h, w), channels, C, latent, rng)
    discriminator = _dcgan_discriminator((h, w), channels, pack * C, norm, rng)
    return init.dcgan(generator, rng), init.dcgan(discriminator, rng)


def _dcgan_generator(size, channels, image_channels, latent, rng):
    (h, w), narrowing, deepest = size, channels[::-1], channels[-1]
    layers = [nn.Dense(latent, h * w * deepest, bias=False, rng=rng), nn.Reshape(h, w, deepest),
              nn.BatchNorm(deepest), nn.ReLU()]
    for before, after in zip(narrowing, narrowing[1:]):
        layers += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False, rng=rng),
                   nn.BatchNorm(after), nn.ReLU()]
    layers += [nn.ConvTranspose2d(narrowing[-1], image_channels, 4, stride=2, padding=1, rng=rng),
               nn.Tanh()]
    return nn.Sequential(*layers)


def _dcgan_discriminator(size, channels, image_channels, norm, rng):
    h, w = size
    layers = [nn.Conv2d(image_channels, channels[0], 4, stride=2, padding=1, rng=rng),
              nn.LeakyReLU(0.2)]
    for before, after in zip(channels, channels[1:]):
        layers += [nn.Conv2d(before, after, 4, stride=2, padding=1, bias=norm == "none", rng=rng)]
        if norm != "none":
            layers.append(nn.BatchNorm(after) if norm == "batch" else nn.LayerNorm(after))
        layers.append(nn.LeakyReLU(0.2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Dense(h * w * channels[-1], 1, rng=rng))


def pack_samples(x, pack):
    """Samples (N, …, C) → packs (N / pack, …, pack · C) of consecutive ones, along the last axis.

    A discriminator that sees several samples of one source at once can tell that they are too
    alike: a generator that has lost modes is found out. ValueError if N cannot be divided. Source:
    Lin et al. 2018 (PacGAN), arXiv:1712.04086, §2.1."""
    if pack == 1:
        return x
    N, *between, C = x.shape
    if N % pack:
        raise ValueError(f"pack_samples: a batch of {N} cannot be divided into packs of {pack}")
    side_by_side = x.reshape(N // pack, pack, *between, C)
    order = (0, *range(2, len(between) + 2), 1, len(between) + 2)
    return side_by_side.transpose(order).reshape(N // pack, *between, pack * C)


def _check_positive(name, **numbers):
    for what, number in numbers.items():
        if not isinstance(number, Integral) or number < 1:
            raise ValueError(f"{name}: {what} is an integer ≥ 1, got {number!r}")
