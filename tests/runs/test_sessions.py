"""Splits that do not lie, loaders that lose nothing, sessions that survive."""

import csv
import os

import numpy as np
import pytest
import torch
from helpers import indexed_images, split_images
from PIL import Image

import utils
from neuro_noodle.augment import AUGMENTATIONS
from neuro_noodle.choices import UserError
from neuro_noodle.data import arrays, store
from neuro_noodle.data.emotions import make_classification_dataset
from neuro_noodle.networks.base import build_model
from neuro_noodle.objectives.base import OBJECTIVES


def loaders(dataset, parts, batch_size=8, objective="classify", augmentations=()):
    augmentations = [AUGMENTATIONS.build(choice) for choice in augmentations]
    settings = {"augmentations": augmentations, "device": torch.device("cpu"), "seed": 3}
    return utils.dataloaders(dataset, parts, OBJECTIVES.build(objective), batch_size=batch_size, **settings)


@pytest.mark.parametrize("batch_size", [1, 7, 8, 53, 54, 1000])
def test_an_epoch_shows_every_training_image_once_in_batches_of_nearly_equal_size(batch_size):
    dataset = indexed_images()
    parts = split_images(dataset)
    batches = list(loaders(dataset, parts, batch_size)["training"])
    sizes = [len(x) for x, _ in batches]
    assert max(sizes) <= batch_size and max(sizes) - min(sizes) <= 1
    seen = sorted(int(value) for x, _ in batches for value in (x[:, 0, 0, 0] * 255).round())
    assert seen == parts["training"]


def test_training_is_shuffled_anew_each_epoch_and_validation_never():
    dataset = indexed_images()
    both = loaders(dataset, split_images(dataset))
    first, second = (torch.cat([x for x, _ in both["training"]]) for _ in range(2))
    assert not torch.equal(first, second)
    first, second = (torch.cat([x for x, _ in both["validation"]]) for _ in range(2))
    assert torch.equal(first, second)


def test_the_label_stays_with_its_image():
    dataset = indexed_images()
    for x, y in loaders(dataset, split_images(dataset))["training"]:
        indices = (x[:, 0, 0, 0] * 255).round().long()
        assert torch.equal(y, dataset.labels[indices])


@pytest.mark.parametrize(("n", "batch_size"), [(1, 8), (8, 8), (9, 8), (100, 7)])
@pytest.mark.parametrize("shuffled", [True, False])
def test_every_batch_is_announced_once_and_before_it_comes_and_in_the_same_order_as_unannounced(
    n, batch_size, shuffled
):
    def draw():
        return [torch.Generator().manual_seed(1)] if shuffled else []

    announced = []
    for _ in range(2):
        silent, telling = draw(), draw()
        announced.clear()
        plain = [batch.tolist() for batch in utils.EvenBatches(n, batch_size, silent)]
        told = []
        for batch in utils.EvenBatches(n, batch_size, telling, lambda batch: announced.append(batch.tolist())):
            told.append(batch.tolist())
            assert told[-1] in announced
        assert told == plain == [batch for batch in announced if batch]
        assert not shuffled or torch.equal(silent[0].get_state(), telling[0].get_state())
    assert sorted(sum(plain, [])) == list(range(n))


AUGMENTED = ["flip", "crop area=0.5,1", "noise"]


@pytest.fixture
def opened(tmp_path):
    """Return a function that opens 30 colour images as a run does: pictures, or an array in a file."""
    images = np.random.default_rng(0).integers(0, 256, (30, 12, 10, 3), dtype=np.uint8)

    def open_as(kind):
        folder = tmp_path / kind
        if not folder.exists():
            folder.mkdir()
            if kind == "folder":
                for i, image in enumerate(images):
                    Image.fromarray(image).save(folder / f"{i:02}.png")
            elif kind == "npy":
                np.save(folder / "x.npy", images)
            else:
                {"npz": np.savez, "npz_compressed": np.savez_compressed}[kind](folder / "x.npz", x=images)
        flags = {"data_dir": folder, "save_dir": tmp_path, "skip_unreadable": False, "split": "random"}
        return utils.open_dataset(flags | {"dataset": "folder" if kind == "folder" else "arrays"})

    return open_as


@pytest.mark.parametrize("kind", ["folder", "npy", "npz", "npz_compressed"])
def test_images_that_lie_on_the_disk_make_the_same_batches_as_those_in_memory(kind, opened, monkeypatch):
    def epochs():
        dataset = opened(kind)
        made = loaders(dataset, split_images(dataset), objective="reconstruct", augmentations=AUGMENTED)
        return dataset.is_mapped, [x for _ in range(2) for part in ("training", "validation") for x, _ in made[part]]

    here, in_memory = epochs()
    for module in (store, arrays):
        monkeypatch.setattr(module, "IN_MEMORY", 0)
    there, mapped = epochs()
    assert (here, there) == (False, True)
    assert len(in_memory) == len(mapped) == 10
    assert all(torch.equal(a, b) for a, b in zip(in_memory, mapped, strict=True))


