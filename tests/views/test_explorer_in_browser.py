"""The explorer's page in a browser: pointing, clicking, lassoing, colours, sliders and keys."""

import csv
import re
import shutil
from itertools import pairwise

import numpy as np
import pytest
from browser import open_page
from helpers import SMALL, train_silently

from neuro_noodle.runs.run import open_run
from neuro_noodle.views.explorer import decoder, explorer


@pytest.fixture
def visit(running):
    """Return a function that opens the page of an explorer and waits until it is ready."""
    opened = []

    def open_one(path, width=1200, height=800, colours="light"):
        opened.append(open_page(running, path, width=width, height=height, colours=colours))
        opened[-1].page.wait_for_function("globalThis.explorer")
        return opened[-1].page

    yield open_one
    assert [fault for one in opened for fault in one.faults] == []
    for one in opened:
        one.page.context.close()


def decoded(page, number: int = 0) -> np.ndarray:
    """Return the pixels of a picture of the current image."""
    script = """(number) => {
        const canvas = document.querySelectorAll("#subject canvas")[number];
        return Array.from(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data);
    }"""
    return np.array(page.evaluate(script, number)).reshape(-1, 4)[:, 0]


def box(page, number: int = 0) -> dict:
    return page.locator(".map canvas").nth(number).bounding_box()


def at(page, index: int, number: int = 0) -> tuple[float, float]:
    """Return where the point of an image is on the screen."""
    map_ = f"explorer.maps[{number}]"
    left, top = page.evaluate(f"{map_}.toScreen({map_}.x[{index}], {map_}.y[{index}])")
    corner = box(page, number)
    return corner["x"] + left, corner["y"] + top


def settle(page) -> None:
    """Wait until what was asked for has been drawn."""
    page.evaluate(
        "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 30))))"
    )


def test_a_click_decodes_the_place(flat_page, flat_run, visit):
    page, run = visit(flat_page), open_run(flat_run)
    corner = box(page)
    page.mouse.click(corner["x"] + 40, corner["y"] + 30)
    settle(page)
    latent = page.evaluate("Array.from(explorer.latents.get(explorer.maps[0]))")
    expected = 255 * run.decode(np.array([latent], np.float32)).clip(0, 1).flatten()
    assert np.abs(decoded(page) - expected).max() <= 1
    assert page.locator("#subject h2").inner_text() == "A place on the map"
    place_ = page.evaluate(
        "explorer.maps[0].toScreen(...explorer.maps[0].placeOf(Float32Array.from(explorer.latents.get(explorer.maps[0]))))"
    )
    assert place_ == pytest.approx([40, 30], abs=0.5)


def test_a_click_on_an_image_shows_it_and_its_row(flat_page, flat_run, visit):
    page, run = visit(flat_page), open_run(flat_run)
    page.mouse.click(*at(page, 5))
    settle(page)
    shown = page.evaluate("explorer.subject.index")
    assert page.locator("#subject h2").inner_text() == run.dataset.ids[shown]
    image = 255 * run.images(np.array([shown])).numpy().flatten()
    assert np.abs(decoded(page, 0) - image).mean() < 1
    assert np.abs(decoded(page, 1) - 255 * run.decode(run.latents()[[shown]]).clip(0, 1).flatten()).max() <= 1.5
    row = page.locator("#subject dl").inner_text()
    assert f"person\n{run.dataset.columns['person'][shown]}" in row


def test_hovering_shows_the_image_and_its_row(flat_page, flat_run, visit):
    page = visit(flat_page)
    page.mouse.move(*at(page, 7))
    page.wait_for_selector("#hover:not([hidden])")
    text = page.locator("#hover").inner_text()
    assert any(name in text for name in open_run(flat_run).dataset.ids) and "emotion" in text
    page.mouse.move(box(page)["x"] + 2, box(page)["y"] + 2)
    page.wait_for_selector("#hover[hidden]", state="attached")


def test_colours_and_the_legend_filter(flat_page, visit):
    page = visit(flat_page)
    page.select_option("#colour", "emotion")
    page.locator("#legend .entries button", has_text="Ha").click()
    settle(page)
    assert page.locator(".hidden-count").inner_text().startswith("12 of 24 images shown (by emotion)")
    assert page.evaluate("explorer.maps[0].plot.get('filteredPoints').length") == 12
    page.select_option("#colour", "mse")
    page.locator("#legend input").first.fill(str(page.evaluate("explorer.column.high")))
    settle(page)
    assert page.evaluate("explorer.visible.reduce((a, b) => a + b)") <= 1
    page.locator(".hidden-count button").click()
    assert page.locator(".hidden-count").inner_text() == "" and page.evaluate("explorer.visible") is None


