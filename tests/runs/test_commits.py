"""Files that belong together change together, whenever the process is killed or the disk is full."""

import errno
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from saved_runs import kills, new_saved_run, save

from neuro_noodle.choices import UserError
from neuro_noodle.runs import manifest
from neuro_noodle.runs.commits import commit_files, commit_session, recover
from neuro_noodle.runs.files import find_session, is_left, sessions
from neuro_noodle.runs.manifest import has_result, latest_manifest, read_checked
from neuro_noodle.runs.metrics import read_metrics, restore_metrics
from neuro_noodle.runs.sessions import load_model

METRICS = "".join(f'{{"epoch": {epoch}, "train/loss": 0.5}}\n' for epoch in range(-1, 4))


def contents(folder) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def bias(load_dir) -> float:
    return load_model(load_dir)[0].head.layer.bias[0].item()


@pytest.fixture
def run(tmp_path):
    return new_saved_run(tmp_path)


@pytest.mark.parametrize("keep_all", [False, True])
def test_a_kill_leaves_a_session_and_its_best_weights(run, tmp_path, keep_all):
    """The best weights are those of the latest session even before the run is recovered; then no trace is left."""
    clean = new_saved_run(tmp_path / "clean")
    for folder in (run, clean):
        save(folder, 0, weight=1.0, keep_all=keep_all)
        commit_files(folder, {"validation.csv": b"1", "result.json": b"{}"})
    epoch = 1

    def save_next():
        save(run, epoch, weight=epoch + 1.0, keep_all=keep_all)

    def after():
        nonlocal epoch
        latest = int(sessions(run)[-1].name)
        assert latest in (epoch - 1, epoch) and bias(run) - 100 == bias(run / str(latest)) == latest + 1
        assert bias(run / "best") == bias(run)
        recover(run, keep_all=keep_all)
        assert bias(run) == latest + 101 and has_result(run) == (run / "result.json").exists() == (latest == 0)
        epoch = latest + 1

    assert kills(save_next, after) > 15
    for one in range(1, epoch + 1):
        save(clean, one, weight=one + 1.0, keep_all=keep_all)
    assert contents(run) == contents(clean)


def test_a_kill_leaves_a_whole_result_or_none(run):
    save(run, 1)

    def after():
        if has_result(run):
            assert [read_checked(run / name) for name in ("result.json", "test.csv")] == [b"{}", b"2"]
        recover(run, keep_all=False)
        assert (run / "result.json").exists() == (run / "test.csv").exists() == has_result(run)
        assert not list(run.rglob(".*.part"))

    assert kills(lambda: commit_files(run, {"test.csv": b"2", "result.json": b"{}"}), after) > 3


def test_a_test_is_removed_once_its_weights_are_gone(run, capsys):
    save(run, 1, weight=1.0)
    for name, weights in (("test", "0" * 64), ("test-other", latest_manifest(run).run["best/model.pth"])):
        (run / name).mkdir()
        (run / name / "result.json").write_text(f'{{"weights": "{weights}"}}')
    recover(run, keep_all=False)
    assert not (run / "test").exists() and (run / "test-other").exists()
    assert "a test of earlier weights" in capsys.readouterr().err
    save(run, 2, weight=2.0)
    assert not (run / "test-other").exists()


def test_a_best_that_did_not_change_is_not_written_again(run):
    save(run, 1, weight=1.0)
    before = (run / "best" / "model.pth").stat()
    save(run, 2, weight=1.0)
    assert (run / "best" / "model.pth").stat() == before


