"""Which files are pictures, and what an image size may be."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")  # the decoders that strangers' files may reach
NAMED = "PNG, JPEG, WebP, BMP or TIFF"


def sides(size):
    """(height, width) of an image size: 64, "48x64" or (48, 64), which is 48 high and 64 wide.
    ValueError for anything else."""
    try:
        parts = size.split("x") if isinstance(size, str) else size
        height, width = parts if isinstance(parts, (tuple, list)) else (size, size)
        return int(height), int(width)
    except (TypeError, ValueError):
        raise ValueError(f"image size: expected a side in pixels, or (height, width), got {size!r}"
                         ) from None
