"""Maps: UMAPs fitted to training images, coloured by metadata."""

import sys

import numpy as np
import pytest
from pictures import CHANNELS, RNG, check_drawn, check_saved, random_images, texts
from scipy.spatial.distance import pdist

from neuro_noodle.choices import UserError
from neuro_noodle.views import films, maps
from neuro_noodle.views.embeddings import EMBEDDINGS, embed

NONE = np.zeros(40, bool)

# ---------------------------------------------------------------------------------------------------------------- UMAP


def two_clouds(n=30):
    """Return n points (n, 5) in two distant clouds, in turn."""
    rng = np.random.default_rng(0)
    return (rng.normal(size=(n, 5)) + 8 * (np.arange(n) % 2)[:, None]).astype(np.float32)


@pytest.fixture(params=list(EMBEDDINGS))
def how(request):
    """Each kind of map; one whose package is not installed is skipped."""
    if request.param == "pacmap":
        pytest.importorskip("pacmap")
    return request.param


def test_held_out_images_do_not_move_training_images(how):
    values, is_training = two_clouds(), np.arange(30) % 5 > 0
    coordinates = embed(values, is_training, how)
    assert coordinates.shape == (30, 2) and np.isfinite(coordinates).all()
    alone = embed(values[is_training], is_training[is_training], how)
    moved = embed(values + 3 * ~is_training[:, None], is_training, how)[is_training]
    for other in (alone, moved):
        np.testing.assert_allclose(coordinates[is_training], other, atol=1e-4)


def test_the_map_depends_on_the_seed_only():
    values, is_training = two_clouds(), np.arange(30) % 5 > 0
    coordinates = embed(values, is_training)
    assert np.array_equal(coordinates, embed(values, is_training))
    assert not np.array_equal(coordinates, embed(values, is_training, seed=1))


def test_distant_images_stay_apart_on_the_map(how):
    values, is_training = two_clouds(), np.arange(30) % 5 > 0
    coordinates, cloud = embed(values, is_training, how), np.arange(30) % 2
    centres = np.stack([coordinates[is_training & (cloud == side)].mean(0) for side in (0, 1)])
    nearest = np.linalg.norm(coordinates[:, None] - centres, axis=2).argmin(1)
    assert np.array_equal(nearest, cloud)


def test_a_map_needs_four_training_images():
    values = two_clouds(8)
    for n in (0, 3):
        with pytest.raises(UserError, match=f"at least 4 training images, not {n}"):
            embed(values, np.arange(8) < n)
    assert np.isfinite(embed(values, np.arange(8) < 4)).all()


def test_a_map_of_a_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pacmap", None)
    with pytest.raises(UserError, match="pip install pacmap; or choose umap or pca"):
        embed(two_clouds(), np.ones(30, bool), "pacmap")


def test_a_map_of_principal_components_keeps_distances():
    points = np.pad(np.random.default_rng(0).normal(size=(30, 2)), ((0, 0), (0, 3)))
    found = embed(points, np.ones(30, bool), "pca")
    np.testing.assert_allclose(pdist(found), pdist(points), rtol=1e-5)
    assert embed(points[:, :1], np.ones(30, bool), "pca").shape == (30, 2)


# ---------------------------------------------------------------------------------------------------------------- maps


@CHANNELS
@pytest.mark.parametrize("n", [1, 2, 40])
def test_maps_are_drawn_for_one_image_and_for_many(channels, n):
    placed = np.random.default_rng(0).normal(size=(n, 2))
    columns = {"folder": ["one"] * n, "step": [str(i) for i in range(n)]}
    held_out = np.arange(n) % 4 == 0
    figure = maps.plot_maps({"pixels": placed, "latents": placed}, columns, held_out, random_images(n, channels))
    check_saved(figure)
    panels = [axis.get_title() for axis in figure.axes if axis.get_title()]
    names = ("folder", "step", "images")
    assert panels == [f"{title}: {name}" for title in ("pixels", "latents") for name in names]


def test_a_map_is_drawn_without_images_and_without_columns():
    placed, none = np.random.default_rng(0).normal(size=(6, 2)), np.zeros(6, bool)
    check_saved(maps.plot_maps({"latents": placed}, {"folder": list("aabbcc")}, none))
    check_saved(maps.plot_maps({"latents": placed}, {}, none, random_images(6, 1)))
    check_saved(maps.plot_maps({"latents": np.zeros((6, 2))}, {}, ~none, random_images(6, 1)))


