"""Generator and discriminator pairs: an MLP pair for points, a DCGAN pair for images.

Both end in plain numbers: the discriminator in one logit, which the objectives turn into a loss. It
may be made to judge `pack` samples at once, which the trainer lays together with `pack_samples`.
"""

from minigan import init, nn
from minigan.shapes import check_positive


def pair(shape, **settings):
    """Generator and discriminator for samples of this shape: `dcgan_pair` for images (H, W, C),
    `mlp_pair` for points (features,)."""
    return dcgan_pair(shape, **settings) if len(shape) == 3 else mlp_pair(*shape, **settings)


def mlp_pair(features=2, latent=2, width=128, depth=3, pack=1, rng=None):
    """Two perceptrons with `depth` hidden layers of `width` units: noise (N, latent) → points (N,
    features) by ReLU; packs of points (N, pack · features) → logits (N, 1) by leaky ReLU 0.2. No
    normalisation: a penalised critic can be used as it is."""
    check_positive("mlp_pair", features=features, latent=latent, width=width, depth=depth,
                   pack=pack)
    return (mlp(latent, width, depth, features, nn.ReLU, rng),
            mlp(pack * features, width, depth, 1, nn.LeakyReLU, rng))


def mlp(inputs, width, depth, outputs, activation, rng=None):
    """A perceptron (N, inputs) → (N, outputs) with `depth` hidden layers of `width` units."""
    layers = []
    for _ in range(depth):
        layers += [nn.Dense(inputs, width, rng=rng), activation()]
        inputs = width
    return nn.Sequential(*layers, nn.Dense(inputs, outputs, rng=rng))


def dense(inputs, outputs, activation, rng=None):
    """The layers of a dense one with batch norm, and no bias before it."""
    return [nn.Dense(inputs, outputs, bias=False, rng=rng), nn.BatchNorm(outputs), activation]


def dcgan_pair(image_shape, latent=100, width=64, norm=None, penalised=False, pack=1, dense=0,
               rng=None):
    """The pair of Radford et al. 2016, arXiv:1511.06434, for images (H, W, C) that can be halved:
    `dcgan_generator`, and a `dcgan_discriminator` of (N, H, W, pack · C).

    `norm` is the discriminator's: "batch", "layer" or "none"; by default "batch", and "layer" for a
    `penalised` critic. With `dense` it has one more dense layer of so many units. ValueError for
    sides that cannot be halved and batch norm with a penalty."""
    if len(image_shape) != 3:
        raise ValueError(f"dcgan_pair: image_shape is (H, W, C), got {image_shape}")
    H, W, C = image_shape
    check_positive("dcgan_pair", H=H, W=W, C=C, latent=latent, width=width, pack=pack)
    norm = norm or ("layer" if penalised else "batch")
    if penalised and norm == "batch":
        raise ValueError("dcgan_pair: a critic with a gradient penalty cannot have batch norm, "
                         "which mixes the samples of a batch: use norm='layer' or norm='none'")
    generator = dcgan_generator((H, W, C), latent, width, rng=rng)
    discriminator = dcgan_discriminator((H, W, pack * C), width, norm, dense=dense, rng=rng)
    return init.dcgan(generator, rng), init.dcgan(discriminator, rng)


def dcgan_generator(image_shape, latent=100, width=64, norm=nn.BatchNorm, rng=None):
    """Noise (N, latent) → images (N, H, W, C) in (−1, 1): a dense layer to the smallest size, then
    transposed convolutions, kernel 4, stride 2, padding 1, each of which doubles it. `width`
    channels come before the last one, twice as many before each earlier one. After all but the last
    there is norm(channels), and no bias before it. DCGAN's weights are set by `init.dcgan`."""
    (h, w), levels = halved(image_shape)
    narrowing = [width * 2 ** level for level in reversed(range(levels))]
    deepest = narrowing[0]
    layers = [nn.Dense(latent, h * w * deepest, bias=False, rng=rng), nn.Reshape(h, w, deepest),
              norm(deepest), nn.ReLU()]
    for before, after in zip(narrowing, narrowing[1:]):
        layers += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False, rng=rng),
                   norm(after), nn.ReLU()]
    layers += [nn.ConvTranspose2d(width, image_shape[2], 4, stride=2, padding=1, rng=rng),
               nn.Tanh()]
    return nn.Sequential(*layers)


