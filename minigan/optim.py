"""Optimizers: from gradients to weight updates. The rules, and the defaults where it has any, are PyTorch's.

An optimizer takes an ordered list of parameters and lays them one after another in a single array, of which each
parameter becomes a view. A step is then one sweep over everything there is to learn: one rule, a few long operations.
It changes the parameters in place and marks every graph recorded before it as stale.
"""

from math import sqrt

import numpy as np

from minigan import backend, kernels, parallel
from minigan.tensor import Tensor


class Flat:
    """Parameters as one array. The values stay where the parameters are read: `parameter.data` is a view of it."""

    def __init__(self, params):
        self.params = list(params)
        self._views = []
        self._ends = np.cumsum([p.size for p in self.params]).tolist()
        self.array()

    def array(self):
        """The array (total size,). Parameters that were given new data since (by loading, say) are laid in again."""
        if len(self._views) != len(self.params) or any(
                [p.data is not view for p, view in zip(self.params, self._views)]):
            if len({p.dtype for p in self.params}) > 1:
                raise TypeError(f"parameters of one dtype expected, got {sorted({str(p.dtype) for p in self.params})}")
            self._array = self.params[0].xp.concatenate([p.data.reshape(-1) for p in self.params])
            self._views = [piece.reshape(p.shape) for p, piece in zip(self.params, self.pieces(self._array))]
            for p, view in zip(self.params, self._views):
                p._data = view  # the same values elsewhere: no graph becomes stale
        return self._array

    def gradients(self):
        """(gradient of all parameters as one array, zero where there is none, [(begin, end) where there is one])."""
        spans, begin = [], 0
        for p, end in zip(self.params, self._ends):
            if p.grad is not None:
                if p.grad.dtype != p.dtype:
                    raise TypeError(f"a parameter is {p.dtype}, its gradient {p.grad.dtype}")
                if spans and spans[-1][1] == begin:
                    begin = spans.pop()[0]
                spans.append((begin, end))
            begin = end
        xp = self.params[0].xp
        parts = [xp.zeros_like(p.data) if p.grad is None else p.grad.data for p in self.params]
        if kernel := kernels.joined(len(parts)).on(parts[0]):
            begins = [0, *self._ends]
            given = [argument for part_and_begin in zip(parts, begins) for argument in part_and_begin]
            return kernel(*given, xp.empty(begins[-1], parts[0].dtype)), spans
        return xp.concatenate([part.reshape(-1) for part in parts]), spans

    def pieces(self, array):
        """An array laid out like this one, cut into the parameters' parts."""
        return [array[begin:end] for begin, end in zip([0, *self._ends], self._ends)]