def test_a_class_that_is_missing_has_a_colour_of_its_own():
    """Classes may be numbers, of which NaN is missing; their names have no decimal point."""
    placed, labels = np.random.default_rng(0).normal(size=(6, 2)), np.array([2, 10, np.nan] * 2)
    figure = maps.plot_maps({"latents": placed}, {"cell": labels}, np.zeros(6, bool), categories=("cell",))
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["2", "10", ""]


def test_numbers_are_coloured_by_value_unless_categories():
    placed, steps = np.random.default_rng(0).normal(size=(40, 2)), [str(i % 10) for i in range(40)]
    none = np.zeros(40, bool)
    by_value = maps.plot_maps({"latents": placed}, {"step": steps}, none)
    by_name = maps.plot_maps({"latents": placed}, {"step": steps}, none, categories=("step", None))
    assert by_value.axes[0].get_legend() is None and len(by_value.axes) == 2  # the second is the colour bar
    assert np.array_equal(by_value.axes[0].collections[0].get_array(), np.array(steps, float))
    assert [text.get_text() for text in by_name.axes[0].get_legend().get_texts()] == sorted(set(steps))


def test_axes_of_two_dimensional_latents_are_named_latent():
    figure = maps.plot_maps({"pixels": np.eye(2), "latents": np.eye(2)}, {"a": ["x", "y"]}, np.zeros(2, bool), None, (),
                          {"latents": "latent"})  # fmt: skip
    assert [axis.get_xlabel() for axis in figure.axes] == ["UMAP 1", "latent 1"]


def test_every_held_out_image_has_a_ring_and_rings_are_explained():
    placed, held_out = np.random.default_rng(0).normal(size=(40, 2)), np.arange(40) % 3 == 0
    figure = maps.plot_maps({"latents": placed}, {"folder": ["a", "b"] * 20}, held_out)
    assert "held-out image, not used for training" in texts(figure)
    rings = figure.axes[0].collections[-1]
    assert len(rings.get_facecolors()) == 0  # hollow
    assert np.array_equal(np.asarray(rings.get_offsets()), placed[held_out])


def test_notes_are_below_the_panels_of_their_columns():
    columns, placed = {"a": ["x", "y"], "b": ["y", "x"]}, np.eye(2)
    figure = maps.plot_maps(
        {"pixels": placed, "latents": placed}, columns, NONE[:2], notes={"pixels": {}, "latents": {"b": "so near"}}
    )
    assert [axis.get_xlabel() for axis in figure.axes] == ["UMAP 1", "UMAP 1", "UMAP 1", "UMAP 1\nso near"]
    assert any(text.endswith(maps.NEIGHBOURS) for text in texts(figure))


# ----------------------------------------------------------------------------------------------- cyclic colours


def colours_of(name, values, **options):
    """Return the colours (N, 4) of a column on a map, the name of its colour map, and the labels of its colour bar."""
    placed = RNG.normal(size=(len(values), 2))
    figure = maps.plot_maps({"latents": placed}, {name: values}, np.zeros(len(values), bool))
    check_drawn(figure)
    points = figure.axes[0].collections[0]
    bar = [text.get_text() for text in figure.axes[1].get_yticklabels()]
    return points.to_rgba(points.get_array()), points.get_cmap().name, bar


@pytest.mark.parametrize(
    ("name", "turn", "labels"),
    [
        ("angle_deg", 360, ["0°", "90°", "180°", "270°", "360°"]),
        ("angle", 2 * np.pi, ["0", "π/2", "π", "3π/2", "2π"]),
    ],
)
def test_angles_have_cyclic_colours(name, turn, labels):
    rgba, colour_map, bar = colours_of(name, np.linspace(0, turn, 41))
    assert colour_map == "cycle" and bar == labels
    assert rgba[0] == pytest.approx(rgba[-1], abs=0.02)
    assert np.abs(np.diff(rgba, axis=0)).max() < 0.15  # no jump anywhere
    quarters = rgba[[0, 10, 20, 30], :3]
    apart = np.linalg.norm(quarters[:, None] - quarters, axis=2) + 9 * np.eye(4)
    assert apart.min() > 0.4


@pytest.mark.parametrize(("turn", "label"), [(180, "45°"), (np.pi, "π/4")])
def test_axes_have_the_colours_of_half_a_turn(turn, label):
    rgba, colour_map, bar = colours_of("orientation", np.linspace(0, 0.999 * turn, 41))
    assert colour_map == "cycle" and bar[1] == label
    assert rgba[0] == pytest.approx(rgba[-1], abs=0.05)


