"""The picture of what was made of pictures or captions: what stands beside what, and the letters below."""

import numpy as np
import pytest
from PIL import Image

from minigan.model import Drawn
from minigan.pictures import examples, plots


def flat(n, side, colours, first=0):
    """n pictures (side, side, colours), each of one value."""
    values = np.arange(first, first + n, dtype=np.uint8)
    return np.broadcast_to(values[:, None, None, None], (n, side, side, colours)).copy()


@pytest.mark.parametrize("known", [("inputs",), ("inputs", "targets"), ("targets",)])
def test_each_input_what_was_made_of_it_and_its_target_are_side_by_side(known):
    given = dict(x=flat(5, 8, 3, 10), inputs=flat(5, 4, 1, 20), targets=flat(5, 8, 3, 30))
    shown = examples.side_by_side(Drawn(**{name: given[name] for name in ("x", *known)}))
    assert shown.shape == (5, 1 + len(known), 8, 8, 3) and shown.dtype == np.uint8
    order = [name for name in ("inputs", "x", "targets") if name in ("x", *known)]
    for i, name in enumerate(order):
        assert (shown[:, i] == given[name][:, :1, :1]).all()


def test_without_captions_it_is_a_grid_of_so_many_examples_a_row(tmp_path):
    drawn = Drawn(flat(7, 16, 1), inputs=flat(7, 16, 1, 50))
    examples.save_examples(tmp_path / "a.png", drawn, 3)
    plots.save_grid(tmp_path / "b.png", np.stack([drawn.inputs, drawn.x], 1).reshape(14, 16, 16, 1), 6)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("colours", [1, 3])
def test_captions_stand_below_their_pictures_and_nowhere_else(tmp_path, colours):
    captions = np.array(["red", "", "W" * 40 + " word" * 40, "", "Сердце", "", "three words " * 9])
    drawn = Drawn(flat(7, 16, colours), targets=flat(7, 16, colours, 100), captions=captions)
    examples.save_examples(tmp_path / "named.png", drawn, 2)
    sheet = np.asarray(Image.open(tmp_path / "named.png"))
    height, width = 4 * 20, 4 * 38
    room = sheet.shape[0] // 4
    assert sheet.shape == (4 * room, 2 * width, 3) and room > height
    dark = []
    for i in range(7):
        cell = sheet[i // 2 * room:(i // 2 + 1) * room, i % 2 * width:(i % 2 + 1) * width]
        assert (cell[8:72, 8:72] == i).all() and (cell[8:72, 80:144] == 100 + i).all()
        dark.append((cell[height:] < 128).sum())
    assert not any(dark[1::2]) and 0 < dark[0] < dark[4] < dark[6]
    assert (sheet[3 * room:, width:] == 255).all()
    assert plots.MARK in Image.open(tmp_path / "named.png").text["Description"]


def test_a_caption_is_wrapped_by_the_width_of_its_letters():
    class Font:
        getlength = staticmethod(lambda text: 10 * len(text))
    assert examples._wrapped("", 50, Font) == ""
    assert examples._wrapped("aa bb cc dd", 50, Font) == "aa bb\ncc dd"
    assert examples._wrapped("a " + "b" * 9 + " c", 50, Font) == "a\n" + "b" * 9 + "\nc"
    assert examples._wrapped("aaaa bbbb ccccc dddd", 50, Font) == "aaaa\nbbbb\nccc …"


@pytest.mark.parametrize("captions", [["a star"] * 7, None])
def test_one_caption_for_all_is_not_repeated(tmp_path, captions):
    drawn = Drawn(flat(7, 16, 1), captions=captions and np.array(captions))
    examples.save_examples(tmp_path / "a.png", drawn)
    plots.save_grid(tmp_path / "b.png", drawn.x, 3)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
