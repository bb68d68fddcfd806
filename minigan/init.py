"""How weights begin."""

from math import prod, sqrt

import numpy as np

from minigan import backend


def uniform(shape, fan_in, rng=None):
    """U(−1/√fan_in, 1/√fan_in), float32, as PyTorch's layers; fan_in counts a unit's inputs. Drawn
    from `rng`, the stream "init" by default."""
    rng, bound = rng or backend.streams["init"], 1.0 / sqrt(fan_in)
    return backend.asarray(rng.uniform(-bound, bound, shape), dtype="float32")


def normal(shape, mean, std, rng):
    """N(mean, std²), float32."""
    return backend.asarray(mean + std * rng.standard_normal(shape), dtype="float32")


def lecun(layer, rng):
    """The weights of a dense layer N(0, 1/inputs), biases 0, in place; returns the layer. What goes
    in with mean 0 and variance 1 comes out so. LeCun et al. 1998, "Efficient BackProp", §4.6."""
    shape = layer.weight.shape
    layer.weight.data = normal(shape, 0.0, 1.0 / sqrt(shape[0]), rng)
    layer.bias.data = 0.0 * layer.bias.data
    return layer


LEAKY = sqrt(2.0 / (1.0 + 0.2 ** 2))  # the gain before a leaky ReLU of slope 0.2


def he(layer, gain, rng):
    """The weights of a layer N(0, gain²/n), n the inputs of each output, biases 0, in place;
    returns the layer. With the gain √(2/(1 + a²)) before a leaky ReLU of slope a the second moment
    passes unchanged. He et al. 2015, arXiv:1502.01852, eq. 15."""
    shape = layer.weight.shape
    layer.weight.data = normal(shape, 0.0, gain / sqrt(prod(shape[:-1])), rng)
    if layer.bias is not None:
        layer.bias.data = 0.0 * layer.bias.data
    return layer


def orthogonal(layer, rng):
    """The weight of a layer, as a matrix (inputs, outputs), with orthonormal columns, or rows where
    it has fewer of them; biases 0; in place; returns the layer. Saxe et al. 2014, arXiv:1312.6120.
    """
    *inputs, outputs = layer.weight.shape
    sides = prod(inputs), outputs
    q, r = np.linalg.qr(rng.standard_normal((max(sides), min(sides))))
    q = q * np.sign(np.diag(r))  # so that all orthogonal matrices are equally likely
    q = q if sides[0] >= sides[1] else q.T
    layer.weight.data = backend.asarray(q.reshape(layer.weight.shape), dtype="float32")
    if getattr(layer, "bias", None) is not None:
        layer.bias.data = 0.0 * layer.bias.data
    return layer


def dcgan(module, rng=None):
    """Weights N(0, 0.02²), those of normalisations N(1, 0.02²), biases 0, in place; returns the
    module. Source: Radford et al. 2016, arXiv:1511.06434, §4, and the authors' published code."""
    rng = rng or backend.streams["init"]
    for name, parameter in module.named_parameters():
        is_vector = parameter.ndim == 1
        if is_vector and name.split(".")[-1] != "weight":
            initial = 0.0 * parameter.data
        else:
            initial = normal(parameter.shape, 1.0 if is_vector else 0.0, 0.02, rng)
        parameter.data = initial.astype(parameter.dtype)
    return module
