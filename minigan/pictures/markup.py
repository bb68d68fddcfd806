"""What the parts of the report page share: text, columns, and data for its script."""

import json


def columns(*parts):
    return f'<div class="columns">{"".join(parts)}</div>' if any(parts) else ""


def rows(*parts):
    return f'<div class="stack wide">{"".join(parts)}</div>' if any(parts) else ""


def for_script(data):
    """Data for the script; no string in it can end the element."""
    text = json.dumps(data, allow_nan=False).replace("<", r"\u003c")
    return f'<script type="application/json">{text}</script>'


def number(value):
    """What can be drawn, or None."""
    known = type(value) in (int, float) and abs(value) < 1e100  # false for NaN too
    return value if known else None


def words(name):
    return short(name.replace("_", " "))


def short(value, most=500):
    """As text, cut where it is longer than a page has room for."""
    value = str(value)
    return value if len(value) <= most else value[:most] + "…"


def text(value):
    return "–" if number(value) is None else f"{value:.4g}".replace("-", "−")
