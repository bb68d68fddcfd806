"""What a learner draws: the right things at the right places, by what stands on matplotlib's axes."""

import numpy as np
import pytest

import minigan as mg
from minigan import graph, networks, ops, plots


@pytest.fixture
def axes():
    drawn, axes = plots.figure(4, 4)
    yield axes
    drawn.draw_without_rendering()


def offsets(collection):
    return np.asarray(collection.get_offsets())


# The figure

def test_a_figure_has_the_pixels_asked_for_and_its_axes(tmp_path):
    drawn, axes = plots.figure(7, 3, rows=2, columns=3, height_ratios=(1, 2))
    assert axes.shape == (2, 3)
    drawn.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[16:24] == (700).to_bytes(4, "big") + (300).to_bytes(4, "big")
    assert not isinstance(plots.figure(1, 1)[1], np.ndarray)


# Points and scores

def test_points_lie_over_real_ones_in_the_frame_of_these(axes, rng):
    points, real = rng.standard_normal((5, 2)) * 9, np.array([[1.0, -2.0], [0.5, 0.5]])
    plots.draw_points(axes, points, real)
    below, above = axes.collections
    np.testing.assert_allclose(offsets(below), real)
    np.testing.assert_allclose(offsets(above), points)
    assert [below.get_label(), above.get_label()] == ["real", "generated"]
    np.testing.assert_allclose([axes.get_xlim(), axes.get_ylim()], [[-2.6, 2.6]] * 2)


def test_points_over_a_heat_map_keep_its_frame(axes, rng):
    plots.draw_scores(axes, lambda x: x[:, 0], reach=3.0)
    plots.draw_points(axes, rng.standard_normal((5, 2)))
    assert axes.get_xlim() == axes.get_ylim() == (-3.0, 3.0)


def test_scores_are_asked_for_on_the_whole_frame_in_the_networks_type(axes):
    asked = []

    def score(x):
        asked.append(x)
        return networks.mlp_pair(width=2)[1](mg.Tensor(x)).numpy()  # (N, 1)
    plots.draw_scores(axes, score, reach=1.5)
    [x] = asked
    assert x.dtype == np.float32 and len(x) == len(np.unique(x, axis=0)) > 5000
    assert x.min(0).tolist() == [-1.5, -1.5] and x.max(0).tolist() == [1.5, 1.5]


@pytest.mark.parametrize("undecided, most", [(0.0, None), (0.5, None), (0.0, 0.5)])
def test_the_map_is_white_where_the_discriminator_is_undecided(axes, undecided, most):
    scale = plots.draw_scores(axes, lambda x: undecided + x[:, 0], reach=2.0, undecided=undecided, most=most)
    assert scale.norm.vmin == undecided - (most or 2.0) and scale.norm.vmax == undecided + (most or 2.0)
    np.testing.assert_allclose(scale.to_rgba(undecided)[:3], 1, atol=0.01)
    blue, orange = scale.to_rgba([undecided - 9, undecided + 9])
    assert blue[2] > blue[0] + 0.3 and orange[0] > orange[2] + 0.3
    areas, line = axes.collections
    np.testing.assert_allclose(np.concatenate([path.vertices for path in line.get_paths()])[:, 0], 0, atol=1e-6)
    luminance = scale.to_rgba(np.linspace(-9, 9)) @ [0.2126, 0.7152, 0.0722, 0]
    assert luminance.min() > 0.6  # points show on it