class Optimizer:
    """What all optimizers share: the parameters as one array, slots of state laid out like it, saving and loading.

    A subclass names its `slots` (zero at first) and defines `update(p, g, *slots, t)`, which changes p and the slots
    in place; t is the number of this step, 1 for the first (of all parameters together, where PyTorch counts for each).
    `kernel`, which it may leave out, is the same in one launch on a GPU, and `numbers(t)` what that needs to know.
    """

    slots, kernel = (), None

    def __init__(self, params, lr):
        name = type(self).__name__
        if not isinstance(params, (list, tuple)):
            raise TypeError(f"{name}: parameters come in a list, whose order is the same in every run, "
                            f"got {type(params).__name__}")
        if not params or not all(isinstance(p, Tensor) for p in params) or len({id(p) for p in params}) < len(params):
            raise ValueError(f"{name}: expected a non-empty list of different parameters")
        if not lr >= 0.0:
            raise ValueError(f"{name}: expected a learning rate ≥ 0, got {lr}")
        self.flat, self.lr, self.steps = Flat(params), float(lr), 0  # a NumPy number would make float64
        self.state = {slot: self.flat.params[0].xp.zeros_like(self.flat.array()) for slot in self.slots}
        self.gradient = None  # of the last step, all parameters' as one array

    def step(self):
        """Update every parameter that has a gradient."""
        weights = self.flat.array()
        self.gradient, spans = self.flat.gradients()
        self.steps += 1
        for slot, array in self.state.items():
            if array.dtype != weights.dtype:  # the module was converted after the optimizer was made
                self.state[slot] = array.astype(weights.dtype)
        kernel = self.kernel and self.kernel.on(weights)
        for begin, end in spans:
            p, g, *slots = [array[begin:end] for array in (weights, self.gradient, *self.state.values())]
            if kernel:
                kernel(g, *self.numbers(self.steps), p, *slots)
                continue
            block = lambda start, stop: self.update(*[part[start:stop] for part in (p, g, *slots)], self.steps)
            parallel.over_batch(p, block, each=1, most=parallel.NEAR)
        for p in self.flat.params:
            p.version += 1

    def zero_grad(self):
        for p in self.flat.params:
            p.grad = None

    def state_dict(self):
        """{"steps", "lr", "0.m", …}: NumPy copies, numbered by the parameter's position, each of its shape."""
        state = {f"{i}.{slot}": np.array(backend.to_numpy(piece)).reshape(p.shape)
                 for slot, array in self.state.items()
                 for i, (p, piece) in enumerate(zip(self.flat.params, self.flat.pieces(array)))}
        return {"steps": np.int64(self.steps), "lr": np.float64(self.lr), **state}

    def load_state_dict(self, state):
        """Continue from what `state_dict` returned. ValueError, and nothing changed, if a name or a shape differs."""
        own = self.state_dict()
        if own.keys() != state.keys() or any(np.shape(state[name]) != np.shape(own[name]) for name in own):
            raise ValueError(f"{type(self).__name__}.load_state_dict: the state is not one of these parameters")
        self.steps, self.lr = int(state["steps"]), float(state["lr"])
        for slot in self.slots:
            parts = [np.ravel(state[f"{i}.{slot}"]) for i in range(len(self.flat.params))]
            self.state[slot] = backend.asarray(np.concatenate(parts).astype(self.flat.params[0].dtype))


class SGD(Optimizer):
    """v ← momentum · v + g, p ← p − lr · v."""

    slots, kernel = ("v",), kernels.SGD

    def __init__(self, params, lr, momentum=0.0):
        super().__init__(params, lr)
        self.momentum = float(momentum)

    def update(self, p, g, v, t):
        v *= self.momentum
        v += g
        p -= self.lr * v

    def numbers(self, t):
        return self.lr, self.momentum


class RMSprop(Optimizer):
    """v ← α v + (1 − α) g², p ← p − lr · g/(√v + eps).

    Without momentum, as the WGAN paper uses it. Source: Tieleman & Hinton 2012, Neural Networks for Machine Learning,
    lecture 6.5.
    """

    slots, kernel = ("v",), kernels.RMSPROP

    def __init__(self, params, lr, alpha=0.99, eps=1e-8):
        super().__init__(params, lr)
        self.alpha, self.eps = float(alpha), float(eps)

    def update(self, p, g, v, t):
        v *= self.alpha
        v += (1.0 - self.alpha) * g * g
        root = backend.xp_of(v).sqrt(v)
        root += self.eps
        p -= self.lr * g / root

    def numbers(self, t):
        return self.lr, self.alpha, self.eps


class Adam(Optimizer):
    """m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², p ← p − lr · m̂/(√v̂ + eps), m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ).

    β₁ = 0.5 and lr = 2e-4 by default as in DCGAN, arXiv:1511.06434, §4. Source: Kingma & Ba 2015, arXiv:1412.6980,
    Alg. 1.
    """

    slots, kernel = ("m", "v"), kernels.ADAM

    def __init__(self, params, lr=2e-4, betas=(0.5, 0.999), eps=1e-8):
        super().__init__(params, lr)
        self.betas, self.eps = tuple(map(float, betas)), float(eps)

    def update(self, p, g, m, v, t):
        rate, beta1, beta2, root_scale, eps = self.numbers(t)
        m *= beta1
        m += (1.0 - beta1) * g
        v *= beta2
        v += (1.0 - beta2) * g * g
        root = backend.xp_of(v).sqrt(v)
        root *= root_scale
        root += eps
        p -= rate * m / root

    def numbers(self, t):
        beta1, beta2 = self.betas
        return self.lr / (1.0 - beta1 ** t), beta1, beta2, 1.0 / sqrt(1.0 - beta2 ** t), self.eps