def dcgan_discriminator(image_shape, width=64, norm="batch", outputs=1, dense=0, rng=None):
    """Images (N, H, W, C) → logits (N, outputs). Convolutions, kernel 4, stride 2, padding 1, halve
    the image while both sides are even and above 7 (28 → 14 → 7, 32 → 16 → 8 → 4), with `width`
    channels after the first and twice as many after each further one. After all but the first
    there is the norm, "batch", "layer" or "none", and no bias before it. A dense layer ends it.
    With `dense` one of so many units is before that: it sees which parts of a picture go together.
    """
    if norm not in ("batch", "layer", "none"):
        raise ValueError(f"dcgan_discriminator: norm is 'batch', 'layer' or 'none', got {norm!r}")
    (h, w), levels = halved(image_shape)
    channels = [width * 2 ** level for level in range(levels)]
    normed = {"batch": lambda n: [nn.BatchNorm(n)], "layer": lambda n: [nn.LayerNorm(n)],
              "none": lambda n: []}[norm]
    layers = [nn.Conv2d(image_shape[2], width, 4, stride=2, padding=1, rng=rng),
              nn.LeakyReLU(0.2)]
    for before, after in zip(channels, channels[1:]):
        layers += [nn.Conv2d(before, after, 4, stride=2, padding=1, bias=norm == "none", rng=rng),
                   *normed(after), nn.LeakyReLU(0.2)]
    layers.append(nn.Flatten())
    features = h * w * channels[-1]
    if dense:
        layers += [nn.Dense(features, dense, bias=norm == "none", rng=rng),
                   *normed(dense), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Dense(dense or features, outputs, rng=rng))


def check_sides(where, sides, multiple, least):
    """ValueError for pictures whose sides are no multiples of a number, or too small."""
    if any(side % multiple or side < least for side in sides):
        raise ValueError(f"{where}: expected sides that are multiples of {multiple} and at least "
                         f"{least}, got pictures of {sides[0]} × {sides[1]}")


def patches(channels, width, norm, rng=None):
    """A discriminator of patches: pictures (N, H, W, channels), sides at least 8, → logits
    (N, ⌊H/4⌋ − 1, ⌊W/4⌋ − 1, 1), each of 22 × 22 pixels. The PatchGAN of Isola et al. 2017,
    arXiv:1611.07004, §3.2.2, with one layer less than for patches of 70 × 70. `norm` is
    nn.BatchNorm, nn.InstanceNorm or None."""
    normed = [] if norm is None else [norm(2 * width)]
    return nn.Sequential(
        nn.Conv2d(channels, width, 4, stride=2, padding=1, rng=rng), nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=norm is None, rng=rng),
        *normed, nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 1, 4, padding=1, rng=rng))


def spectral(layers, rng=None):
    """The layers one after another, each dense one and each convolution in an `nn.SpectralNorm`."""
    weighty = nn.Dense, nn.Conv2d, nn.ConvTranspose2d
    return nn.Sequential(*[nn.SpectralNorm(layer, rng) if isinstance(layer, weighty) else layer
                           for layer in layers])