def test_a_lasso_lists_and_saves_the_images(flat_page, flat_run, visit, tmp_path):
    page, run = visit(flat_page), open_run(flat_run)
    page.keyboard.press("l")
    corner = box(page)
    ends = [(3, 3), (corner["width"] - 3, 3), (corner["width"] - 3, corner["height"] - 3), (3, corner["height"] - 3)]
    page.mouse.move(corner["x"] + 3, corner["y"] + 3)
    page.mouse.down()
    for (x0, y0), (x1, y1) in pairwise([*ends, ends[0]]):
        for share in np.linspace(0.1, 1, 10):
            page.mouse.move(corner["x"] + x0 + share * (x1 - x0), corner["y"] + y0 + share * (y1 - y0))
            page.wait_for_timeout(16)
    page.mouse.up()
    page.wait_for_selector("#selection:not([hidden])")
    assert page.locator("#selection h2").inner_text() == "24 images in the lasso"
    assert page.evaluate("explorer.subject") is None
    with page.expect_download() as download:
        page.locator("#selection button", has_text="Save as CSV").click()
    download.value.save_as(tmp_path / "images.csv")
    with (tmp_path / "images.csv").open(newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert sorted(rows) == sorted(run.dataset.ids)
    assert [rows[name]["person"] for name in run.dataset.ids] == run.dataset.columns["person"]


def test_a_line_shows_the_images_between_two(flat_page, flat_run, visit):
    page, run = visit(flat_page), open_run(flat_run)
    page.keyboard.press("i")
    a, b = 0, int(np.argmax(np.linalg.norm(run.latents() - run.latents()[0], axis=1)))
    page.mouse.move(*at(page, a))
    page.mouse.down()
    page.mouse.move(*at(page, b), steps=5)
    page.mouse.up()
    page.wait_for_selector("#line:not([hidden])")
    ends = page.evaluate("explorer.line.ends")
    assert page.locator("#line .strip canvas").count() == 11
    script = "Array.from(document.querySelectorAll('#line canvas')[5].getContext('2d').getImageData(0, 0, 20, 26).data)"
    middle = np.array(page.evaluate(script)).reshape(-1, 4)[:, 0]
    expected = run.decode(run.latents()[ends].mean(0, keepdims=True)).clip(0, 1).flatten()
    assert np.abs(middle - 255 * expected).max() <= 1.5
    assert page.locator(".map svg line").count() == 1


def test_sliders_move_a_latent_and_the_ring(flat_page, flat_run, visit):
    page, run = visit(flat_page), open_run(flat_run)
    page.keyboard.press("n")
    settle(page)
    before = page.evaluate("Array.from(explorer.latents.get(explorer.maps[0]))")
    slider = page.locator("#latents input").first
    slider.fill(slider.get_attribute("max"))
    settle(page)
    after = page.evaluate("Array.from(explorer.latents.get(explorer.maps[0]))")
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 1
    expected = run.decode(np.array([after], np.float32)).clip(0, 1).flatten()
    assert np.abs(decoded(page, 1) - 255 * expected).max() <= 1
    assert page.locator(".map svg circle").count() == 2


def test_an_image_moves_along_a_column_next_to_a_control(flat_page, flat_run, visit):
    page, run = visit(flat_page), open_run(flat_run)
    page.keyboard.press("n")
    page.select_option("#direction select", label="emotion: Ha → Sa")
    page.locator("#direction input").fill("1")
    settle(page)
    emotions = np.array(run.dataset.columns["emotion"])
    training = run.part == "training"
    latents = run.latents()
    step = latents[training & (emotions == "Sa")].mean(0) - latents[training & (emotions == "Ha")].mean(0)
    expected = 255 * run.decode((latents[page.evaluate("explorer.subject.index")] + step)[None]).clip(0, 1).flatten()
    pixels = """(number) => Array.from(document.querySelectorAll("#direction canvas")[number]
        .getContext("2d").getImageData(0, 0, 20, 26).data)"""
    moved, control = (np.array(page.evaluate(pixels, i)).reshape(-1, 4)[:, 0] for i in (0, 1))
    assert np.abs(moved - expected).max() <= 1.5 and np.abs(control - expected).max() > 1.5
    assert "direction of 22 training images" in page.locator("#direction .note").inner_text()


def test_the_slider_moves_the_points_through_training(flat_page, visit):
    page = visit(flat_page)
    last = page.evaluate("Array.from(explorer.maps[0].x)")
    page.locator(".times input").fill("0")
    page.wait_for_function("explorer.maps[0].time === 0")
    assert page.locator(".times output").inner_text() == "before training"
    page.wait_for_timeout(600)
    assert page.evaluate("Array.from(explorer.maps[0].plot.get('points'), (p) => p[0])") == pytest.approx(
        page.evaluate("Array.from(explorer.maps[0].x)")
    )
    assert page.evaluate("Array.from(explorer.maps[0].x)") != last
    assert "decoded by the best weights at all times" in page.locator(".times small").inner_text()


def test_keys_faster_than_drawing_end_at_the_last_time(flat_page, visit):
    page = visit(flat_page)
    for key in "[[[[[[]]":
        page.keyboard.press(key)
    page.wait_for_function("!explorer.maps[0].drawing")
    assert page.evaluate("explorer.maps[0].time") == 2
    assert page.evaluate("Array.from(explorer.maps[0].plot.get('points'), (p) => p[1])") == pytest.approx(
        page.evaluate("Array.from(explorer.maps[0].y)")
    )


def test_a_double_click_shows_one_class_and_then_all(flat_page, visit):
    page = visit(flat_page)
    page.select_option("#colour", "emotion")
    page.locator("#legend .entries button", has_text="Ha").dblclick()
    settle(page)
    assert page.locator(".hidden-count").inner_text().startswith("12 of 24")
    page.locator("#legend .entries button", has_text="Ha").dblclick()
    settle(page)
    assert page.evaluate("explorer.visible") is None


def test_two_runs_select_hover_and_decode_together(pair_page, film_runs, visit):
    page = visit(pair_page, width=1400)
    page.evaluate("explorer.showImage(3)")
    settle(page)
    captions = page.locator("#subject figcaption").all_inner_texts()
    assert captions == ["image", "reconstruction, one", "reconstruction, two"]
    for number, name in enumerate(("one", "two"), 1):
        run = open_run(film_runs / name)
        expected = 255 * run.decode(run.latents()[[3]]).clip(0, 1).flatten()
        assert np.abs(decoded(page, number) - expected).max() <= 1.5
    page.evaluate("explorer.lasso([1, 2, 3])")
    for number in (0, 1):
        assert page.evaluate(f"Array.from(explorer.maps[{number}].plot.get('selectedPoints'))") == [1, 2, 3]
        assert page.locator(".map").nth(number).locator("svg circle").count() == 1
    assert {"mse (one)", "mse (two)"} <= set(page.locator("#colour option").all_inner_texts())


def test_a_place_between_images_averages_the_nearest(pair_page, film_runs, visit):
    page, run = visit(pair_page), open_run(film_runs / "one")
    x, y = page.evaluate("[explorer.maps[0].x[8], explorer.maps[0].y[8]]")
    exact = page.evaluate(f"Array.from(explorer.maps[0].latentAt({x}, {y}))")
    assert exact == pytest.approx(run.latents()[8].tolist(), abs=0.02)
    between = np.array(page.evaluate(f"Array.from(explorer.maps[0].latentAt({x} + 0.01, {y}))"))
    near = page.evaluate(f"explorer.maps[0].nearest({x} + 0.01, {y}, 5)")
    weights = np.array([1 / (one["distance"] + 1e-9) for one in near])
    expected = weights @ run.latents()[[one["index"] for one in near]] / weights.sum()
    assert between == pytest.approx(expected, abs=0.02)


def test_an_image_is_found_by_part_of_its_id(flat_page, flat_run, visit):
    page, name = visit(flat_page), open_run(flat_run).dataset.ids[13]
    page.keyboard.press("/")
    page.keyboard.type(name[-12:])
    page.keyboard.press("Enter")
    settle(page)
    assert page.locator("#subject h2").inner_text().endswith(name[-12:])
    page.locator("#search").fill("_to_Ha_")
    found = []
    for _ in range(13):
        page.keyboard.press("Enter")
        found.append(page.evaluate("explorer.subject.index"))
    assert len(set(found)) == 12 and found[0] == found[12]
    settle(page)
    assert re.match(r"\d+ of 12 ids that contain _to_Ha_", page.locator("#subject .note").inner_text())
    page.locator("#search").fill("nothing like it")
    page.keyboard.press("Enter")
    assert page.locator("#subject .note").inner_text() == "no image has nothing like it in its id"


def test_the_page_follows_light_and_dark(flat_page, visit):
    page = visit(flat_page, colours="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 26)"
    page.keyboard.press("d")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_a_narrow_screen_needs_no_scrolling_sideways(flat_page, visit):
    page = visit(flat_page, width=390, height=844)
    page.keyboard.press("n")
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    xs = page.evaluate(
        "Array.from(explorer.maps[0].x, (x, i) => explorer.maps[0].toScreen(x, explorer.maps[0].y[i])[0])"
    )
    assert min(xs) > 0 and max(xs) < 390


def test_a_grid_replaces_the_decoder_in_the_page(flat_run, tmp_path, monkeypatch, visit):
    monkeypatch.setattr(decoder, "MAX_BYTES", 0)
    page, run = visit(explorer.write_explorer([flat_run], out=tmp_path / "grid.html")), open_run(flat_run)
    latent = np.median(run.latents(), 0)
    found = page.evaluate("(z) => Array.from(explorer.maps[0].decoder.decode(z).data)", latent.tolist())
    expected = run.decode(latent[None]).clip(0, 1).flatten()
    assert np.abs(np.array(found) - expected).mean() < 0.02


def test_channels_without_colours_are_grey(odd_page, odd_runs, visit):
    page, run = visit(odd_page), open_run(odd_runs / "ae")
    page.evaluate("explorer.showImage(4)")
    settle(page)
    image = run.images(np.array([4])).numpy()[0].mean(0).flatten()
    assert np.abs(decoded(page, 0) - 255 * image).max() <= 1
    expected = run.decode(run.latents()[[4]]).clip(0, 1)[0].mean(0).flatten()
    assert np.abs(decoded(page, 1) - 255 * expected).max() <= 1.5


def test_many_latents_have_some_sliders(odd_page, odd_runs, visit):
    page, run = visit(odd_page), open_run(odd_runs / "ae")
    page.keyboard.press("n")
    page.wait_for_selector("#latents:not([hidden])")
    names = page.locator("#latents .slider span").all_inner_texts()
    order = np.argsort(-run.latents().std(0), kind="stable")
    assert names == [f"latent {number + 1}" for number in order[:64]]
    assert "(the 64 of 70 that vary most)" in page.locator("#latents h2").inner_text()


def test_saved_numbers_have_all_digits(odd_page, visit):
    page = visit(odd_page)
    assert page.evaluate("explorer.columns.find((one) => one.name === 'stamp').exact(3)") == "1700000004.5"


def test_keys_of_lines_need_a_decoder(odd_runs, tmp_path, visit):
    page = visit(explorer.write_explorer([odd_runs / "digits"], out=tmp_path / "page.html", how="pca"))
    for key in ("n", "a", "n", "b"):
        page.keyboard.press(key)
    settle(page)
    assert page.evaluate("[explorer.lineStart, explorer.line]") == [None, None]


def test_playing_stops_at_a_click_and_at_the_slider(odd_page, visit):
    page = visit(odd_page)
    assert page.evaluate("explorer.maps[0].run.times.length") == 3
    play = page.locator(".times button").first
    for stop in (play.click, lambda: page.evaluate("explorer.maps[0].setTime(0)")):
        page.evaluate("explorer.maps[0].setTime(2)")
        play.click()
        page.wait_for_function("explorer.maps[0].time === 0")
        stop()
        page.wait_for_timeout(900)
        assert page.evaluate("explorer.maps[0].time") == 0


def test_a_changed_latent_has_no_ring_at_earlier_times(flat_page, visit):
    page = visit(flat_page)
    page.keyboard.press("n")
    page.wait_for_selector("#latents:not([hidden])")
    page.keyboard.press("[")
    page.wait_for_timeout(500)
    page.locator("#latents input").first.fill("0")
    settle(page)
    assert page.locator(".map svg circle").count() == 1


def test_names_of_files_cannot_run_code(stimuli, tmp_path, visit):
    folder = tmp_path / "odd"
    folder.mkdir()
    for number, path in enumerate(sorted(stimuli.rglob("*.JPG"))[:12]):
        shutil.copy(path, folder / f"<img src=x onerror=boom()>{number}.jpg")
    train_silently(f"--data_dir {folder} {SMALL['faces_ae']} --latent_dim 2 --n_epochs 1 --save_dir {tmp_path / 'w'}")
    page = visit(explorer.write_explorer([tmp_path / "w" / "faces_ae"]))
    page.keyboard.press("n")
    page.mouse.move(*at(page, 3))
    settle(page)
    assert page.evaluate("document.images.length") == 0