def test_the_map_is_the_right_way_round(axes, tmp_path):
    """The first coordinate to the right, the second one up; blue where the score is low."""
    plots.draw_scores(axes, lambda x: np.where((x[:, 0] > 0) & (x[:, 1] > 0), 1.0, -1.0), reach=1.0)
    axes.figure.savefig(tmp_path / "a.png")
    from PIL import Image
    with Image.open(tmp_path / "a.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)

    def at(x, y):
        across, up = axes.transData.transform((x, y))
        return pixels[len(pixels) - int(up), int(across)]
    assert at(0.5, 0.5)[0] > at(0.5, 0.5)[2] + 40
    for x, y in ((-0.5, 0.5), (0.5, -0.5), (-0.5, -0.5)):
        assert at(x, y)[2] > at(x, y)[0] + 40


def test_a_score_that_is_the_same_everywhere_can_be_drawn(axes):
    plots.draw_scores(axes, lambda x: np.zeros(len(x)), reach=1.0)


# Arrows and the grid

def test_arrows_stand_at_the_points_with_the_vectors_in_the_units_of_the_axes(axes, rng):
    points, vectors = rng.standard_normal((2, 6, 2))
    plots.draw_arrows(axes, points, vectors)
    [arrows] = axes.collections
    np.testing.assert_allclose(offsets(arrows), points)
    np.testing.assert_allclose(np.stack([arrows.U, arrows.V], axis=1), vectors)
    assert (arrows.angles, arrows.scale_units, arrows.scale) == ("xy", "xy", 1.0)


def test_the_grid_is_the_image_of_straight_lines(axes):
    plots.draw_warped_grid(axes, lambda z: np.stack([2 * z[:, 0], z[:, 1] + z[:, 0] ** 2], axis=1), reach=2.0)
    x = np.array([line.get_xydata() for line in axes.lines])
    assert x.shape == (34, 161, 2)
    z = np.stack([x[..., 0] / 2, x[..., 1] - (x[..., 0] / 2) ** 2], axis=-1)
    upright, level = z[:17], z[17:]
    grid = np.linspace(-2, 2, 17)
    np.testing.assert_allclose(upright[..., 0], np.repeat(grid[:, None], 161, 1), atol=1e-5)
    np.testing.assert_allclose(level[..., 1], np.repeat(grid[:, None], 161, 1), atol=1e-5)
    np.testing.assert_allclose(upright[:, [0, -1], 1], [[-2, 2]] * 17, atol=1e-5)
    assert {line.get_color() for line in axes.lines[:17]} == {plots.COLOURS[0]}
    assert {line.get_color() for line in axes.lines[17:]} == {plots.COLOURS[1]}


# The graph

def loss():
    """Of a network with a hidden layer: 20 boxes."""
    rng = np.random.default_rng(0)
    x, w, b, v = (mg.Tensor(rng.standard_normal(shape), shape != (64, 2))
                  for shape in ((64, 2), (2, 8), (8,), (8, 1)))
    h = ops.leaky_relu(x @ w + b)
    return ops.softplus(-(h @ v)).mean() + 0.1 * (w * w).sum(), {x: "x", w: "w", b: "b", v: "v", h: "h"}


@pytest.mark.parametrize("size", [(7, 4), (4, 7), (3, 3)])
def test_a_graph_has_a_box_with_its_text_for_each_tensor_and_operation_and_none_overlap(size):
    drawn, axes = plots.figure(*size)
    output, names = loss()
    plots.draw_graph(axes, output, names)
    drawn.draw_without_rendering()
    expected, arrows = graph.layout(output, names)
    assert len(axes.patches) == len(expected) == 20 and len(axes.texts) == len(expected) + len(arrows)
    frames = [patch.get_window_extent() for patch in axes.patches]
    for i, frame in enumerate(frames):
        assert not any(frame.overlaps(other) for other in frames[:i])
        assert drawn.bbox.containsx(frame.x0) and drawn.bbox.containsx(frame.x1)
        assert drawn.bbox.containsy(frame.y0) and drawn.bbox.containsy(frame.y1)
    labels = [text for text in axes.texts if text.get_text()]
    for text, box in zip(labels, expected):
        inside = text.get_window_extent()
        [frame] = [frame for frame in frames if frame.contains((inside.x0 + inside.x1) / 2,
                                                               (inside.y0 + inside.y1) / 2)]
        assert " ".join(text.get_text().split()) == " ".join(box.label.split())
        assert frame.x0 <= inside.x0 and inside.x1 <= frame.x1 and frame.y0 <= inside.y0 and inside.y1 <= frame.y1


@pytest.mark.parametrize("size, axis", [((9, 3), 0), ((3, 9), 1)])
def test_the_arrows_of_a_graph_point_to_the_right_or_down(size, axis):
    _, axes = plots.figure(*size)
    output, names = loss()
    plots.draw_graph(axes, output, names)
    for arrow in (text for text in axes.texts if not text.get_text()):
        step = axes.transData.transform(arrow.xy) - axes.transData.transform(arrow.xyann)
        assert step[0] > 0 if axis == 0 else step[1] < 0
