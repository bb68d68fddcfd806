"""Minimal filtering: convolution in a fraction of the multiplications, and the kernels for it.

Along one axis a tile of m outputs y of a filter with r taps g is yᵢ = Σₖ dᵢ₊ₖ gₖ: m·r products. The
trilinear form T = Σ uᵢ dᵢ₊ₖ gₖ is Σⱼ dⱼ hⱼ, where h = g·u as polynomials. A polynomial of degree
n − 1, n = m + r − 1, is known from its values at n points, and its values are products:

    T = Σₚ (X d)ₚ · (W g)ₚ · (Y u)ₚ      n products for m outputs

(W g)ₚ = g(aₚ) and (Y u)ₚ = u(aₚ) are the polynomials' values, X holds what interpolation gives
each value to do with d. At the point ∞ a polynomial's value is its first coefficient. As for plain
convolution the three operations are the three derivatives: y = Yᵀ[(X d)(W g)], its adjoint in d is
Xᵀ[(Y y)(W g)], and the one in g is Wᵀ[(X d)(Y y)]. In two dimensions each is applied along both
axes, and "product" is a product of matrices over the channels. Sources: Toom 1963 and Cook 1966;
Winograd 1980, "Arithmetic Complexity of Computations"; Lavin & Gray 2016, arXiv:1509.09308.

A kernel of r times the stride s is a filter with r taps on s × s blocks of the image, each a vector
of s·s·C numbers. An axis is cut into tiles of 4 outputs and, at its end, of 3. These use the same
points but the last, so all that have a point in common make one tall product. Where there are few
outputs for a large kernel, its values at the points would cost more than they save: there a filter
of 2 taps has tiles of 2 outputs, at 3 points. Rounding errors are a few times those of direct
products, and an infinite or huge pixel spreads over its whole tile.
"""

from fractions import Fraction
from itertools import product

from minigan.fast.c_parts import STRIP
from minigan.fast.text import Kernel

INFINITY = None
POINTS = (0, INFINITY, 1, -1, Fraction(1, 2), -2)  # the first n of them
TAPS, TILES = (2, 3), (4, 3)


def points(m, r):
    return POINTS[:m + r - 1]


def matrices(m, r):
    """X (n, n), W (n, r) and Y (n, m) as lists of rows. W is the same for all m."""
    finite = [a for a in points(m, r) if a is not INFINITY]
    X, W, Y = [], [], []
    for a in points(m, r):
        others = [b for b in finite if b != a]
        X.append(_polynomial(others, _weight(a, r), len(finite) + 1, a, finite))
        scale = 1 if a is INFINITY else 1 / Fraction(_weight(a, r))
        W.append([scale * value for value in _values(a, r)])
        Y.append(_values(a, m))
    return X, W, Y


def _weight(a, r):
    """Π (a − b) over the other points of the largest tile: it makes X's entries integers."""
    weight = 1
    for b in points(max(TILES), r):
        if a is not INFINITY and b is not INFINITY and b != a:
            weight *= a - b
    return weight


def _values(a, count):
    """The powers of a: what the coefficients of a polynomial are multiplied with."""
    return [int(k == count - 1) if a is INFINITY else a ** k for k in range(count)]


