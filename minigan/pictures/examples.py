"""What was made of pictures or of captions, each beside what it was made from."""

import os
from math import ceil, sqrt

import numpy as np

from minigan.pictures import plots

CELL = 64               # pixels that a side of a picture above its caption is enlarged to
LETTERS, LINES = 11, 3  # height in pixels, and how many lines of a caption are shown
NAMED = 400             # the most pictures that each have their caption below


def save_examples(path, drawn, columns=None):
    """Write a PNG of what was made, a `Drawn` on the host: beside each picture what it was made
    from and what should have become of it, where they are known. Below it is its caption, if there
    are several and not too many. `columns` of them make a row, by default about as many pictures as
    there are rows."""
    pictures = side_by_side(drawn)
    each = pictures.shape[1]
    columns = columns or ceil(sqrt(len(pictures) / each))
    captions = () if drawn.captions is None else drawn.captions
    if len(pictures) > NAMED or len({*map(str, captions)}) < 2:
        plots.save_grid(path, pictures.reshape(-1, *pictures.shape[2:]), columns * each)
    else:
        plots.save_sheet(path, lettered(pictures, captions, columns))


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
    pictures side by side, enlarged by a whole factor, above their caption."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont
    font = ImageFont.truetype(  # which has most alphabets
        os.path.join(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), LETTERS)
    factor = max(1, round(CELL / max(pictures.shape[2:4])))
    strips = [plots.tile(strip, columns=len(strip)).repeat(factor, 0).repeat(factor, 1)
              for strip in pictures]
    height, width, _ = strips[0].shape
    room = height + LINES * (LETTERS + 3)
    sheet = Image.new("RGB", (columns * width, ceil(len(strips) / columns) * room), "white")
    for i, (strip, caption) in enumerate(zip(strips, captions)):
        cell = Image.new("RGB", (width, room), "white")  # what is too wide ends with it
        cell.paste(Image.fromarray(np.broadcast_to(strip, (height, width, 3))))
        ImageDraw.Draw(cell).text((4, height), _wrapped(str(caption), width - 8, font), "black",
                                  font, spacing=2)
        sheet.paste(cell, (i % columns * width, i // columns * room))
    return np.asarray(sheet)


def _wrapped(caption, width, font):
    """The caption in at most LINES lines of at most `width` pixels; single words may be wider."""
    lines = [""]
    for word in caption.split():
        if not lines[-1] or font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] = f"{lines[-1]} {word}".strip()
        elif len(lines) < LINES:
            lines.append(word)
        else:
            while lines[-1] and font.getlength(f"{lines[-1]} …") > width:
                lines[-1] = lines[-1][:-1]
            lines[-1] += " …"
            break
    return "\n".join(lines)