def residual_translator(sides, inputs, outputs, width, blocks, first_norm=True, rng=None):
    """A generator of pictures from others, (N, H, W, inputs) → (N, H, W, outputs) in (−1, 1):
    convolutions halve the `sides` (H, W), twice if the larger one is above 32 and else once,
    residual blocks follow, and transposed convolutions double the sides again. All layers but the
    last have instance norm, or all but the first and the last. Johnson et al. 2016,
    arXiv:1603.08155, as Zhu et al. 2017, arXiv:1703.10593, appendix 7.2, have it, with StarGAN's
    4 × 4 kernels where sides change. Their pictures are of 128 pixels and more: in small ones,
    stripes of two pixels do not outlive a second halving. ValueError for sides that do not fit."""
    levels = range(2 if max(sides) > 32 else 1)
    check_sides("residual_translator", sides, 2 ** len(levels), 4)
    conv = lambda before, after, size: [
        nn.ReflectionPad(size // 2), nn.Conv2d(before, after, size, rng=rng)]
    norm = lambda before, after, size: [*conv(before, after, size), nn.InstanceNorm(after)]
    down = lambda n: [nn.Conv2d(n, 2 * n, 4, stride=2, padding=1, rng=rng),
                      nn.InstanceNorm(2 * n), nn.ReLU()]
    up = lambda n: [nn.ConvTranspose2d(2 * n, n, 4, stride=2, padding=1, rng=rng),
                    nn.InstanceNorm(n), nn.ReLU()]
    block = lambda n: nn.Residual(nn.Sequential(*norm(n, n, 3), nn.ReLU(), *norm(n, n, 3)))
    first = norm if first_norm else conv
    return nn.Sequential(
        *first(inputs, width, 7), nn.ReLU(),
        *[layer for level in levels for layer in down(width * 2 ** level)],
        *[block(width * 2 ** len(levels)) for _ in range(blocks)],
        *[layer for level in reversed(levels) for layer in up(width * 2 ** level)],
        *conv(width, outputs, 7), nn.Tanh())


MINIBATCH = "none", "deviation", "discrimination"


def equipped(discriminator, minibatch="none", dropout=0.0, bounded=False, rng=None, masks=None):
    """A discriminator of this file, made harder to fool or to lead astray.

    minibatch: before the last dense layer it learns of the other samples of its batch, by an
    `nn.MinibatchDeviation` of the last picture or features, or by an `nn.MinibatchDiscrimination`.
    dropout: behind each activation elements are left out, by masks from `masks`. bounded: each
    layer with weights gets `spectral` norm; it comes last, for it measures weights."""
    if minibatch not in MINIBATCH:
        raise ValueError(f"minibatch is one of {', '.join(MINIBATCH)}, got {minibatch!r}")
    *layers, last = discriminator
    features, outputs = last.weight.shape
    flat = isinstance(layers[-1], nn.Flatten)
    if minibatch == "discrimination":
        layers.append(nn.MinibatchDiscrimination(features, rng=rng))
        features += layers[-1].kernels
    elif minibatch == "deviation":
        channels = [layer.weight.shape[-1] for layer in layers if hasattr(layer, "weight")][-1]
        layers.insert(-1 if flat else len(layers), nn.MinibatchDeviation())
        features += features // channels
    if minibatch != "none":
        last = nn.Dense(features, outputs, rng=rng)
        if any(isinstance(layer, nn.Flatten) for layer in layers):  # a DCGAN's, not a perceptron's
            init.dcgan(last, rng)
    equipment = []
    for layer in [*layers, last]:
        equipment.append(layer)
        if dropout and isinstance(layer, nn.LeakyReLU):
            equipment.append(nn.Dropout(dropout, masks))
    return spectral(equipment, rng) if bounded else nn.Sequential(*equipment)


def halved(image_shape, where="dcgan_pair"):
    """(the smallest (h, w), how many times the sides were halved to it): while both are even and
    above 7. ValueError for sides that cannot be halved."""
    H, W, _ = image_shape
    h, w, levels = H, W, 0
    while h % 2 == w % 2 == 0 and min(h, w) > 7:
        h, w, levels = h // 2, w // 2, levels + 1
    if levels == 0:
        raise ValueError(f"{where}: images of {H}×{W} cannot be halved: both sides must be even "
                         "and above 7 (28, 32 and 64 are common)")
    return (h, w), levels


def halving(image_shape, width, where="dcgan_pair"):
    """(the smallest (h, w, channels), the channels of each size from there on): `width` at the full
    size, and twice as many at each smaller one."""
    (h, w), levels = halved(image_shape, where)
    widths = [width << level for level in range(levels, -1, -1)]
    return (h, w, widths[0]), widths


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
