"""A run is trained by one process at a time."""

import json
import os
import platform

import psutil
import pytest
from helpers import raises_user_error

from neuro_noodle.choices import UserError
from neuro_noodle.runs import lock
from neuro_noodle.runs.lock import LOCK, OWNER, locked, require_idle

HOST, PARENT = platform.node(), psutil.Process(os.getppid())


def leave_owner(run, pid, host=HOST, created=0.0):
    owner = {"pid": pid, "host": host, "started": "yesterday", "created": created}
    (run / OWNER).write_text(json.dumps(owner))


def test_a_run_cannot_be_locked_twice(tmp_path):
    with locked(tmp_path):
        with raises_user_error(f"process {os.getpid()} on {platform.node()}"), locked(tmp_path):
            pass
        assert (tmp_path / OWNER).is_file()
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]
    with locked(tmp_path):
        pass


def test_a_lock_is_released_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    with locked(tmp_path):
        assert (tmp_path / OWNER).is_file()


def test_a_killed_process_on_this_host_is_reported(tmp_path, capsys):
    leave_owner(tmp_path, pid=77)
    with locked(tmp_path):
        assert "process 77" in (note := capsys.readouterr().err) and "was killed while it was training" in note


def test_a_process_on_another_host_is_explained(tmp_path):
    leave_owner(tmp_path, pid=77, host="elsewhere")
    with raises_user_error("if it no longer runs there, remove"), locked(tmp_path):
        pass
    (tmp_path / OWNER).unlink()
    with locked(tmp_path):
        pass


def test_without_locks_a_running_owner_is_refused(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise NotImplementedError

    monkeypatch.setattr(lock.FileLock, "acquire", refuse)
    leave_owner(tmp_path, PARENT.pid, created=PARENT.create_time())
    with raises_user_error("wait until it has finished"), locked(tmp_path):
        pass


def test_a_running_owner_is_refused_if_its_lock_was_removed(tmp_path):
    leave_owner(tmp_path, PARENT.pid, created=PARENT.create_time())
    with raises_user_error(f"process {PARENT.pid} on {HOST}"), locked(tmp_path):
        pass
    assert (tmp_path / OWNER).is_file()


@pytest.mark.parametrize("pid", [os.getpid(), os.getppid(), 2**22 + 1, 2**70, -1, "none", None], ids=range(7))
def test_a_later_process_with_the_same_number_is_no_owner(tmp_path, capsys, pid):
    leave_owner(tmp_path, pid=pid)
    with locked(tmp_path):
        assert "was killed" in capsys.readouterr().err


def test_a_folder_that_cannot_be_locked_is_refused(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(lock.FileLock, "acquire", refuse)
    with pytest.raises(UserError, match="cannot write to .*: Read-only file system"), locked(tmp_path):
        pass


def test_a_damaged_description_of_the_owner_is_named(tmp_path):
    (tmp_path / OWNER).write_text("{")
    with raises_user_error("cannot be read"), locked(tmp_path):
        pass


def test_a_run_in_training_is_refused_before_anything_is_read(tmp_path):
    require_idle(tmp_path)
    leave_owner(tmp_path, PARENT.pid, created=PARENT.create_time())
    with raises_user_error("is training"):
        require_idle(tmp_path)
