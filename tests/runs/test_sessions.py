"""Sessions: saved completely or not at all, and opened without running code."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers import indexed_images, split_images

from neuro_noodle.choices import UserError
from neuro_noodle.networks.base import build_model
from neuro_noodle.runs import sessions
from neuro_noodle.runs.files import atomic, find_session, load_config, new_run, write_csv, write_json
from neuro_noodle.runs.sessions import load_model, load_pth, load_split, split_ids


def session(run, epoch, weight=0.0, keep_all=False):
    model = build_model("fc hidden=3", "linear", (1, 2, 2), (2,), 2, "fp32")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.nn.init.constant_(model.head.layer.bias, weight)
    learning = SimpleNamespace(optimizer=optimizer, best_weights=model.state_dict())
    sessions.save_session(run, epoch, model, learning, {"epoch": epoch}, keep_all=keep_all)


@pytest.fixture
def run(tmp_path):
    folder = new_run(tmp_path, "run")
    made_of = {"encoder": "fc hidden=3", "head": "linear", "image_shape": [1, 2, 2], "output_shape": [2]}
    write_json(folder / "config.json", {"model": made_of | {"latent_dim": 2, "precision": "fp32"}})
    return folder


def test_a_run_is_never_overwritten(tmp_path):
    assert [new_run(tmp_path, "a").name for _ in range(3)] == ["a", "a-2", "a-3"]


def test_a_session_rebuilds_its_own_model(run):
    session(run, 4, weight=0.25)
    model, _ = load_model(str(run / "4"))
    assert model.head.layer.bias.tolist() == [0.25, 0.25]


@pytest.mark.parametrize(("keep_all", "left"), [(False, ["7"]), (True, ["3", "7"])])
def test_earlier_sessions_are_removed_unless_all_are_kept(run, keep_all, left):
    session(run, 3, keep_all=keep_all)
    session(run, 7, keep_all=keep_all)
    assert [path.name for path in sessions.sessions(run)] == left
    assert find_session(run) == (run, run / "7")


@pytest.mark.parametrize("n_files", [0, 1, 2])
def test_a_kill_while_saving_leaves_the_last_session(run, monkeypatch, n_files):
    session(run, 3, weight=1.0)
    saved = []
    true_save = sessions.save_pth

    def save_then_die(content, path):
        if len(saved) == n_files:
            path.write_bytes(b"half")
            raise KeyboardInterrupt
        saved.append(path)
        true_save(content, path)

    monkeypatch.setattr(sessions, "save_pth", save_then_die)
    with pytest.raises(KeyboardInterrupt):
        session(run, 7, weight=2.0)
    monkeypatch.undo()
    assert find_session(run)[1].name == "3"
    assert load_model(run)[0].head.layer.bias.tolist() == [1, 1]
    session(run, 9)
    assert sorted(path.name for path in run.iterdir()) == ["9", "best", "config.json"]


def test_a_damaged_file_is_named(run):
    session(run, 3)
    path = run / "3" / "model.pth"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"model.pth is damaged"):
        load_model(run / "3")


def test_a_file_that_would_run_code_is_refused(run):
    class Evil:
        def __reduce__(self):
            return (os.system, ("touch /tmp/never",))

    session(run, 3)
    torch.save(Evil(), run / "3" / "model.pth")
    with pytest.raises(UserError, match="or holds more than weights"):
        load_model(run / "3")


def test_a_folder_without_a_session_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not a session; name a run such as"):
        find_session(tmp_path)


def test_a_run_without_a_session_is_refused(run):
    with pytest.raises(UserError, match="has no complete session"):
        find_session(run)


def test_missing_weights_and_a_damaged_config_are_named(run):
    session(run, 3)
    (run / "3" / "model.pth").unlink()
    with pytest.raises(UserError, match="model.pth is missing"):
        load_pth(run / "3" / "model.pth")
    (run / "config.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        load_config(run)


def test_a_split_is_restored_and_other_images_are_refused(run):
    dataset = indexed_images()
    parts = split_images(dataset, "group", test_fraction=0.2)
    write_json(run / "split.json", split_ids(parts, dataset))
    assert load_split(run, dataset) == parts
    with pytest.raises(UserError, match="6 are missing \\(for example p09/54.png\\), 0 are new"):
        load_split(run, indexed_images(n_people=9))


def test_a_save_dir_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to --save_dir .*file: Not a directory"):
        new_run(tmp_path / "file", "run")
    with pytest.raises(UserError, match="cannot write to --save_dir /proc/none"):
        new_run(Path("/proc/none"), "run")


def test_a_full_disk_is_an_error_and_loses_no_session(run, monkeypatch):
    session(run, 3, weight=1.0)

    def full(content, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sessions, "save_pth", full)
    with pytest.raises(UserError, match="cannot write session 7 to .*No space left.*earlier sessions are complete"):
        session(run, 7)
    assert load_model(run)[0].head.layer.bias.tolist() == [1, 1]


def test_other_pixels_of_the_same_number_are_refused(run):
    dataset = indexed_images()
    write_json(run / "split.json", split_ids(split_images(dataset), dataset))
    write_json(run / "config.json", {"digest": "of other pixels"})
    with pytest.raises(UserError, match="same number, other pixels"):
        load_split(run, dataset)


@pytest.mark.parametrize("write", [write_json, write_csv])
def test_a_file_is_replaced_completely_or_not_at_all(write, tmp_path):
    path = tmp_path / "file"
    write(path, {"a": [1, 2]})
    before = path.read_bytes()
    with pytest.raises((TypeError, ValueError)):
        write(path, {"a": [1, 2], "b": {object()}})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_no_scratch_file(tmp_path):
    with pytest.raises(KeyboardInterrupt), atomic(tmp_path / "file") as scratch:
        scratch.write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
