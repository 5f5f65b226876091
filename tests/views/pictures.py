"""What the tests of figures and maps share."""

import io
import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from neuro_noodle.views import films

RNG = np.random.default_rng(0)
PNG = b"\x89PNG\r\n\x1a\n"


def check_drawn(figure):
    """Check that something is drawn, and return the picture (H, W, 3)."""
    picture = films.figure_to_array(figure, dpi=40)
    assert picture.dtype == np.uint8 and picture.min() < picture.max()
    return picture


def check_saved(figure):
    """Check that a figure can be saved as PNG without a warning, and that something is drawn."""
    assert isinstance(figure, Figure)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(file, format="png", dpi=40)
    assert file.getvalue().startswith(PNG)
    pixels = np.asarray(Image.open(file).convert("L"))
    assert pixels.min() < pixels.max()


def texts(figure):
    """Return every text of a figure as it is shown: without mathematical formulas."""
    figure.draw_without_rendering()
    shown = [text._preprocess_math(text.get_text()) for text in figure.findobj(Text) if text.get_text()]
    assert not [text for text, is_formula in shown if is_formula]
    return [text for text, _ in shown]


def random_images(n, channels):
    """Return images with values below 0 and above 1, as networks produce them."""
    return np.random.default_rng(0).uniform(-0.1, 1.1, (n, channels, 9, 7))


CHANNELS = pytest.mark.parametrize("channels", [1, 3, 2, 5], ids=["grey", "colour", "two", "five"])
