"""The laboratory: what a learner draws to see a GAN at work. Points over points, a discriminator's
scores over the plane, arrows, the generator as a bent grid, the graph of a tensor.

Each draws on matplotlib's axes, which `figure` makes. For tutorials all this is in `plots` too.
"""

import numpy as np

from minigan.pictures import graph

# Okabe & Ito's, which colour-blind eyes tell apart too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
GREY = "#999999"


def figure(width, height, rows=1, columns=1, **options):
    """A matplotlib figure of 100 width × 100 height pixels and its axes: one, or an array where
    there are several `rows` or `columns`; `options` go to `Figure.subplots`. Text and lines are a
    quarter larger than usual, so that they can be read at half width. Save it with
    `figure.savefig(path)`."""
    # matplotlib's own objects, not pyplot: no global state, no window system.
    from matplotlib.figure import Figure
    drawn = Figure(figsize=(width / 1.25, height / 1.25), dpi=125, layout="constrained")
    return drawn, drawn.subplots(rows, columns, **options)


def reach(points):
    """How far a frame around the origin reaches that shows these points and a margin."""
    return 1.3 * float(np.abs(points).max()) or 1.0


def draw_points(axes, points, real=None, generated=True):
    """Points (N, 2) as a cloud, over real ones (M, 2). The frame is that of the real ones, so that
    pictures compare, unless something has set one already."""
    if axes.get_autoscale_on():
        _frame(axes, reach(points if real is None else real))
    if real is not None:
        axes.scatter(real[:, 0], real[:, 1], s=5, color=GREY, label="real", linewidths=0)
    axes.scatter(points[:, 0], points[:, 1], s=3, color=COLOURS[0] if generated else GREY,
                 alpha=0.5, label="generated" if generated else "real", linewidths=0)


