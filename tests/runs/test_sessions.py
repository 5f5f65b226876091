"""Sessions: saved completely or not at all, and opened without running code."""

import os
from pathlib import Path

import pytest
import torch
from saved_runs import new_saved_run, save

from neuro_noodle.choices import UserError
from neuro_noodle.runs import sessions
from neuro_noodle.runs.commits import commit_files
from neuro_noodle.runs.config import load_config
from neuro_noodle.runs.files import atomic, find_session, new_run, write_csv, write_json
from neuro_noodle.runs.sessions import load_model, load_pth, pth_bytes


@pytest.fixture
def run(tmp_path):
    return new_saved_run(tmp_path)


def test_a_run_is_never_overwritten(tmp_path):
    assert [new_run(tmp_path, "a").name for _ in range(3)] == ["a", "a-2", "a-3"]


def test_a_session_rebuilds_its_own_model(run):
    save(run, 4, weight=0.25)
    model, _ = load_model(str(run / "4"))
    assert model.head.layer.bias.tolist() == [0.25, 0.25]


@pytest.mark.parametrize(("keep_all", "left"), [(False, ["7"]), (True, ["3", "7"])])
def test_earlier_sessions_are_removed_unless_all_are_kept(run, keep_all, left):
    save(run, 3, keep_all=keep_all)
    save(run, 7, keep_all=keep_all)
    assert [path.name for path in sessions.sessions(run)] == left
    assert find_session(run) == (run, run / "7")


def test_a_damaged_file_is_named(run):
    save(run, 3)
    path = run / "3" / "model.pth"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match="model.pth is damaged, or was changed by hand"):
        load_model(run / "3")


def test_a_file_that_would_run_code_is_refused(run):
    """Even if its sha256 is listed; and without torch's advice to set weights_only to False."""

    class Evil:
        def __reduce__(self):
            return (os.system, ("touch /tmp/never",))

    save(run, 3)
    commit_files(run, {"best/model.pth": pth_bytes(Evil())})
    with pytest.raises(UserError, match="holds more than weights, and is not opened") as refused:
        load_model(run)
    assert "weights_only" not in str(refused.value)


def test_weights_of_another_network_are_refused(run):
    save(run, 3)
    commit_files(run, {"best/model.pth": pth_bytes({"a": torch.zeros(2)})})
    with pytest.raises(UserError, match="best does not fit its config.json, or is of another version"):
        load_model(run)


def test_damaged_tensors_are_an_error(run):
    save(run, 3)
    commit_files(run, {"best/model.pth": b"PK\3\4 and nothing more"})
    with pytest.raises(UserError, match="best/model.pth is damaged \\(PytorchStreamReader failed"):
        load_model(run)


def test_a_folder_without_a_session_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not a session; name a run such as"):
        find_session(tmp_path)


def test_a_run_without_a_session_is_refused(run):
    with pytest.raises(UserError, match="has no complete session"):
        find_session(run)


def test_missing_weights_and_a_damaged_config_are_named(run):
    save(run, 3)
    (run / "3" / "model.pth").unlink()
    with pytest.raises(UserError, match="model.pth is missing"):
        load_pth(run / "3" / "model.pth")
    (run / "config.json").write_text("{")
    with pytest.raises(UserError, match="config.json is damaged, or was changed by hand"):
        load_config(run)


def test_a_save_dir_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to --save_dir .*file: Not a directory"):
        new_run(tmp_path / "file", "run")
    with pytest.raises(UserError, match="cannot write to --save_dir /proc/none"):
        new_run(Path("/proc/none"), "run")


@pytest.mark.parametrize("write", [write_json, write_csv])
def test_a_file_is_replaced_completely_or_not_at_all(write, tmp_path):
    path = tmp_path / "file"
    write(path, {"a": [1, 2]})
    before = path.read_bytes()
    with pytest.raises((TypeError, ValueError)):
        write(path, {"a": [1, 2], "b": {object()}})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_files_are_written_where_folders_cannot_be_flushed(tmp_path, monkeypatch):
    """As on Windows."""
    monkeypatch.delattr(os, "O_DIRECTORY")
    write_json(tmp_path / "file", {"a": 1})
    assert (tmp_path / "file").read_text(encoding="utf-8") == '{\n  "a": 1\n}\n'


def test_an_interrupted_write_leaves_no_scratch_file(tmp_path):
    with pytest.raises(KeyboardInterrupt), atomic(tmp_path / "file") as scratch:
        scratch.write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