@pytest.mark.parametrize("name", ["config.json", "1/model.pth", "1/optim.pth", "1/state.pth", "best/model.pth"])
def test_a_changed_bit_is_noticed(run, name):
    save(run, 1)
    content = bytearray((run / name).read_bytes())
    content[len(content) // 2] ^= 4
    (run / name).write_bytes(content)
    with pytest.raises(UserError, match=re.escape(f"{name} is damaged, or was changed by hand")):
        read_checked(run / name)


def test_a_manifest_that_leads_out_of_its_run_is_refused(run):
    save(run, 1)
    sealed = replace(latest_manifest(run), run={"../a": "0" * 64}).seal()
    (run / "1" / "manifest.json").write_bytes(sealed)
    with pytest.raises(UserError, match="manifest.json lists files of other folders"):
        latest_manifest(run)


@pytest.mark.parametrize(
    "wrong", [{"session": []}, {"run": {"a": 1}}, {"metrics": "x"}, {"n_metrics": 1.5}, {"epoch": "1"}, {"epoch": -1}]
)
def test_a_sealed_manifest_with_values_of_other_types_is_refused(run, wrong):
    save(run, 1)
    (run / "1" / "manifest.json").write_bytes(replace(latest_manifest(run), **wrong).seal())
    with pytest.raises(UserError, match="manifest.json is damaged, or was changed by hand"):
        latest_manifest(run)


def test_no_bit_of_a_manifest_can_change_without_notice(run):
    save(run, 1)
    path = run / "1" / "manifest.json"
    content, wanted = path.read_bytes(), latest_manifest(run)
    for index in range(len(content)):
        changed = bytearray(content)
        changed[index] ^= 1 << index % 7
        path.write_bytes(changed)
        try:
            assert latest_manifest(run) == wanted, index  # white space between values
        except UserError:
            continue


def test_a_renamed_session_is_not_believed(run):
    save(run, 1)
    (run / "1").rename(run / "7")
    with pytest.raises(UserError, match="7 holds epoch 1; rename the folder to that"):
        load_model(run)


def test_what_is_in_the_place_of_a_session_is_set_aside(run, capsys):
    save(run, 1)
    (run / "2").mkdir()
    (run / "2" / "notes.txt").write_text("mine", encoding="utf-8")
    save(run, 2)
    (aside,) = run.glob("2-*")
    assert (aside / "notes.txt").is_file() and f"it is now {aside.name}" in capsys.readouterr().err
    assert find_session(run)[1].name == "2"


def test_a_run_with_links_is_not_opened(run, tmp_path):
    """They could lead writing out of it."""
    save(run, 1)
    (run / "latents").symlink_to(tmp_path)
    for path in (run, run / "best", run / "1"):
        with pytest.raises(UserError, match=r"holds links \(latents\)"):
            find_session(path)


@pytest.mark.parametrize(
    "text", ['{"run": {"../a": "0f"}}', "{}", '{"n_metrics": -1}', '{"a": 1}', "[]", '{"run": 1}', '{"run": "a"}']
)
def test_a_manifest_that_is_none_is_refused(run, text):
    save(run, 1)
    (run / "1" / "manifest.json").write_text(text)
    with pytest.raises(UserError, match="manifest.json"):
        latest_manifest(run)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "No space left on device"),
        (errno.EFBIG, "File too large"),
        (errno.EROFS, "Read-only file system"),
    ],
)
def test_a_disk_that_cannot_be_written_is_named(run, monkeypatch, number, message):
    save(run, 3, weight=1.0)

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(UserError, match=f"cannot write .*: {message}; resume with: python main.py --load_dir"):
        save(run, 7)
    with pytest.raises(UserError, match=f"cannot write .*: {message}; resume with: python main.py --load_dir"):
        commit_files(run, {"result.json": b"{}"})
    assert bias(run) == 101


def test_a_file_is_read_while_another_session_is_saved(run, monkeypatch):
    save(run, 1)
    true = manifest.latest_manifest
    after = iter([lambda: save(run, 2, weight=2.0)])

    def read_then_save(run):
        found = true(run)
        next(after, lambda: None)()
        return found

    monkeypatch.setattr(manifest, "latest_manifest", read_then_save)
    assert bias(run) == 102
    monkeypatch.setattr(manifest, "sessions", lambda _: [object()])
    monkeypatch.setattr(manifest, "latest_manifest", lambda _: manifest.Manifest(run={"config.json": "0f"}))
    with pytest.raises(UserError, match="keeps changing, because .* is being trained"):
        read_checked(run / "config.json")


def test_a_full_disk_gets_its_space_back(run, monkeypatch):
    save(run, 3)
    before = contents(run)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    for write in (lambda: save(run, 7, weight=1.0), lambda: commit_files(run, {"result.json": b"{}"})):
        with pytest.raises(UserError, match="full"):
            write()
        assert contents(run) == before


def test_a_run_that_was_removed_is_named(run):
    (run / "config.json").rename(run.parent / "config.json")
    run.rmdir()
    with pytest.raises(UserError, match="was removed while it was being trained"):
        commit_session(run, 1, {}, {}, keep_all=False)


def test_metrics_of_later_epochs_are_dropped(run):
    (run / "metrics.jsonl").write_text(METRICS)
    save(run, 3)
    (run / "metrics.jsonl").write_text(METRICS + '{"epoch": 4, "train/loss": 1}\n{"epo')
    assert len(read_metrics(run)) == 6
    restore_metrics(run, run / "3")
    assert (run / "metrics.jsonl").read_text() == METRICS


@pytest.mark.parametrize(
    ("changed", "n_left"), [(METRICS.replace('"epoch": 1', "epoch 1"), 4), (METRICS.replace("0.5", "0.7"), 5), ("", 0)]
)
def test_damaged_metrics_are_reported_and_kept(run, capsys, changed, n_left):
    (run / "metrics.jsonl").write_text(METRICS)
    save(run, 3)
    (run / "metrics.jsonl").write_text(changed)
    assert len(read_metrics(run)) == n_left
    assert "is damaged, or was changed by hand" in capsys.readouterr().err
    restore_metrics(run, run / "3")
    assert f"{5 - n_left} of its lines are missing" in capsys.readouterr().err
    assert (run / "metrics.damaged-1.jsonl").read_text() == changed
    assert len((run / "metrics.jsonl").read_text().splitlines()) == n_left


def test_only_files_of_ended_processes_are_left():
    names = {f".a.{os.getpid()}.part": True, ".a.part": True, f".a.{2**22 + 1}.part": True, f".a.{9**30}.part": True}
    names |= {f".a.{os.getppid()}.part": False}
    assert {name: is_left(Path(name)) for name in names} == names