def test_a_loader_whose_draw_is_restored_makes_exactly_the_batches_that_would_have_come(opened):
    def training():
        dataset = opened("folder")
        return loaders(dataset, split_images(dataset), objective="reconstruct", augmentations=AUGMENTED)["training"]

    whole = training()
    first = torch.cat([x for x, _ in whole])
    state = whole.batch_sampler.draws[0].get_state()
    expected = [x for _ in range(2) for x, _ in whole]
    resumed = training()
    resumed.batch_sampler.draws[0].set_state(state)
    after = [x for _ in range(2) for x, _ in resumed]
    assert all(torch.equal(a, b) for a, b in zip(expected, after, strict=True))
    assert not torch.equal(first, torch.cat(expected)[: len(first)])


# ---------------------------------------------------------------------------------------------------- sessions


def session(run, epoch, weight=0.0, keep_all=False):
    model = build_model("fc hidden=3", "linear", (1, 2, 2), (2,), 2, "fp32")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.nn.init.constant_(model.head.layer.bias, weight)
    utils.save_session(run, epoch, model, optimizer, {"epoch": epoch}, model.state_dict(), keep_all=keep_all)


@pytest.fixture
def run(tmp_path):
    folder = utils.new_run(tmp_path, "run")
    made_of = {"encoder": "fc hidden=3", "head": "linear", "image_shape": [1, 2, 2], "output_shape": [2]}
    utils.write_json(folder / "config.json", {"model": made_of | {"latent_dim": 2, "precision": "fp32"}})
    return folder


def test_a_run_is_never_overwritten(tmp_path):
    assert [utils.new_run(tmp_path, "a").name for _ in range(3)] == ["a", "a-2", "a-3"]


def test_a_session_rebuilds_its_own_model(run):
    session(run, 4, weight=0.25)
    model, _ = utils.load_model(str(run / "4"))
    assert model.head.layer.bias.tolist() == [0.25, 0.25]


@pytest.mark.parametrize(("keep_all", "left"), [(False, ["7"]), (True, ["3", "7"])])
def test_earlier_sessions_go_only_once_the_new_one_is_complete_and_only_if_asked(run, keep_all, left):
    session(run, 3, keep_all=keep_all)
    session(run, 7, keep_all=keep_all)
    assert [path.name for path in utils.sessions(run)] == left
    assert utils.find_session(run) == (run, run / "7")


@pytest.mark.parametrize("n_files", [0, 1, 2])
def test_a_kill_at_any_instant_of_saving_leaves_the_last_complete_session_loadable(run, monkeypatch, n_files):
    session(run, 3, weight=1.0)
    saved = []
    true_save = utils._save

    def save_then_die(content, path):
        if len(saved) == n_files:
            path.write_bytes(b"half")
            raise KeyboardInterrupt
        saved.append(path)
        true_save(content, path)

    monkeypatch.setattr(utils, "_save", save_then_die)
    with pytest.raises(KeyboardInterrupt):
        session(run, 7, weight=2.0)
    monkeypatch.undo()
    assert utils.find_session(run)[1].name == "3"
    assert utils.load_model(run)[0].head.layer.bias.tolist() == [1, 1]
    session(run, 9)
    assert sorted(path.name for path in run.iterdir()) == ["9", "best", "config.json"]


def test_a_damaged_file_is_named(run):
    session(run, 3)
    path = run / "3" / "model.pth"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"model.pth is damaged"):
        utils.load_model(run)


def test_a_file_that_would_run_code_is_refused(run):
    class Evil:
        def __reduce__(self):
            return (os.system, ("touch /tmp/never",))

    session(run, 3)
    torch.save(Evil(), run / "3" / "model.pth")
    with pytest.raises(UserError, match="holds more than weights"):
        utils.load_model(run)


def test_a_folder_that_is_no_session_is_refused_with_an_example(tmp_path):
    with pytest.raises(UserError, match="is no session; name a run such as"):
        utils.find_session(tmp_path)


def test_a_run_stopped_before_its_first_session_says_so(run):
    with pytest.raises(UserError, match="without a complete session"):
        utils.find_session(run)


