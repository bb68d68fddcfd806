"""Is a derivative right? Compare it with finite differences, at every order.

`check_grads` takes any function of tensors; `check_adjoint` takes a linear map and what claims to
be its transpose. The tests of this package are made of these two."""

import numpy as np

from minigan import backend
from minigan.autograd import grad
from minigan.tensor import Tensor, constant

MAX_SKIPPED = 0.2  # the share of comparisons that kinks may take away
ALL_ZERO = ("the finite differences are zero throughout, so any code that returns zero would pass: "
            "choose other inputs")


def check_grads(f, inputs, order=2, eps=1e-5, rtol=1e-6, atol=1e-8, max_entries=200, seed=0):
    """Check the derivatives of `f(*inputs)` up to `order` against central differences, in float64.

    f takes tensors and returns a tensor or a list of them; `inputs` are tensors or arrays, which
    are copied. The gradient of φ = Σ⟨cₖ, fₖ⟩, for random cotangents c, is compared with finite
    differences entry by entry; for an input larger than `max_entries`, in that many random entries
    and along one random direction. For the next order the function checked is that gradient, and c
    joins the inputs: a linear operation's second derivative depends on it. There the gradient is
    computed with a graph, and must be the same.

    The difference quotients with eps and eps/2 are extrapolated to eps⁴ (Richardson). Where they,
    or those from the left and from the right, do not converge, there is a kink, which is skipped.

    AssertionError if a gradient is off by more than atol + rtol · |value|, or is another one with a
    graph; if more than a fifth of the comparisons is at kinks; and if all that is compared is zero,
    as any code would then pass."""
    rng = np.random.Generator(np.random.Philox(seed))
    if isinstance(inputs, Tensor) or backend.is_array(inputs):
        inputs = [inputs]
    tensors = [Tensor(backend.asarray(_host(x).astype(np.float64))) for x in inputs]
    every_input = True  # at the first order, each input's gradient must say something
    for level in range(1, order + 1):
        f, cotangents = _gradient_of(f, tensors, rng)
        _compare(level, f, tensors, cotangents, every_input, eps, rtol, atol, max_entries, rng)
        if level < order:
            with_graph = f.of_all_arguments(len(tensors))
            _compare_with_graph(level, f(tensors, cotangents),
                                with_graph(*tensors, *cotangents), rtol, atol)
            f, tensors, every_input = with_graph, tensors + cotangents, False


class _Gradient:
    """x ↦ φ(x) = Σ⟨cₖ, fₖ(x)⟩ and its gradient."""

    def __init__(self, f):
        self._f = f

    def outputs(self, tensors):
        values = self._f(*tensors)
        return [values] if isinstance(values, Tensor) else list(values)

    def phi(self, tensors, cotangents):
        """φ as a Python float."""
        products = [_host(v) * _host(c) for v, c in zip(self.outputs(tensors), cotangents)]
        return float(np.sum([np.sum(p) for p in products]))

    def __call__(self, tensors, cotangents, create_graph=False):
        leaves = tensors if create_graph else [Tensor(x, requires_grad=True) for x in tensors]
        pairs = [(v, c) for v, c in zip(self.outputs(leaves), cotangents) if v.requires_grad]
        if not pairs:
            return [None] * len(leaves)
        return grad([v for v, _ in pairs], leaves, [c for _, c in pairs], create_graph,
                    allow_unused=True)

    def of_all_arguments(self, n):
        """(x…, c…) ↦ the gradient, a constant zero where an input has none."""
        def f(*arguments):
            xs = [x if x.requires_grad else Tensor(x, requires_grad=True) for x in arguments[:n]]
            gradients = self(xs, arguments[n:], create_graph=True)
            return [constant(x.xp.zeros_like(x.data)) if g is None else g
                    for x, g in zip(xs, gradients)]
        return f


def _gradient_of(f, tensors, rng):
    gradient = _Gradient(f)
    outputs = gradient.outputs(tensors)
    for value in outputs:
        if value.dtype != np.float64:
            raise AssertionError(f"check_grads: f computes {value.dtype} from float64 inputs: is a "
                                 "float32 layer inside? (module.astype('float64'))")
    return gradient, [Tensor(backend.asarray(rng.standard_normal(v.shape))) for v in outputs]


