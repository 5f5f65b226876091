"""Pieces of a page that needs no other file: escaped texts, tables, and pictures inside the page."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image

from neuro_noodle.plain import readable
from neuro_noodle.views.figures import displayable
from neuro_noodle.views.saving import DPI

MAX_WIDTH = 2000  # px of a figure
CSS_DPI = 96  # px per inch in a page
BROAD = 2  # ratio of width to height, above which a figure needs more room than a text
QUALITY = 88  # of WebP, at which texts stay sharp
MIN_SIDE = 96  # px of a small image, which is enlarged by whole numbers


def text(value: object) -> str:
    """Return a text such that a browser shows it as it is."""
    return escape(readable(str(value)))


def paragraph(value: str, kind: str = "") -> str:
    """Return a paragraph with this text; nothing without text."""
    return f"<p{_class(kind)}>{text(value)}</p>" if value else ""


def section(title: str, *parts: str) -> str:
    """Return a section with a heading; nothing if it has no content."""
    content = "\n".join(filter(None, parts))
    return f"<section>\n<h2>{text(title)}</h2>\n{content}\n</section>" if content else ""


def bullets(items: Sequence[str]) -> str:
    """Return a list; nothing without items."""
    return f"<ul>{''.join(f'<li>{text(item)}</li>' for item in items)}</ul>" if items else ""


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, kind: str = "") -> str:
    """Return a table whose first cell of each row is a heading; nothing without rows.

    Args:
        caption: above the table.
        columns: headings, the first for the headings of the rows.
        rows: of texts.
        kind: class of the first row.
    """
    if not rows:
        return ""
    numeric = ' class="number"'
    head = "".join(f'<th scope="col"{numeric if i else ""}>{text(name)}</th>' for i, name in enumerate(columns))
    body = "".join(
        f'<tr{_class(kind if not i else "")}><th scope="row">{text(first)}</th>'
        + "".join(f"<td{numeric}>{text(cell)}</td>" for cell in others)
        + "</tr>"
        for i, (first, *others) in enumerate(rows)
    )
    return (
        f'<div class="wide"><table><caption>{text(caption)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def facts(caption: str, values: Mapping[str, str]) -> str:
    """Return a table of names and texts; empty texts are left out."""
    rows = "".join(
        f'<tr><th scope="row">{text(name)}</th><td>{text(one)}</td></tr>' for name, one in values.items() if one
    )
    return f"<table><caption>{text(caption)}</caption><tbody>{rows}</tbody></table>"


def figure(path: Path, caption: str) -> str:
    """Return a figure from a PNG file, inside the page, as large as on paper if there is room."""
    with Image.open(path) as picture:
        width, height = picture.size
        dpi = picture.info.get("dpi", (DPI, DPI))[0]
    kind, below = ' class="broad"' if width > BROAD * height else "", text(caption)
    shown = f'<img src="{_embed_file(path)}" alt="{below}" width="{round(CSS_DPI * width / dpi)}">'
    return f'<figure{kind}><div class="wide">{shown}</div><figcaption>{below}</figcaption></figure>'


def images(each: Sequence[tuple[Mapping[str, np.ndarray], str]]) -> str:
    """Return small images (C, H, W) by name, side by side, each group with a text below."""
    figures = "".join(
        '<figure><div class="pair">'
        + "".join(f'<img src="{_embed_image(one)}" alt="{text(f"{name}: {below}")}">' for name, one in group.items())
        + f"</div><figcaption>{text(below)}</figcaption></figure>"
        for group, below in each
    )
    return f'<div class="images">{figures}</div>'


def page(title: str, content: Sequence[str]) -> bytes:
    """Return a page in HTML that needs no other file."""
    here = files("neuro_noodle.views")
    style, frame = (here.joinpath(name).read_text(encoding="utf-8") for name in ("report.css", "report.html"))
    whole = Template(frame).substitute(title=text(title), style=style, content="\n".join(filter(None, content)))
    return whole.encode()


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _embed_file(path: Path) -> str:
    """Return a PNG file as an address that holds it, as WebP if that is smaller."""
    with Image.open(path) as picture:
        picture.thumbnail((MAX_WIDTH, 10 * MAX_WIDTH))
        found = {"png": path.read_bytes()}
        if picture.mode in ("RGB", "RGBA", "L"):
            found["webp"] = _as_bytes(picture, "webp")
    return _address(*min(found.items(), key=lambda one: len(one[1])))


def _embed_image(image: np.ndarray) -> str:
    """Return an image (C, H, W) as an address that holds it."""
    picture = Image.fromarray((255 * displayable(image)).round().astype(np.uint8))
    factor = max(1, -(-MIN_SIDE // max(picture.size)))
    picture = picture.resize((factor * picture.width, factor * picture.height), Image.Resampling.NEAREST)
    picture.thumbnail((400, 400))
    return _address("png", _as_bytes(picture, "png"))


def _as_bytes(picture: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, quality=QUALITY)
    return file.getvalue()


def _address(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