def test_a_missing_file_and_an_unreadable_config_are_named(run):
    session(run, 3)
    (run / "3" / "model.pth").unlink()
    with pytest.raises(UserError, match="model.pth is missing"):
        utils.load_pth(run / "3" / "model.pth")
    (run / "config.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        utils.load_config(run)


def test_a_split_is_found_again_and_other_images_are_refused(run):
    dataset = indexed_images()
    parts = split_images(dataset, "group", test_fraction=0.2)
    utils.write_json(run / "split.json", utils.name_split(parts, dataset))
    assert utils.load_split(run, dataset) == parts
    with pytest.raises(UserError, match="6 are missing, such as p09/54.png, and 0 are new"):
        utils.load_split(run, indexed_images(n_people=9))


def test_a_save_dir_that_is_a_file_or_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to --save_dir .*file: Not a directory"):
        utils.new_run(tmp_path / "file", "run")
    with pytest.raises(UserError, match="cannot write to --save_dir /proc/none"):
        utils.new_run(utils.Path("/proc/none"), "run")


# ------------------------------------------------------------------------------------------------------- rejig


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "stimuli"
    for person in range(5):
        for emotion in ("Ha", "Sa"):
            for step in range(4):
                path = folder / f"{person:02}" / f"{person:02}F_Ne_to_{emotion}_C{step:02}.JPG"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(f"{person}{emotion}{step}".encode())
    (folder / "template.png").write_bytes(b"neither")
    return folder


def arrange(photographs, out, apart=False, seed=1):
    return make_classification_dataset(photographs, out, apart=apart, val_fraction=0.2, seed=seed)


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_rejigging_leaves_the_originals_as_they_are_and_tells_of_every_file(photographs, tmp_path):
    before = contents(photographs)
    counts = arrange(photographs, tmp_path / "classify")
    assert contents(photographs) == before
    assert counts == {"train/happy": 16, "train/sad": 16, "val/happy": 4, "val/sad": 4, "left out": 1}
    with (tmp_path / "classify" / "rejig.csv").open() as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    assert rows.keys() == before.keys()
    for name, row in rows.items():
        if row["how"] != "left out":
            assert (tmp_path / "classify" / row["to"]).read_bytes() == before[name]


def test_rejigging_is_repeatable_and_follows_the_seed(photographs, tmp_path):
    arrange(photographs, tmp_path / "a")
    arrange(photographs, tmp_path / "b")
    arrange(photographs, tmp_path / "c", seed=2)
    assert contents(tmp_path / "a") == contents(tmp_path / "b") != contents(tmp_path / "c")


def test_rejigging_again_replaces_its_own_work_and_nothing_else(photographs, tmp_path):
    out = tmp_path / "classify"
    arrange(photographs, out)
    arrange(photographs, out, seed=2)
    (out / "train" / "mine.txt").write_text("notes")
    before = contents(out)
    with pytest.raises(UserError, match="mine.txt"):
        arrange(photographs, out)
    assert contents(out) == before


def test_rejigging_refuses_a_link_and_a_place_it_cannot_write(photographs, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "classify").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="classify"):
        arrange(photographs, tmp_path / "classify")
    with pytest.raises(UserError, match="cannot write /proc/classify"):
        arrange(photographs, utils.Path("/proc/classify"))


def test_a_full_disk_is_a_clear_error_and_earlier_sessions_stay(run, monkeypatch):
    session(run, 3, weight=1.0)

    def full(content, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(utils, "_save", full)
    with pytest.raises(UserError, match="cannot write session 7 to .*No space left.*earlier sessions are whole"):
        session(run, 7)
    assert utils.load_model(run)[0].head.layer.bias.tolist() == [1, 1]


def test_rejigging_keeps_whole_people_apart_when_asked(photographs, tmp_path):
    arrange(photographs, tmp_path / "classify", apart=True)
    people = {
        part: {path.name[:2] for path in (tmp_path / "classify" / part).rglob("*.JPG")} for part in ("train", "val")
    }
    assert len(people["val"]) == 1 and not people["val"] & people["train"]


def test_files_of_one_name_in_two_folders_are_both_kept(photographs, tmp_path):
    twin = photographs / "again" / "00F_Ne_to_Ha_C00.JPG"
    twin.parent.mkdir()
    twin.write_bytes(b"twin")
    counts = arrange(photographs, tmp_path / "classify")
    assert counts["train/happy"] + counts["val/happy"] == 21


def test_files_are_copied_where_they_cannot_be_linked(photographs, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError))
    arrange(photographs, tmp_path / "classify")
    with (tmp_path / "classify" / "rejig.csv").open() as file:
        assert {row["how"] for row in csv.DictReader(file)} == {"copy", "left out"}


def test_rejigging_needs_both_emotions(photographs, tmp_path):
    for path in photographs.rglob("*_Sa_*"):
        path.unlink()
    with pytest.raises(UserError, match="_Ha_ and _Sa_"):
        arrange(photographs, tmp_path / "classify")
