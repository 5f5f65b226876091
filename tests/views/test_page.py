"""report.html: sentences for each objective, a page that needs no other file, escaping, and a page without images."""

import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from helpers import result_of, train_silently

from neuro_noodle.runs.run import open_run
from neuro_noodle.views import extremes, markup, wording
from neuro_noodle.views.extremes import spread_over
from neuro_noodle.views.facts import Facts, headline, leaks
from neuro_noodle.views.methods import methods
from neuro_noodle.views.page import format_note
from Plotting import report as command


class Read(HTMLParser):
    """A page that was read: its images, its links, its texts, and elements that are still open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.images, self.links, self.open, self.headings, self.texts = [], [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag == "img":
            self.images.append(values)
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)


def facts_of(folder, **changes) -> Facts:
    """Return the facts of a run, with changed values of flags."""
    facts = Facts.of(open_run(folder), result_of(folder), n_trained=2)
    return replace(facts, config=facts.config | {"flags": facts.flags | changes})


@pytest.fixture(scope="module")
def page(face_runs, tmp_path_factory):
    """A copy of the run `ae` with its page."""
    folder = shutil.copytree(face_runs / "ae", tmp_path_factory.mktemp("page") / "ae")
    assert command.main([str(folder), "--map", "pca"]) == 0
    return folder


# ------------------------------------------------------------------------------------------------------- sentences


def test_an_autoencoder_in_whole_sentences(face_runs):
    facts = facts_of(face_runs / "ae")
    text, result = methods(facts), facts.result
    for sentence in (
        "We used 24 grey images of 26 x 20 pixels (height x width), with values from 0 (black) to 1 (white). Among "
        "them were 24 images resized to 26x20 from 65x51",
        "They were split at random into 18 training images of 4 people and 6 validation images of 4 people (seed 42).",
        "We trained a network to reproduce the images (an autoencoder). It consisted of a fully connected encoder (a "
        "hidden layer of 32 units, ReLU), a latent of 4 numbers, and fully connected layers (the encoder's layers in "
        "reverse order, ReLU).",
        "The loss was the binary cross-entropy of pixels.",
        "Training used Adam with a learning rate of 0.2, which rose during the first 3 epochs and then fell along half "
        "a cosine to 0, and batches of at most 8 images, for 2 epochs.",
        "Training images were changed at random by mirroring with probability 0.5, shifts of up to 3 px, rotations of "
        "up to 4°, changes of size of up to 4 % and changes of brightness of up to 0.05 (white is 1) and of contrast "
        "of up to 10 %.",
        f"lowest validation mean squared error (MSE) of pixels (epoch {result['best_epoch'] + 1})."
        if result["best_epoch"] >= 0
        else "(the start, before training).",
        "On 6 validation images of 4 people, all of whom were in training too, the MSE was "
        f"{result['validation']['value']:.4g} (no interval: these images chose the epoch; PCA with 4 components: "
        f"{result['baselines']['pca']:.4g}; the mean image: {result['baselines']['mean_image']:.4g}).",
    ):
        assert sentence in text
    assert text.endswith("the seed was 42.") and "  " not in text and "None" not in text


def test_no_choice_is_claimed_if_only_the_last_epoch_was_judged(face_runs):
    text = methods(facts_of(face_runs / "ae", test_every=3))  # of 3 epochs
    assert "Weights were those after the last epoch." in text and "lowest validation" not in text


def test_a_classifier_with_a_test_part_in_whole_sentences(small_runs):
    facts = facts_of(small_runs / "faces_emotion_scratch")
    text, test = methods(facts), facts.result["test"]
    assert "with values from 0 (black) to 1 (white), in 2 classes (Ha, Sa). Among them were 24 images" in text
    assert "We trained a network to predict the class of each image. It consisted of a ResNet18 that started" in text
    assert "from random weights, a latent of 512 numbers, and a linear layer. The loss was the cross-entropy." in text
    assert "Training used Adam (decoupled weight decay of 0.01, not of biases) with" in text
    assert f"On {test['n']} test images of {test['n_groups']} people" in text
    assert f"the accuracy was {test['value']:.4g} (no interval: {test['undefined']['interval']}; " in text
    assert f"the most frequent class: {test['baselines']['majority_class']:.4g}" in text


def test_a_direction_has_degrees(small_runs):
    facts = facts_of(small_runs / "arena_angle", load_encoder="/somewhere/weights/arena_ae", trainable_stages=2)
    text = methods(facts)
    assert "such that no block of consecutive frames was in two parts into" in text
    assert "to predict a direction from each image (columns tail_x, tail_y, neck_x, neck_y)." in text
    assert "The loss was the squared error of a vector of length 1 in that direction." in text
    assert "The encoder started from that of the run arena_ae; the last stage (the head) had new weights." in text
    assert "Only the last 2 stages, the head included, were trained." in text and "/somewhere" not in text
    of_session = methods(facts_of(small_runs / "arena_angle", load_encoder="/somewhere/weights/arena_ae/39"))
    assert "from that of the run arena_ae (session 39);" in of_session
    assert f"the mean angular error was {facts.result['test']['value']:.4g}° (" in text
    assert headline(facts).startswith(f"Mean angular error {facts.result['test']['value']:.4g}° on ")


def test_repetitions_have_a_spread_and_neurons_a_ceiling(small_runs):
    facts = facts_of(small_runs / "v1_hsm")
    text, each = methods(facts), facts.result["repetitions"]["test_spread"]["r"]
    assert (
        "and the responses of 4 neurons to them." in text and "They were split as in the data set itself into" in text
    )
    assert "; validation images were drawn from its training images (seed 42)." in text
    assert "We trained 2 networks with different seeds to predict the responses of all neurons to each image." in text
    assert "Each consisted of differences of Gaussians, each at its own position (" in text
    assert "The loss was the Poisson negative log-likelihood of the responses, and a softplus kept" in text
    assert f"Over the 2 networks, the test mean correlation r had a median of {each['median']:.4g} (10th to" in text
    ceiling = {"share": 0.671, "r": 0.82, "share_interval": [0.5, 0.75], "n_repeats": 10.0}
    test = facts.result["test"] | {"ceiling": ceiling}
    assert (
        "This was 67.1 % of the noise ceiling of 0.82 (95 % confidence interval 50.0 to 75.0 %, estimated from 10 "
        "presentations of each image)."
    ) in methods(replace(facts, result=facts.result | {"test": test}))


def test_numbers_are_named_by_their_columns(film, tmp_path):
    words = f"--data_dir {film} --save_dir {tmp_path} --dataset arrays file=images.npy metadata=table.csv group=animal"
    more = "--encoder pca --latent_dim 4 --head linear --objective regress columns=x --augment none --patience 5"
    train_silently(f"{words} {more} --n_epochs 3 --split group --test_fraction 0.5 --namestr run")
    facts = facts_of(tmp_path / "run")
    text, test = methods(facts), facts.result["test"]
    assert "to predict numbers from each image (column x). It consisted of the principal components of the" in text
    assert "scaled to mean 0 and standard deviation 1 in training. Only the head was trained." in text
    assert "for 2 epochs; it stopped when the validation metric had not improved for 5 epochs." in text
    assert f"of {test['n_groups']} animals, the R² was {test['value']:.4g} (95 % confidence interval " in text
    assert "jackknife over animals; the mean of the training images' values: " in text
    assert "images were in no part." in text  # those without x
    found = extremes.find_extremes(open_run(tmp_path / "run"))
    assert re.fullmatch(r"x [\d.-]+, predicted [\d.-]+", found["worst"][0].text)


def test_leaks_are_sentences(face_runs):
    facts = facts_of(face_runs / "ae")
    found = {"near_duplicates": {"test": {"n": 2, "checked": 9}}, "encoder": {"test": 1, "validation": 0}}
    texts = leaks(replace(facts, result=facts.result | {"leaks": found}))
    assert texts[0] == "At least 2 of 9 test images that were checked had a near-duplicate in training."
    assert texts[1:] == ["The loaded encoder had been trained on 1 test image."]
    folds = {"values": [1, 2, 3], "leaks": [found, {}, found]}
    assert leaks(replace(facts, result=facts.result | {"folds": folds}))[0].startswith("Fold 1, 3: at least 2 of 9")


def test_a_better_baseline_is_in_the_headline(face_runs):
    facts = facts_of(face_runs / "ae")
    best = min(facts.result["baselines"].values())
    better = headline(_with_value(facts, 0))
    assert better.endswith(f"; the best baseline, PCA with 4 components, reached {best:.4g}.")
    worse = headline(_with_value(facts, 1))
    assert worse.startswith("MSE 1 on 6 validation images") and worse.endswith("did as well, or better.")
    undefined = facts.result["validation"] | {"value": None, "undefined": {"mse": "no images"}}
    record = replace(facts, result=facts.result | {"validation": undefined})
    assert headline(record) == "The validation MSE is undefined: no images."


def _with_value(facts: Facts, value: float) -> Facts:
    return replace(facts, result=facts.result | {"validation": facts.result["validation"] | {"value": value}})


# ------------------------------------------------------------------------------------------------------------ page


def test_a_page_needs_no_other_file(page):
    read = Read((page / "report.html").read_text())
    assert read.open == [] and not re.search(r"https?://|@import|url\(", (page / "report.html").read_text())
    assert read.links and all(link.startswith("data:image/") for link in read.links)
    assert all(image["alt"] for image in read.images)
    n_figures = len([*(page / "figures").glob("*.png")])
    assert len(read.images) == n_figures + 2 * 2 * 3  # the 3 worst and best images and their reconstructions
    assert read.headings[:3] == ["ae", "Result", "What could make the result too good"]
    assert "Based on the recipe faces_ae; the settings of this run are at the end." in read.texts


def test_a_note_that_starts_with_a_file_keeps_its_name():
    assert format_note("faces/table.csv has 6 columns") == "faces/table.csv has 6 columns."
    assert format_note("two images are dark") == "Two images are dark."


def test_the_worst_images_are_of_different_people(run):
    found = extremes.find_extremes(run, n_shown=2)
    indices = run.held_out
    errors = (run.outputs_of(indices) - run.images(indices)).square().mean((1, 2, 3)).numpy()
    order = [run.dataset.ids[i] for i in indices[np.argsort(errors)]]
    for name, wanted in (("best", order), ("worst", order[::-1])):
        of_another = next(one for one in wanted if Path(one).parent != Path(wanted[0]).parent)
        assert [one.id for one in found[name]] == [wanted[0], of_another]


def test_everything_of_the_user_is_escaped(page):
    evil = "<script>alert('&\"')</script>"
    read = Read(
        markup.page(
            evil,
            [
                markup.section(evil, markup.paragraph(evil), markup.bullets([evil])),
                markup.table(evil, [evil, evil], [[evil, evil]]),
                markup.facts(evil, {evil: evil}),
                markup.images([({evil: np.zeros((1, 3, 3))}, evil)]),
            ],
        ).decode()
    )
    assert read.texts.count(evil) == 13 and read.images[0]["alt"] == f"{evil}: {evil}"


def test_names_from_the_data_are_escaped_in_a_page(stimuli, tmp_path):
    folder = shutil.copytree(stimuli, tmp_path / "stimuli")
    for path in [*folder.rglob("*.JPG")]:
        path.rename(path.with_name(f"<script>{path.name}"))
    words = f"--data_dir {folder} --save_dir {tmp_path} --dataset folder size=26x20 pattern=none --encoder pca"
    train_silently(f"{words} --latent_dim 2 --augment none --n_epochs 1 --namestr run --plot")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_a_page_without_images_shows_and_names_none(page, capsys):
    shutil.copy(page / "figures" / "augmented.png", page / "figures" / "walk.png")
    assert command.main([str(page), "--map", "pca", "--no_images"]) == 0
    written = [line.rpartition("/")[2] for line in capsys.readouterr().out.splitlines()]
    assert written == ["curves.png", "latent_map.png", "report.html"]
    text = (page / "report.html").read_text()
    read = Read(text)
    assert [image["alt"].split()[0] for image in read.images] == ["Learning", "Maps"]
    assert "were left out of this page" in text and "The worst 3" in text
    assert [name for name in open_run(page).dataset.ids if name in text or name.rpartition("/")[2] in text] == []


def test_a_map_without_images_and_columns_shows_parts(face_runs, tmp_path):
    folder = shutil.copytree(face_runs / "plain", tmp_path / "plain")
    assert command.main([str(folder), "--map", "pca", "--no_images"]) == 0
    assert (folder / "figures" / "latent_map.png").is_file()
    assert not (folder / "figures" / "reconstructions.png").exists()


def test_a_session_that_is_not_the_best_has_no_page(face_runs, tmp_path):
    folder = shutil.copytree(face_runs / "ae", tmp_path / "ae")
    (folder / "report.html").unlink(missing_ok=True)
    assert command.main([str(folder / "2"), "--map", "pca"]) == 0
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ("adamw", "AdamW (decoupled weight decay of 0.01, not of biases)"),
        ("adam weight_decay=0.1", "Adam (decoupled weight decay of 0.1, not of biases)"),
        ("sgd momentum=0.9 weight_decay=0.1", "gradient descent (momentum 0.9, weight decay of 0.1, not of biases)"),
        ("adam", "Adam"),
    ],
)
def test_weight_decay_is_described_as_it_is_applied(choice, words):
    assert wording.optimizer(choice).endswith(words)


def test_options_of_encoders_are_in_words():
    text = wording.encoder("fc beta=0.03 scale=zscore noise=0.2")
    for part in (
        "pixels z-scored together",
        "a weight of 0.03 for the divergence",
        "deviation of 0.2 added to its input",
    ):
        assert part in text
    assert "=" not in text


def test_extremes_come_from_as_many_groups_as_possible():
    groups = np.array(["a", "a", "a", "b", "b", "c"])
    assert spread_over(groups, np.array([0, 1, 2, 3, 4, 5]), 4).tolist() == [0, 1, 3, 5]
    assert spread_over(groups, np.array([2, 1, 0]), 2).tolist() == [2, 1]
    assert spread_over(np.arange(6), np.array([5, 4, 3]), 2).tolist() == [5, 4]
