"""The stand-in for CuPy refuses what it should, notes what has its price, and has nothing that CuPy lacks."""

import contextlib
import copy
import operator
import re
from pathlib import Path

import numpy as np
import pytest

import minigan
import strict
from conftest import why_not_cupy
from minigan import backend


@pytest.fixture(params=["strict", "cupy"])
def xp(request):
    """A namespace of device arrays. What is tested with it is true of CuPy itself."""
    if request.param == "cupy" and (reason := why_not_cupy()):
        pytest.skip(reason)
    with backend.use_backend(request.param) as chosen:
        yield chosen.xp


@contextlib.contextmanager
def refused(match=None):
    """A violation, and no more than one."""
    with pytest.raises(strict.Violation, match=match):
        yield
    strict.violations.pop()


@contextlib.contextmanager
def type_error(xp):
    """CuPy's, or a violation."""
    with refused() if xp is strict.xp else pytest.raises(TypeError):
        yield


def on_device(values, dtype=np.float32):
    return backend.asarray(np.asarray(values, dtype))


def same(array, expected):
    np.testing.assert_array_equal(backend.to_numpy(array), expected)


@pytest.fixture
def x():
    """[[0, 1, 2], [3, 4, 5]] on the stand-in."""
    return strict.Array(np.arange(6, dtype=np.float32).reshape(2, 3))


# As CuPy

@pytest.mark.parametrize("convert", [np.asarray, np.array, lambda a: np.ones(2) + a, lambda a: a + np.ones(2),
                                     lambda a: np.add(np.ones(2), a)])
def test_an_array_neither_becomes_a_numpy_array_nor_meets_one(xp, convert):
    a = on_device([1, 2])
    with type_error(xp):
        convert(a)


def test_an_array_is_not_written_into_a_numpy_array(xp):
    a, b = on_device([1, 2]), np.ones(2, np.float32)
    with type_error(xp):
        b[...] = a
    with type_error(xp):
        b += a
    np.testing.assert_array_equal(b, 1)


def test_reductions_and_single_elements_are_device_arrays_without_axes(xp):
    a = on_device([[1, 2], [3, 4]])
    for value in (a.sum(), xp.sum(a), a.mean(), a.max(), xp.dot(a[0], a[0]), a[1, 1], a.sum() * 2.0, -a.sum()):
        assert type(value) is type(a) and value.shape == () and value.dtype == np.float32


def test_an_element_is_a_view(xp):
    a = on_device([1, 2, 3])
    b = a[1]
    a += 1.0
    same(b, 3)
    b *= 2.0
    same(a, [2, 6, 4])


def test_an_index_array_wraps_around(xp):
    same(on_device([10, 20, 30])[xp.asarray(np.array([0, 3, -1, 7]))], [10, 10, 30, 20])


def test_a_single_index_out_of_range_raises(xp):
    for index in (3, -4):
        with pytest.raises(IndexError):
            on_device([1, 2, 3])[index]


def test_nothing_warns(xp):
    a = on_device([-1, 0, 1])
    same(xp.isfinite(xp.log(a)), [False, False, True])
    same(xp.isfinite(1.0 / a), [True, False, True])
    a /= 0.0
    same(xp.isfinite(a), [False, False, False])


@pytest.mark.parametrize("argument", ["where", "initial"])
def test_reductions_know_no_mask_and_no_beginning(xp, argument):
    a = on_device([1, 2])
    for reduction in (a.sum, lambda **more: xp.sum(a, **more), a.max):
        with type_error(xp):
            reduction(**{argument: True})


def test_a_masked_function_is_refused(xp):
    with type_error(xp):
        xp.exp(on_device([1, 2]), where=True)


@pytest.mark.parametrize("name", ["errstate", "random.Generator.permutation", "random.Generator.normal",
                                  "random.Generator.choice", "random.Generator.shuffle"])
def test_names_that_only_numpy_has_are_missing(xp, name):
    with pytest.raises(AttributeError):
        operator.attrgetter(name)(xp)
    strict.violations.clear()


def test_python_numbers_are_weak(xp):
    a = on_device([1, 2])
    for value in (a * 2, 2.0 * a, a ** 2, 1 - a, a > 0.5, xp.where(a > 1, a, 0.0), xp.maximum(a, 0.0)):
        assert value.dtype in (np.float32, bool)


# Stricter than CuPy

@pytest.mark.parametrize("scalar", [np.float64(2), np.float32(2), np.int64(2), np.array(2.0)])
def test_numpy_scalars_are_refused_on_both_sides(x, scalar):
    with refused():
        x * scalar
    with refused():
        scalar * x
    with refused():
        x *= scalar
    with refused():
        strict.xp.maximum(x, scalar)


