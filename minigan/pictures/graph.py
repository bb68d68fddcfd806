"""The graph of a tensor, laid out in layers: what was computed from what. `plots.draw_graph` draws
it.

Three steps, as in Sugiyama, Tagawa & Toda 1981, doi:10.1109/TSMC.1981.4308636: each box gets a
layer, so that all arrows point the same way; boxes of a layer are put in the order of their
neighbours, so that few arrows cross; then they are moved towards their neighbours as far as they do
not overlap.
"""

from typing import NamedTuple

from minigan.tensor import Scalar


class Box(NamedTuple):
    """A tensor or an operation. `layer` counts in the direction of the computation, the output has
    the last one; boxes of one layer are at least 1 apart in `place`."""
    label: str
    kind: str  # leaf (a gradient flows to it), constant, operation, result (output, or named)
    layer: int
    place: float


class Arrow(NamedTuple):
    """From boxes[begin] to boxes[end]; `between` are the places at which it passes through the
    layers between."""
    begin: int
    end: int
    between: list


def layout(output, names=None):
    """([Box], [Arrow]) for everything `output` was computed from. `names`: {tensor or its id: what
    to call it}.

    An operation and its result are one box, unless the result has a name. ValueError for a tensor
    without a graph.
    """
    if output.node is None:
        raise ValueError(f"draw_graph: the tensor {output.shape} has no graph: it was not computed "
                         "from anything that requires a gradient, or under no_grad()")
    names = {key if isinstance(key, int) else id(key): name for key, name in (names or {}).items()}
    labels, edges = _boxes(output, names)
    layer = _layers(len(labels), edges)
    ways, layers, joined = _through_layers(edges, layer)
    place = _places(layers, joined, [kind not in ("leaf", "constant") for _, kind in labels])
    boxes = [Box(label, kind, layer[i], place[i]) for i, (label, kind) in enumerate(labels)]
    return boxes, [Arrow(way[0], way[-1], [place[v] for v in way[1:-1]]) for way in ways]


def _boxes(output, names):
    """([(label, kind)] of the boxes, [(begin, end)] of the arrows, as indices; one arrow for each
    argument)."""
    labels, edges = [], []
    value_of = {}  # id of a tensor → the index of the box its value comes out of
    waiting = [output]
    arguments = []  # (argument, the index of the operation), until all boxes have an index

    def add(label, kind):
        labels.append((label, kind))
        return len(labels) - 1
    while waiting:
        t = waiting.pop()
        if id(t) in value_of:
            continue
        name = names.get(id(t), "")
        if t.node is None:
            kind = "leaf" if t.requires_grad else "constant"
            value_of[id(t)] = add(_label(name, t), kind)
            continue
        boxed = name or t is output
        operation = value_of[id(t)] = add(t.node.name if boxed else _label(t.node.name, t),
                                          "operation")
        if boxed:
            value_of[id(t)] = add(_label(name, t), "result")
            edges.append((operation, value_of[id(t)]))
        arguments += [(arg, operation) for arg in t.node.args]
        waiting += t.node.args
    return labels, edges + [(value_of[id(arg)], operation) for arg, operation in arguments]


def _label(name, t):
    """A name and below it the shape, or the value if it is a single number."""
    if isinstance(t, Scalar):
        return f"{t.data:g}"
    what = str(t.shape) if t.shape else f"= {t.item():.3g}" if name else f"{t.item():.3g}"
    return f"{name}\n{what}" if name else what


def _layers(n, edges):
    """The layer of each of n boxes: as late as the longest way from it to the output allows."""
    to_output = [0] * n
    moved = True
    while moved:
        moved = False
        for begin, end in edges:
            if to_output[begin] <= to_output[end]:
                to_output[begin], moved = to_output[end] + 1, True
    return [max(to_output) - length for length in to_output]


def _through_layers(edges, layer):
    """For each edge its way, by one more vertex in each layer it passes; the vertices of each
    layer; and for each vertex its neighbours in the layer before and in that after. Vertices below
    len(layer) are boxes."""
    layers = [[] for _ in range(max(layer) + 1)]
    for vertex, its in enumerate(layer):
        layers[its].append(vertex)
    ways, total = [], len(layer)
    for begin, end in edges:
        passed = range(layer[begin] + 1, layer[end])
        ways.append([begin, *range(total, total + len(passed)), end])
        for vertex, its in enumerate(passed, total):
            layers[its].append(vertex)
        total += len(passed)
    joined = [([], []) for _ in range(total)]
    for way in ways:
        for a, b in zip(way, way[1:]):
            joined[b][0].append(a)
            joined[a][1].append(b)
    return ways, layers, joined


def _places(layers, joined, carried, sweeps=24):
    """The place of each vertex in its layer: sweep through the layers and back, and put each vertex
    at the mean of its neighbours, in the order of these means, boxes at least 1 apart. `carried`:
    for each box whether it was computed: these weigh most, so that a computation runs straight, and
    what joins it stands beside it."""
    place = {vertex: i for layer in layers for i, vertex in enumerate(layer)}
    # Boxes first, then arrows that pass by.
    passing = len(joined) - len(carried)
    weight = [1.0 if computed else 0.01 for computed in carried] + [0.3] * passing
    room = [1.0] * len(carried) + [0.4] * passing

    def mean(numbers, vertices):
        total = sum(weight[v] for v in vertices)
        return sum(weight[v] * x for v, x in zip(vertices, numbers)) / total
    for sweep in range(sweeps):
        for layer in layers if sweep % 2 == 0 else layers[::-1]:
            # Where it comes from; in the end both sides.
            sides = (0, 1) if sweep >= sweeps - 4 else (sweep % 2,)
            wish = {}
            for vertex in layer:
                near = [other for side in sides for other in joined[vertex][side]] or [vertex]
                wish[vertex] = mean([place[other] for other in near], near)
            layer.sort(key=wish.get)
            found = [wish[layer[0]]]
            for a, b in zip(layer, layer[1:]):
                found.append(max(wish[b], found[-1] + (room[a] + room[b]) / 2))
            shift = mean([wish[vertex] - position for vertex, position in zip(layer, found)], layer)
            place |= {vertex: position + shift for vertex, position in zip(layer, found)}
    return place
