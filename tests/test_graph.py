"""The layout of a graph: every tensor and operation once, all arrows one way, nothing on top of another."""

import numpy as np
import pytest

import minigan as mg
from minigan import graph, ops


def leaf(*shape):
    return mg.Tensor(np.ones(shape), requires_grad=True)


def examples():
    """{name: (output, number of boxes, number of arrows)}."""
    x, y, w = leaf(), leaf(), leaf(3, 3)
    chain = x
    for _ in range(6):
        chain = ops.tanh(chain)
    with_itself = leaf(3)
    product = (with_itself * with_itself * with_itself).sum()
    [slope] = mg.grad(product, with_itself, create_graph=True)
    far = x
    for _ in range(5):
        far = ops.tanh(far) * x
    return {"one operation": (x + y, 4, 3), "a number": (2 * x, 4, 3), "a chain": (chain, 8, 7),
            "an argument twice": (w @ w, 3, 3), "a gradient": (slope, 10, 15), "a long way": (far, 12, 16)}


@pytest.fixture(params=examples())
def example(request):
    return examples()[request.param]


def test_every_tensor_and_operation_has_a_box_and_every_argument_an_arrow(example):
    output, n_boxes, n_arrows = example
    boxes, arrows = graph.layout(output)
    assert (len(boxes), len(arrows)) == (n_boxes, n_arrows)
    assert [box.kind for box in boxes].count("result") == 1


def test_arrows_point_along_the_layers_and_pass_through_each_layer_between(example):
    boxes, arrows = graph.layout(example[0])
    for arrow in arrows:
        assert boxes[arrow.begin].layer < boxes[arrow.end].layer
        assert len(arrow.between) == boxes[arrow.end].layer - boxes[arrow.begin].layer - 1
    [result] = [box for box in boxes if box.kind == "result"]
    assert result.layer == max(box.layer for box in boxes) and min(box.layer for box in boxes) == 0


def test_no_box_lies_on_another_and_no_arrow_runs_through_one(example):
    boxes, arrows = graph.layout(example[0])
    for box in boxes:
        others = [other.place for other in boxes if other.layer == box.layer and other is not box]
        passing = [place for arrow in arrows for layer, place in enumerate(arrow.between, boxes[arrow.begin].layer + 1)
                   if layer == box.layer]
        assert all(abs(box.place - place) > 0.999 for place in others)
        assert all(abs(box.place - place) > 0.699 for place in passing)


def test_a_chain_runs_straight():
    boxes, _ = graph.layout(examples()["a chain"][0])
    assert len({round(box.place, 6) for box in boxes}) == 1


def test_labels_say_name_and_shape_or_the_value_of_a_single_number():
    x, w = mg.Tensor(np.array(1.5), requires_grad=True), leaf(2, 3)
    c = mg.Tensor(np.zeros(3))
    h = 2 * x
    y = (w * h + c).sum()
    boxes, _ = graph.layout(y, {x: "x", id(w): "w", h: "h"})
    labelled = {(box.label, box.kind) for box in boxes}
    assert labelled == {("x\n= 1.5", "leaf"), ("w\n(2, 3)", "leaf"), ("(3,)", "constant"), ("2", "constant"),
                        ("mul", "operation"), ("h\n= 3", "result"), ("mul\n(2, 3)", "operation"),
                        ("add\n(2, 3)", "operation"), ("sum", "operation"), ("18", "result")}


def test_a_tensor_without_a_graph_is_refused():
    with pytest.raises(ValueError, match=r"draw_graph: the tensor \(2,\) has no graph"):
        graph.layout(leaf(2))
    with mg.no_grad(), pytest.raises(ValueError, match="no_grad"):
        graph.layout(ops.exp(leaf(2)))