@pytest.mark.parametrize("function", [np.exp, np.sum, np.sqrt, np.shape, np.clip])
def test_numpys_functions_are_refused(x, function):
    with refused(f"np.{function.__name__}"):
        function(x)


def test_what_only_the_device_knows_the_size_of_is_refused(x):
    for select in (lambda: x[x > 2], lambda: strict.xp.where(x > 2), lambda: x[[True, False]]):
        with refused():
            select()


def test_a_scatter_is_refused(x):
    rows = strict.Array(np.array([0, 0]))
    for index in (rows, [0, 0], np.array([0, 0]), (slice(None), rows), x > 2):
        with refused("index"):
            x[index] = 1.0
    assert not hasattr(strict.xp.add, "at")


def test_a_write_to_overlapping_elements_is_refused(x):
    windows = strict.xp.lib.stride_tricks.as_strided(x, (2, 2, 2), (12, 4, 4))
    for view in (windows, strict.xp.broadcast_to(x, (4, 2, 3)), windows[0], windows.transpose(2, 0, 1)):
        for write in (lambda: view.__setitem__(..., 0.0), lambda: view.__iadd__(1.0),
                      lambda: strict.xp.add(view, 1.0, out=view), lambda: strict.xp.exp(view, out=view)):
            with refused("overlap"):
                write()
    (windows + 1.0)[...] = 0.0  # a new array


def test_a_numpy_array_is_neither_written_to_a_device_array_nor_a_place_for_results(x):
    with refused():
        x[0] = np.ones(3, np.float32)
    with refused():
        strict.xp.exp(x, out=np.ones((2, 3), np.float32))
    same(x, [[0, 1, 2], [3, 4, 5]])


def test_what_is_forbidden_is_missing_and_noted(x):
    for name, why in (("spacing", "not in CuPy"), ("unique", "waits for the device"), ("put", "equal indices race")):
        for namespace in (strict.xp, x) if name == "put" else (strict.xp,):
            with pytest.raises(AttributeError, match=f"{name} .*{why}"):
                getattr(namespace, name)
            assert re.fullmatch(rf"{name} at test_strict.py:\d+", strict.violations.pop())
    for namespace in (strict.xp.lib.stride_tricks, strict.xp, x):  # what NumPy lacks too may be asked for
        assert not hasattr(namespace, "sliding_window_view_of_nothing")


def test_a_violation_is_noted_with_its_place_even_if_the_error_is_caught(x):
    try:
        x + np.ones(3)
    except TypeError:
        pass
    assert re.fullmatch(r"a device array meets a NumPy ndarray at test_strict.py:\d+", strict.violations.pop())


# What has its price

@pytest.mark.parametrize("look", [float, int, bool, repr, str, "{:.2f}".format, operator.methodcaller("item"),
                                  operator.methodcaller("get"), backend.to_numpy, lambda a: 0.0 in [a],
                                  lambda a: 1 if a > 0 else 2])
def test_looking_at_a_number_is_noted_with_its_place(look):
    with backend.use_backend("strict"):
        number = on_device(2.0)
    strict.costs.clear()
    look(number)
    [cost] = strict.costs
    assert re.fullmatch(r"\w+\(\) at (test_strict|backend)\.py:\d+", cost)


def test_computing_has_no_such_price(x):
    strict.costs.clear()
    y = (x.T @ x).sum() * strict.xp.where(x > 1, x, 0.0).mean(axis=0)[1:]
    y += strict.xp.concatenate([x[0], x[1]])[::3]
    copy.deepcopy(y)
    strict.xp.asarray(np.ones(3))
    assert strict.costs == []


def test_a_product_of_stacks_of_transposed_matrices_is_a_copy_and_one_of_matrices_is_not(x):
    stack = strict.xp.broadcast_to(x, (4, 2, 3)).copy()
    for product in (lambda: x.T @ x, lambda: strict.xp.matmul(x.T, x), lambda: stack @ x.T.copy()):
        strict.costs.clear()
        product()
        assert strict.costs == []
    for product in (lambda: stack @ x.T, lambda: strict.xp.matmul(stack.transpose(0, 2, 1), stack)):
        strict.costs.clear()
        product()
        [cost] = strict.costs
        assert "copy of transposed matrices" in cost


# A backend like the others