def test_negative_angles_have_the_colour_of_their_direction():
    below, _, _ = colours_of("angle_deg", np.linspace(-180, 170, 36))
    above, _, _ = colours_of("angle_deg", np.linspace(-180, 170, 36) % 360)
    assert np.array_equal(below, above)


def test_angles_as_texts_are_coloured_and_empty_ones_grey():
    values = [f"{value}" for value in np.linspace(0, 6, 40)]
    values[7] = ""
    rgba, colour_map, _ = colours_of("heading", values)
    assert colour_map == "cycle" and rgba[7] == pytest.approx((0.75, 0.75, 0.75, 1))


def test_other_numbers_use_viridis_and_categories_a_palette():
    assert colours_of("distance", np.linspace(0, 6, 40))[1] == "viridis"
    assert colours_of("angle_deg", np.linspace(0, 4000, 40))[1] == "viridis"  # no direction: several turns
    figure = maps.plot_maps({"latents": RNG.normal(size=(40, 2))}, {"angle": ["a", "b"] * 20}, NONE)
    assert figure.axes[0].get_legend() is not None


# --------------------------------------------------------------------------------------------------- snapshots


@pytest.fixture
def grid():
    points = {f"after {i} epochs": RNG.normal(size=(40, 2)) * (i + 1) for i in range(3)}
    columns = {"angle_deg": np.linspace(0, 350, 40), "kind": ["a", "b"] * 20}
    limits = np.array([[-9, -8], [9, 8]])
    return points, columns, np.arange(40) % 4 == 0, {3: np.zeros((1, 5, 5)), 8: np.ones((3, 5, 5))}, limits


def panels(figure):
    return [axis for axis in figure.axes if axis.collections and not axis.get_label().startswith("<colorbar")]


def test_snapshots_share_limits_and_thumbnails(grid):
    points, columns, held_out, thumbnails, limits = grid
    figure = maps.plot_snapshots(*grid)
    check_drawn(figure)
    found = panels(figure)
    assert len(found) == 6 and [axis.get_title() for axis in found[:3]] == list(points)
    assert figure.axes[-1].get_ylabel() == "angle_deg" and found[-1].get_legend().get_title().get_text() == "kind"
    assert len({(axis.get_xlim(), axis.get_ylim()) for axis in found}) == 1
    (low_x, high_x), (low_y, high_y) = found[0].get_xlim(), found[0].get_ylim()
    assert low_x < limits[0, 0] and high_x > limits[1, 0] and low_y < limits[0, 1] and high_y > limits[1, 1]
    for axis, placed in zip(found, [*points.values()] * 2, strict=True):
        boxes = [artist for artist in axis.artists if hasattr(artist, "xybox")]
        assert [tuple(box.xy) for box in boxes] == [tuple(placed[i]) for i in thumbnails]
        assert np.array_equal(np.asarray(axis.collections[-1].get_offsets()), placed[held_out])


def test_the_columns_of_a_single_map_are_side_by_side(grid):
    points, *rest = grid
    figure = maps.plot_snapshots({"after 2 epochs": points["after 2 epochs"]}, *rest, axis_name="latent")
    first, second = panels(figure)
    check_drawn(figure)
    assert first.get_position().y0 == pytest.approx(second.get_position().y0, abs=0.01)
    assert (first.get_xlabel(), first.get_ylabel()) == ("latent 1", "latent 2")


def test_the_maps_of_a_film_do_not_move(grid):
    points, *rest = grid
    frames = [films.figure_to_array(maps.plot_snapshots({title: placed}, *rest)) for title, placed in points.items()]
    assert len({frame.shape for frame in frames}) == 1
    box = [
        panels(maps.plot_snapshots({title: placed}, *rest))[0].get_position().bounds for title, placed in points.items()
    ]
    assert len(set(box)) == 1


@pytest.mark.parametrize(("n", "has_legend", "n_markers"), [(3, True, 1), (10, True, 1), (20, True, 2), (40, False, 4)])
def test_categories_differ_in_colour_and_marker(n, has_legend, n_markers):
    """More of them than a legend holds have their names on the map."""
    points, names = np.random.default_rng(0).normal(size=(120, 2)), [f"n{i % n:02}" for i in range(120)]
    figure = maps.plot_maps({"latents": points}, {"name": names}, np.zeros(120, bool))
    axis = figure.axes[0]
    assert (axis.get_legend() is not None) == has_legend
    assert len([text for text in axis.texts if text.get_text().startswith("n")]) == (0 if has_legend else n)
    looks = maps._colours("name", np.array(names), by_value=False)
    assert len({(look.colour, look.marker) for look in looks.values()}) == n
    assert len({look.marker for look in looks.values()}) == n_markers