def _compare(order, gradient, tensors, cotangents, every_input, eps, rtol, atol, max_entries, rng):
    compared = skipped = 0
    seen_nonzero, worst, middle = False, None, gradient.phi(tensors, cotangents)
    if abs(gradient.phi(tensors, cotangents) - middle) > 1e-9 * (1 + abs(middle)):
        raise AssertionError(f"check_grads: order {order}: f has another value at each call: is it "
                             "random? Draw its numbers before, once")
    for position, (x, g) in enumerate(zip(tensors, gradient(tensors, cotangents))):
        analytic = np.zeros(x.shape) if g is None else _host(g)
        nonzero = at_kinks = False
        where = f"check_grads: order {order}, input {position} {x.shape}"
        for label, direction in _directions(x.shape, max_entries, rng):
            phi = lambda t: gradient.phi(_moved(tensors, position, t * direction), cotangents)
            expected, kink = _derivative(phi, middle, eps, rtol, atol)
            compared += 1
            if kink:
                skipped, at_kinks = skipped + 1, True
                continue
            actual = float(np.sum(analytic * direction))
            nonzero |= expected != 0.0
            excess = abs(actual - expected) / (atol + rtol * abs(expected))
            if not excess <= 1 and (worst is None or not excess <= worst[0]):
                worst = excess, (f"{where}, {label}: the gradient is {actual:.10g}, finite "
                                 f"differences give {expected:.10g}")
        seen_nonzero |= nonzero
        if every_input and not (nonzero or at_kinks or worst):
            raise AssertionError(f"{where}: {ALL_ZERO}")
    if worst:
        raise AssertionError(worst[1])
    if skipped > MAX_SKIPPED * compared:
        raise AssertionError(f"check_grads: order {order}: {skipped} of {compared} comparisons "
                             "lie at kinks: choose inputs away from them")
    if not seen_nonzero:
        raise AssertionError(f"check_grads: order {order}: {ALL_ZERO}")


def _compare_with_graph(order, gradients, with_graph, rtol, atol):
    for position, (g, differentiable) in enumerate(zip(gradients, with_graph)):
        expected = _host(differentiable)
        actual = np.zeros(expected.shape) if g is None else _host(g)
        off = np.abs(actual - expected)
        if not np.all(off <= atol + rtol * np.abs(actual).max(initial=0.0)):
            worst = np.unravel_index(np.argmax(np.where(np.isnan(off), np.inf, off)), off.shape)
            raise AssertionError(
                f"check_grads: order {order}, input {position} {expected.shape}, index "
                f"{tuple(map(int, worst))}: the gradient is {actual[worst]:.10g}, and "
                f"{expected[worst]:.10g} where it can be differentiated: an operation's "
                "definition is another function")


def _directions(shape, max_entries, rng):
    """(label, direction) pairs: the unit vectors, or some of them and one random direction."""
    size = int(np.prod(shape))
    entries = range(size)
    if size > max_entries:
        entries = np.sort(rng.choice(size, max_entries, replace=False))
    for entry in entries:
        unit = np.zeros(size)
        unit[entry] = 1.0
        yield f"index {tuple(int(i) for i in np.unravel_index(entry, shape))}", unit.reshape(shape)
    if size > max_entries:
        random = rng.standard_normal(shape)
        yield "along a random direction", random / np.sqrt(np.sum(random ** 2))


def _derivative(phi, middle, eps, rtol, atol):
    """φ′(0), extrapolated, and whether there is a kink within eps of 0; `middle` is φ(0)."""
    above, below = phi(eps), phi(-eps)
    near_above, near_below = phi(eps / 2), phi(-eps / 2)
    wide, narrow = (above - below) / (2 * eps), (near_above - near_below) / eps
    # Left and right slopes differ by eps·φ″, which halves with eps; by a constant at a kink.
    wide_jump = (above - 2 * middle + below) / eps
    narrow_jump = (near_above - 2 * middle + near_below) / (eps / 2)
    noise = 1e-15 * max(abs(middle), abs(above), abs(below)) / eps
    tolerance = 0.25 * (atol + rtol * abs(narrow)) + 8 * noise
    kink = abs(wide - narrow) > tolerance or abs(2 * narrow_jump - wide_jump) > 4 * tolerance
    return (4 * narrow - wide) / 3, kink


def _moved(tensors, position, step):
    moved = list(tensors)
    moved[position] = Tensor(backend.asarray(_host(tensors[position]) + step))
    return moved


def _host(x):
    return x.numpy() if isinstance(x, Tensor) else backend.to_numpy(backend.asarray(x))


def check_adjoint(A, At, x_shape, y_shape=None, rtol=1e-10, seed=0):
    """Check ⟨A x, y⟩ = ⟨x, Aᵀ y⟩ for random x and y, in float64.

    A takes a tensor of `x_shape`, At one of `y_shape` (by default the shape of A's value).
    AssertionError if the products differ by more than rtol · ‖Ax‖‖y‖ or are both zero, and for
    shapes that do not fit."""
    rng = np.random.Generator(np.random.Philox(seed))
    x = Tensor(backend.asarray(rng.standard_normal(x_shape)))
    Ax = A(x)
    y = Tensor(backend.asarray(rng.standard_normal(Ax.shape if y_shape is None else y_shape)))
    Aty = At(y)
    if Ax.shape != y.shape or Aty.shape != x.shape:
        raise AssertionError(
            f"check_adjoint: A maps {x.shape} to {Ax.shape}, At maps {y.shape} to {Aty.shape}")
    forth, back = float(np.sum(_host(Ax) * _host(y))), float(np.sum(_host(x) * _host(Aty)))
    scale = float(np.sqrt(np.sum(_host(Ax) ** 2) * np.sum(_host(y) ** 2)))
    if forth == back == 0.0:
        raise AssertionError("check_adjoint: both products are zero, which says nothing")
    if not abs(forth - back) <= rtol * scale:
        raise AssertionError(f"check_adjoint: ⟨Ax, y⟩ = {forth:.12g}, but ⟨x, Aᵀy⟩ = {back:.12g}")
