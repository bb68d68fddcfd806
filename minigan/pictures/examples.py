"""What was made of pictures or of captions, each beside what it was made from."""

import os
import textwrap

import numpy as np

from minigan.pictures import plots

FACTOR = 3             # by which pictures with captions are enlarged, so that letters fit below
LETTERS, LINES = 11, 2  # height in pixels, and how many lines of a caption are shown


def save_examples(path, drawn, columns):
    """Write a PNG of what was made, a `Drawn` on the host: beside each picture what it was made
    from and what should have become of it, where they are known, and below it its caption.
    `columns` of them make a row."""
    pictures = side_by_side(drawn)
    if drawn.captions is None:
        plots.save_grid(path, pictures.reshape(-1, *pictures.shape[2:]),
                        columns * pictures.shape[1])
    else:
        plots.save_sheet(path, lettered(pictures, drawn.captions, columns))


def side_by_side(drawn):
    """Pixels (N, each, H, W, C): each input, what was made of it and what should have been."""
    shown = [array for array in (drawn.inputs, drawn.x, drawn.targets) if array is not None]
    height, width = np.max([array.shape[1:3] for array in shown], axis=0)
    colours = max(array.shape[3] for array in shown)
    return np.stack([np.broadcast_to(_enlarged(plots.to_pixels(array), height, width),
                                     (len(array), height, width, colours)) for array in shown], 1)


def _enlarged(images, height, width):
    """Each pixel repeated."""
    _, H, W, _ = images.shape
    return images.repeat(height // H, axis=1).repeat(width // W, axis=2)


def lettered(pictures, captions, columns):
    """Pictures (N, each, H, W, C) and captions (N,) → one, pixels (rows, columns, 3): `each`
    pictures side by side, enlarged, above their caption."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont
    font = ImageFont.truetype(  # which has most alphabets
        os.path.join(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), LETTERS)
    strips = [plots.tile(strip, columns=len(strip)).repeat(FACTOR, 0).repeat(FACTOR, 1)
              for strip in pictures]
    height, width, colours = strips[0].shape
    room = height + (LINES + 1) * (LETTERS + 2)
    sheet = Image.new("RGB", (columns * width, -(-len(strips) // columns) * room), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (strip, caption) in enumerate(zip(strips, captions)):
        left, top = i % columns * width, i // columns * room
        sheet.paste(Image.fromarray(np.broadcast_to(strip, (height, width, 3))), (left, top))
        lines = textwrap.wrap(str(caption), width // (LETTERS // 2 + 1), max_lines=LINES,
                              placeholder=" …")
        draw.text((left + 2 * FACTOR, top + height), "\n".join(lines), "black", font, spacing=2)
    return np.asarray(sheet)