def test_it_computes_what_numpy_computes():
    a, b = np.random.default_rng(0).uniform(0.5, 2, (2, 3, 4))
    x, y = strict.Array(a), strict.Array(b)
    for name in strict.BINARY + strict.COMPARISONS:
        function = getattr(operator, f"__{name}__")
        if name in ("and", "or", "xor"):
            same(function(x > y, y > 1.0), function(a > b, b > 1.0))
        else:
            same(function(x, y), function(a, b))
            same(function(2.0, x), function(2.0, a))
    same(x @ y.T, a @ b.T)
    for name in ("exp", "log", "log1p", "sqrt", "tanh", "maximum", "minimum", "sign", "cumsum", "square", "outer"):
        function, own = getattr(np, name), getattr(strict.xp, name)
        n = getattr(function, "nin", 2 if name == "outer" else 1)
        same(own(*[x, y][:n]), function(*[a, b][:n]))
    for part, expected in zip(strict.xp.split(x, 3), np.split(a, 3)):  # whatever has no line of its own in strict.py
        same(part, expected)
    same(x.cumsum(1).swapaxes(0, 1), a.cumsum(1).swapaxes(0, 1))
    assert strict.xp.float32 is np.float32 and strict.xp.result_type(np.float32, np.float64) == np.float64


def test_arithmetic_in_place_stays_in_place(x):
    view = x[1]
    x += 1.0
    x *= x
    assert type(x) is strict.Array
    same(view, [16, 25, 36])


def test_a_copy_is_one(x):
    for twin in (x.copy(), copy.deepcopy(x), x.astype(np.float64), strict.xp.asarray(x, np.float64)):
        twin[...] = 7.0
    same(x, [[0, 1, 2], [3, 4, 5]])
    assert strict.xp.asarray(x, np.float32) is x


def test_neither_side_sees_what_happens_to_the_other_ones_copy():
    host = np.zeros(3, np.float32)
    with backend.use_backend("strict"):
        array = backend.asarray(host)
    array += 1.0
    same(host, 0)
    backend.to_numpy(array)[...] = 5.0
    same(array, 1)


# The lists, held against CuPy wherever it can be imported

@pytest.fixture(scope="module")
def cupy():
    return pytest.importorskip("cupy", reason="CuPy is not installed")


@pytest.fixture(scope="module")
def real(cupy):
    """A CuPy array; without a GPU one of memory that nobody has, which can be asked all that needs no computation."""
    if why_not_cupy() is None:
        return cupy.ones((2, 2), np.float32)
    memory = cupy.cuda.UnownedMemory(1 << 40, 1 << 20, None, 0)
    return cupy.ndarray((2, 2), np.float32, cupy.cuda.MemoryPointer(memory, 0))


def test_cupy_is_version_14(cupy):
    assert cupy.__version__.split(".")[0] == "14"


def used():
    """The functions of its namespace that the package's text asks for."""
    text = "".join(path.read_text(encoding="utf-8") for path in Path(minigan.__file__).parent.rglob("*.py"))
    return sorted(set(re.findall(r"\bxp(?:_of\(\w+(?:\[0\])?\))?\.([a-z]\w*)", text)) - {"lib", "RawModule"})


@pytest.mark.parametrize("name", used())
def test_the_stand_in_has_each_function_that_the_package_uses(name):
    assert callable(getattr(strict.xp, name))


@pytest.mark.parametrize("name", used())
def test_cupy_has_each_function_that_the_package_uses(cupy, name):
    assert callable(getattr(cupy, name))


@pytest.mark.parametrize("name", [*strict.LACKING, "isnat"])
def test_cupy_lacks_what_is_listed(cupy, real, name):
    assert not hasattr(cupy, name) and not hasattr(real, name)


def test_cupys_array_has_each_attribute_and_operator(cupy):
    special = [f"__{name}__" for name in strict.UNARY + strict.COMPARISONS]
    special += [f"__{side}{name}__" for name in strict.BINARY for side in ("", "r", "i")]
    assert [name for name in strict.ATTRIBUTES + ["T"] + special if not hasattr(cupy.ndarray, name)] == []


def test_cupy_too_refuses_to_become_a_numpy_array_and_a_single_index_out_of_range(real):
    with pytest.raises(TypeError, match="Implicit conversion"):
        np.asarray(real)
    with pytest.raises(IndexError):
        real[2]


def test_cupy_too_lacks_what_the_stand_in_refuses(cupy, real):
    assert not hasattr(cupy, "errstate")
    for name in ("permutation", "normal", "choice", "shuffle"):
        assert not hasattr(cupy.random.Generator, name)
    for argument in ("where", "initial"):
        for reduction in (real.sum, real.max, lambda **more: cupy.sum(real, **more)):
            with pytest.raises(TypeError, match=argument):
                reduction(**{argument: True})
