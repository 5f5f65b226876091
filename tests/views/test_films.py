"""Films: their frames hold every pixel, and their file every frame."""

import numpy as np
import pytest
from pictures import RNG
from PIL import Image

from neuro_noodle.views import figures, films


@pytest.mark.parametrize(("side", "factor"), [(50, 4), (60, 4), (199, 2), (200, 1), (300, 1)])
def test_film_images_are_enlarged_by_whole_factors(side, factor):
    images = RNG.random((3, 1, side, side))
    frames = films.film_frames({"image": images}, ["7", "8", "9"])
    assert len(frames) == 3 and {(frame.shape, frame.dtype.name) for frame in frames} == {(frames[0].shape, "uint8")}
    high = side * factor
    top = frames[0].shape[0] - 28 - high
    left = (frames[0].shape[1] - high) // 2
    for frame, image in zip(frames, images, strict=True):
        shown = frame[top : top + high, left : left + high]
        grey = np.rint(255 * image[0]).astype(np.uint8)
        assert np.array_equal(shown[::factor, ::factor], np.stack([grey] * 3, 2))
        assert np.array_equal(shown, np.kron(grey, np.ones((factor, factor), np.uint8))[..., None].repeat(3, 2))


def test_a_film_shows_two_channels_as_their_mean():
    images = np.stack([np.full((1, 200, 200), 0.2), np.full((1, 200, 200), 0.6)], 1)
    (frame,) = films.film_frames({"image": images}, ["7"])
    assert frame[120, frame.shape[1] // 2].tolist() == [102] * 3


def test_series_of_a_film_are_side_by_side_and_clipped():
    red = np.zeros((2, 3, 200, 200))
    red[:, 0] = 1.7
    (first, _) = films.film_frames({"grey": np.full((2, 1, 200, 200), 0.5), "red": red}, ["7", "8"])
    middle = first[120]
    half = first.shape[1] // 2
    assert (middle[half // 2] == 128).all() and middle[half + half // 2].tolist() == [255, 0, 0]
    assert first[:28].min() < 100  # the names


def test_a_long_name_widens_its_film_and_is_not_cut_off():
    name = "what the network makes of each frame of this film"
    short, *long = (
        films.film_frames({above: np.zeros((1, 1, 50, 50))}, [below])[0]
        for above, below in (("a", "b"), (name, "b"), ("a", name))
    )
    assert short.shape[1] == 208
    for frame in long:
        assert frame.shape[1] > 208 and (frame[:, :3] == 255).all() and (frame[:, -3:] == 255).all()


def test_each_frame_of_a_film_has_its_title():
    first, second = films.film_frames({"image": np.zeros((2, 1, 50, 50))}, ["day2/17", "day2/18"])
    assert first[-28:].min() < 100 and (first[-28:] != second[-28:]).any()
    assert np.array_equal(first[:-28], second[:-28])


def test_the_frames_of_a_film_can_share_one_palette(tmp_path):
    frames = [films.figure_to_array(figures.plot_explained_variance({"a": np.array([0.1 * i])})) for i in (1, 5)]
    films.save_gif(tmp_path / "film.gif", frames, frame_ms=330, last_ms=2000, shared_palette=True)
    film = Image.open(tmp_path / "film.gif")
    corners = []
    for i in range(film.n_frames):
        film.seek(i)
        corners.append(film.convert("RGB").getpixel((0, 0)))
    assert len(corners) == 2 and corners[0] == corners[1]