def _polynomial(roots, weight, length, a, finite):
    """The coefficients, lowest first, of Π (x − root): of Lagrange's polynomial for the point a,
    times its share of `weight`."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *coefficients]
        coefficients = [s - root * c for s, c in zip(shifted, [*coefficients, Fraction(0)])]
    if a is not INFINITY:
        own = 1
        for b in finite:
            own *= a - b if b != a else 1
        coefficients = [c * weight / own for c in coefficients]
    return coefficients + [Fraction(0)] * (length - len(coefficients))


# Texts

def _sum(row, names):
    """Σ row · names as an expression."""
    terms = []
    for factor, name in zip(row, names):
        if factor:
            size = abs(factor)
            number = "" if size == 1 else f"(T){float(size)!r} * "
            terms.append(f"{'-' if factor < 0 else '+'} {number}{name}")
    return " ".join(terms).removeprefix("+ ") or "(T)0"


def _both_axes(rows, columns, source, target):
    """The text of target(p, q) = Σ rows[p][i] · columns[q][j] · source(i, j)."""
    lines = []
    for j in range(len(columns[0])):
        names = [source(i, j) for i in range(len(rows[0]))]
        lines += [f"const T t{p}_{j} = {_sum(row, names)};" for p, row in enumerate(rows)]
    for p in range(len(rows)):
        names = [f"t{p}_{j}" for j in range(len(columns[0]))]
        lines += [f"{target(p, q)} {_sum(row, names)};" for q, row in enumerate(columns)]
    return "\n".join(lines)


def _transposed(matrix):
    return [list(column) for column in zip(*matrix)]


def _pointers(name, rows, columns, place):
    return "\n".join(f"{name}{i}_{j} = {place(i, j)};" for i in range(rows) for j in range(columns))


# A point (p, q) has its own matrix: `places` tells where it begins, and how many tiles it has. Each
# thread has `room` for the matrices of its own samples, those from `begin` on; or `room` is 0, and
# the matrices are of all samples.
PLACE = ("room * slot + places[{p} * 6 + {q}] + (((sample - (room ? begin : 0)) * places[36 + {p}]"
         " + tile_h + th) * places[42 + {q}] + tile_w + tw) * depth")
TILE = ("index tile_h, index tile_w, index first_h, index first_w, index depth, index room, "
        "index *places")
GEOMETRY = "index H, index W, index s, index t, index ph, index pw"


def _point_pointers(n, m, const, block=""):
    return _pointers(f"{const}T *o", n, m, lambda p, q: (
        "points + " + PLACE.format(p=p, q=q) + block))


def _pixel_pointers(n, m, const, mh, mw):
    """To the blocks of a tile, or to `aside` where a block is outside the image."""
    rows = "\n".join(f"const index h{i} = (first_h + th * {mh} + {i}) * s + su - ph;"
                     for i in range(n))
    columns = "\n".join(f"const index w{j} = (first_w + tw * {mw} + {j}) * t + sv - pw;"
                        for j in range(m))
    return f"{rows}\n{columns}\n" + _pointers(
        f"{const}T *d", n, m, lambda i, j: (
            f"h{i} >= 0 && h{i} < H && w{j} >= 0 && w{j} < W ? "
            f"x + ((sample * H + h{i}) * W + w{j}) * n_channel : aside"))


def _output_pointers(mh, mw, const):
    return _pointers(f"{const}T *u", mh, mw, lambda i, j: (
        f"y + ((sample * OH + first_h + th * {mh} + {i}) * OW + first_w + tw * {mw} + {j})"
        " * n_channel"))


def _kernels(r, mh, mw):
    """X, its adjoint, Y and its adjoint for tiles of mh × mw outputs. The texts are made when they
    are compiled."""
    n, m, suffix = mh + r - 1, mw + r - 1, f"_{r}_{mh}_{mw}"
    of_pixel, of_block = "sample th tw su sv channel", " + (su * t + sv) * n_channel"
    d, o, u = (lambda i, j, name=name: f"{name}{i}_{j}[channel]" for name in "dou")

    def along_both(which, adjoint, source, target):
        rows, columns = matrices(mh, r)[which], matrices(mw, r)[which]
        if adjoint:
            rows, columns = _transposed(rows), _transposed(columns)
        return _both_axes(rows, columns, source, target)
    return {
        "X" + suffix: Kernel(
            "image_to_points" + suffix, of_pixel, f"*x, *aside, {GEOMETRY}, {TILE}", "*points",
            lambda: along_both(0, False, d, lambda p, q: o(p, q) + " ="),
            lambda: (_pixel_pointers(n, m, "const ", mh, mw)
                     + _point_pointers(n, m, "", of_block))),
        "X adjoint" + suffix: Kernel(
            "points_to_image" + suffix, of_pixel, f"*points, {GEOMETRY}, {TILE}", "*x, *aside",
            lambda: along_both(0, True, o, lambda i, j: d(i, j) + " +="),
            lambda: (_pixel_pointers(n, m, "", mh, mw)
                     + _point_pointers(n, m, "const ", of_block))),
        "Y" + suffix: Kernel(
            "outputs_to_points" + suffix, "sample th tw channel",
            f"*y, index OH, index OW, {TILE}", "*points",
            lambda: along_both(2, False, u, lambda p, q: o(p, q) + " ="),
            lambda: _output_pointers(mh, mw, "const ") + _point_pointers(n, m, "")),
        "Y adjoint" + suffix: Kernel(
            "points_to_outputs" + suffix, "sample th tw channel",
            f"*points, index OH, index OW, {TILE}", "*y",
            lambda: along_both(2, True, o, lambda i, j: u(i, j) + " ="),
            lambda: _output_pointers(mh, mw, "") + _point_pointers(n, m, "const ")),
    }


def _weight_kernels(r, m):
    """W and its adjoint along both axes, for the points of tiles of m. A matrix of factors is laid
    out in strips of STRIP columns, as the products read it, and so is its transpose: its columns
    come in pieces of so many lanes, none of which is in two strips."""
    def along_both(adjoint, source, target):
        W = matrices(m, r)[1]
        W = _transposed(W) if adjoint else W
        return _both_axes(W, W, source, target)

    def tap(k, i, c="c", o="o", n_c="n_c", n_o="n_o"):
        return (f"w[((({k} * n_su + su) * {r} * n_sv + {i} * n_sv + sv) * {n_c} + {c}) * {n_o}"
                f" + {o}]")

    def to_points(name, loops, source, row, rows, column):
        pointer = f"""
            const index column = {column};
            T *strip = points + (column / {STRIP} * ({rows}) + {row}) * {STRIP} + column % {STRIP};
            """
        return Kernel(f"{name}_{r}_{m}", loops, "*w, index *places", "*points", lambda: along_both(
            False, source, lambda p, q: f"strip[places[{p} * 6 + {q}] + lane] ="), pointer)
    lane, lanes, block = "piece * n_lane + lane", "n_piece * n_lane", "su * n_sv + sv"
    factor = lambda p, q: f"points[places[{p} * 6 + {q}] + (({block}) * n_c + c) * n_o + o]"
    return {
        f"W_{r}_{m}": to_points(
            "taps_to_points", "c su sv piece lane",
            lambda k, i: tap(k, i, o=lane, n_o=lanes),
            f"({block}) * n_c + c", "n_su * n_sv * n_c", "piece * n_lane"),
        f"W transposed_{r}_{m}": to_points(
            "taps_to_points_transposed", "o su sv piece lane",
            lambda k, i: tap(k, i, c=lane, n_c=lanes),
            "o", "n_o", f"(({block}) * n_piece + piece) * n_lane"),
        f"W adjoint_{r}_{m}": Kernel(
            f"points_to_taps_{r}_{m}", "c su sv o", "*points, index *places", "*w",
            lambda: along_both(True, factor, lambda k, i: tap(k, i) + " ="))}


FILTERS = {name: kernel for r, larger, pairs in (
    (2, (2, 4), [(2, 2), *product(TILES, TILES)]), (3, (4,), product(TILES, TILES)))
    for kernels in (*[_weight_kernels(r, m) for m in larger],
                    *[_kernels(r, mh, mw) for mh, mw in pairs])
    for name, kernel in kernels.items()}