def draw_scores(axes, score, reach, undecided=0.0, most=None):
    """What a discriminator makes of the plane: `score`, a function of points (N, 2), float32,
    → (N,) or (N, 1), on [−reach, reach]², in NumPy arrays. White, with a line, where it is
    `undecided` (0 for logits, ½ for least squares); blue below, where it sees generated samples,
    orange above, where it sees real ones, in full colour from undecided ± `most` on (by default the
    greatest difference). Returns what `figure.colorbar` takes."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import FuncNorm, LinearSegmentedColormap
    line = np.linspace(-reach, reach, 81, dtype=np.float32)
    points = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    values = np.reshape(score(points), (len(line), len(line))).astype(float)
    most = most or float(np.abs(values - undecided).max()) or 1.0
    # Scores are shown as asinh(score / bend): signs of small ones beside sizes of large ones.
    bend = most / 20

    def forward(score):
        return np.arcsinh((score - undecided) / bend)

    def backward(shown):
        return np.sinh(shown) * bend + undecided
    colours = LinearSegmentedColormap.from_list("scores", ["#6db3dd", "#ffffff", "#f2a66b"])
    scale = ScalarMappable(FuncNorm((forward, backward), undecided - most, undecided + most),
                           colours)
    # 15 bands, as they make small files; the middle one is the undecided one.
    bands = scale.norm.inverse(np.linspace(0, 1, 16))
    axes.contourf(line, line, np.clip(values, bands[0], bands[-1]), bands, cmap=colours,
                  norm=scale.norm)
    if values.min() < undecided < values.max():
        axes.contour(line, line, values, [undecided], colors="#666666", linewidths=0.8,
                     linestyles="solid")
    _frame(axes, reach)
    return scale


def draw_arrows(axes, points, vectors):
    """Arrows from points (N, 2) to points + vectors, (N, 2), in the units of the axes."""
    axes.quiver(points[:, 0], points[:, 1], vectors[:, 0], vectors[:, 1], angles="xy",
                scale_units="xy", scale=1.0, color="#222222", width=0.005, minlength=0.0, zorder=3)


def draw_warped_grid(axes, transform, reach=2.0):
    """The image of a grid on [−reach, reach]², 17 lines each way, under `transform`, a function of
    points (N, 2), float32, → (N, 2) in NumPy arrays: where lines lie close, a generator puts many
    samples. Blue lines begin as vertical ones, orange ones as horizontal ones."""
    fine, coarse = (np.linspace(-reach, reach, n, dtype=np.float32) for n in (161, 17))
    along, across = np.meshgrid(fine, coarse, indexing="ij")  # (161, 17), a line in each column
    for z, colour in (((across, along), COLOURS[0]), ((along, across), COLOURS[1])):
        x = np.asarray(transform(np.stack(z, axis=-1).reshape(-1, 2))).reshape(161, 17, 2)
        axes.plot(x[..., 0], x[..., 1], color=colour, linewidth=0.7, alpha=0.8)
    axes.set(aspect="equal", xlabel="$x_1$", ylabel="$x_2$")


def draw_graph(axes, output, names=None):
    """The graph that `output`, a tensor, was computed by: rectangles for tensors, blue where a
    gradient flows to them, grey for constants, with their shape or their value; rounded ones for
    operations, with that of their result. `names`: {tensor or its id: its name}; a result that has
    a name gets a box. Arrows show the direction of the computation, downwards or to the right,
    whatever gives room for larger letters."""
    boxes, arrows = graph.layout(output, names)
    layers = 1 + max(box.layer for box in boxes)
    places = [box.place for box in boxes] + [place for arrow in arrows for place in arrow.between]
    low, high = min(places) - 0.5, max(places) + 0.5
    # In points, 1/72 of an inch. Without its ticks an axes becomes a little larger than it says.
    width, height = (1.15 * 72 / axes.figure.dpi * n for n in axes.get_window_extent().size)

    choices = []  # (size of the letters, do arrows point down, what separates name and shape)
    for down, between in ((False, "\n"), (True, "\n"), (True, " ")):
        w, h = _room_for([box.label.replace("\n", between) for box in boxes])
        columns, rows = (high - low, layers) if down else (layers, high - low)
        choices.append((min(11.0, width / columns / (w + (1.0 if down else 2.2)),
                            height / rows / (h + (1.6 if down else 0.8))), down, between))
    letters, down, between = max(choices, key=lambda choice: choice[0])
    boxes = [box._replace(label=box.label.replace("\n", between)) for box in boxes]
    if down:
        axes.set(xlim=(low, high), ylim=(layers - 0.5, -0.5))
    else:
        axes.set(xlim=(-0.5, layers - 0.5), ylim=(high, low))
    # Points to 1 along x and y.
    unit = width / np.ptp(axes.get_xlim()), height / np.ptp(axes.get_ylim())
    room = _room_for([box.label for box in boxes])
    w, h = (letters * n / points for n, points in zip(room, unit))

    def at(layer, place):
        return (place, layer) if down else (layer, place)
    for arrow in arrows:
        _draw_arrow(axes, boxes, arrow, arrows, at, (h, w) if down else (w, h))
    for box in boxes:
        _draw_box(axes, box, at(box.layer, box.place), w, h, unit[0] / unit[1], letters)
    axes.set_axis_off()


def _room_for(labels):
    """(width, height) of a box that each of the labels fits in, in multiples of the size of the
    letters."""
    lines = [label.split("\n") for label in labels]
    longest = max(len(line) for label in lines for line in label)
    return max(0.62 * longest + 1.0, 2.5), 1.25 * max(map(len, lines)) + 0.7


def _draw_box(axes, box, centre, w, h, aspect, letters):
    from matplotlib.patches import FancyBboxPatch
    fill = {"leaf": "#cfe5f3", "constant": "#eeeeee", "operation": "#fdebdc",
            "result": "#ffffff"}[box.kind]
    style = "square,pad=0"
    if box.kind == "operation":
        style = f"round,pad=0,rounding_size={0.5 * h / aspect}"
    axes.add_patch(FancyBboxPatch((centre[0] - w / 2, centre[1] - h / 2), w, h, style,
                                  mutation_aspect=aspect, facecolor=fill, edgecolor="#444444",
                                  linewidth=0.8, zorder=2))
    axes.text(*centre, box.label.replace("$", r"\$"), fontsize=letters, ha="center", va="center",
              zorder=3)


def _draw_arrow(axes, boxes, arrow, arrows, at, size):
    """From the side of one box, through the layers between, to the side of another; those that end
    at the same box end beside each other. `size`: that of a box along the layers and across."""
    begin, end = boxes[arrow.begin], boxes[arrow.end]
    beside = sorted((other for other in arrows if other.end == arrow.end), key=lambda other: (
        other.between[-1] if other.between else boxes[other.begin].place))
    [rank] = [i for i, other in enumerate(beside) if other is arrow]
    entry = end.place + size[1] * 0.6 * ((rank + 0.5) / len(beside) - 0.5)
    passed = [at(layer + side, place) for layer, place in enumerate(arrow.between, begin.layer + 1)
              for side in (-size[0] / 2, size[0] / 2)]  # straight past the boxes of a layer
    way = [at(begin.layer + size[0] / 2, begin.place), *passed, at(end.layer - size[0] / 2, entry)]
    if len(way) > 2:
        axes.plot(*zip(*way[:-1]), color="#444444", linewidth=1.0, zorder=1)
    axes.annotate("", way[-1], way[-2], arrowprops=dict(arrowstyle="-|>", color="#444444",
                                                        linewidth=1.0, shrinkA=0, shrinkB=0))


def _frame(axes, reach):
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="$x_1$",
             ylabel="$x_2$")
