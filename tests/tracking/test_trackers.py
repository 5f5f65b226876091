"""Trackers: the contract of every tracker, the records of a run, and what the console prints."""

import json
import re
import sys
from threading import Event
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import raises_user_error

from neuro_noodle.runs.metrics import read_metrics
from neuro_noodle.tracking.base import TRACKERS, Spread, TrackedRun, Tracker, as_json
from neuro_noodle.tracking.console import format_epoch
from neuro_noodle.tracking.records import Records
from neuro_noodle.tracking.trackers import Trackers, require_ready

FILES = {"records": {"metrics.jsonl"}, "comet": {"comet/experiment_key"}, "console": set()}  # what each may write
SEVERAL = np.array([3.0, 1.0, 2.0])


@pytest.fixture
def tracked(tmp_path):
    """A run of 2 epochs with 3 steps each."""
    folder = tmp_path / "run"
    folder.mkdir()
    settings = tmp_path / "settings.json"
    settings.write_text('{"apikey": "secret"}')
    return TrackedRun(folder, settings, start_epoch=0, n_epochs=2, n_steps=3, log_every=1)


class Account:
    """A stand-in for Comet's experiment that keeps what it is sent; its values must be plain numbers or text."""

    alive = True

    def __init__(self):
        self.sent, self.ended = [], False

    def get_key(self):
        return "a1"

    def log_metrics(self, values, step, epoch):
        self.sent.append((json.loads(json.dumps(values)), step))

    def log_parameters(self, config):
        self.sent.append(json.loads(json.dumps(config)))

    def add_tag(self, tag):
        self.sent.append(tag)

    def log_other(self, name, value):
        self.sent.append((name, value))

    def log_image(self, pixels, name, step):
        self.sent.append(name)

    def log_confusion_matrix(self, matrix, labels, step):
        self.sent.append(json.loads(json.dumps(matrix)))

    def log_asset(self, path, file_name, copy_to_tmp):
        self.sent.append(file_name)

    def end(self):
        self.ended = True


@pytest.fixture
def account(monkeypatch):
    """Replace Comet's client, which would use the network."""
    account = Account()
    client = SimpleNamespace(ExperimentConfig=lambda **_: None, start=lambda **_: account)
    monkeypatch.setitem(sys.modules, "comet_ml", client)
    for variable in ("COMET_HTTP_SESSION_RETRY_TOTAL", "COMET_GET_OR_ADD_EXPERIMENT_RETRY_TOTAL", "COMET_TIMEOUT_HTTP",
                     "COMET_DISABLE_AUTO_LOGGING", "COMET_LOGGING_CONSOLE"):  # fmt: skip
        monkeypatch.setenv(variable, "0")
    return account


def metrics(n_repetitions):
    return {"train/loss": SEVERAL[:n_repetitions].copy(), "validation/mse": SEVERAL[:n_repetitions] / 2}


def follow(tracker, n_repetitions, tmp_path):
    """Track a training of 2 epochs with 3 steps each."""
    tracker.parameters({"flags": {"lr": 0.1}})
    for epoch in range(2):
        for step in range(3):
            tracker.progress(epoch + (step + 1) / 3)
        tracker.log(epoch, metrics(n_repetitions))
    tracker.image("reconstructions", np.zeros((4, 5), np.uint8), 1)
    tracker.image("reconstructions", np.zeros((4, 5, 3), np.uint8), 1)
    tracker.confusion(np.eye(2, dtype=int), ["a", "b"], 1)
    asset = tmp_path / "1" / "model.pth"
    asset.parent.mkdir()
    asset.write_bytes(b"weights")
    tracker.asset(asset)
    tracker.close()


# -------------------------------------------------------------------------------------------------------- contract


@pytest.mark.parametrize("n_repetitions", [1, 3])
@pytest.mark.parametrize("name", list(TRACKERS))
def test_a_tracker_writes_only_its_own_files(name, n_repetitions, tracked, tmp_path, account):
    TRACKERS[name].require_ready(tracked.settings)
    follow(TRACKERS.build(name, tracked), n_repetitions, tmp_path)
    written = {path.relative_to(tracked.folder).as_posix() for path in tracked.folder.rglob("*") if path.is_file()}
    assert written <= FILES.get(name, {path for path in written if path.startswith(f"{name}/")})
    assert all(b"secret" not in path.read_bytes() for path in tracked.folder.rglob("*") if path.is_file())
    assert (tmp_path / "1" / "model.pth").read_bytes() == b"weights"


@pytest.mark.parametrize("n_repetitions", [1, 3])
@pytest.mark.parametrize("name", list(TRACKERS))
def test_a_tracker_does_not_change_what_it_records(name, n_repetitions, tracked, account):
    tracker = TRACKERS.build(name, tracked)
    recorded, config, counts = metrics(n_repetitions), {"flags": {"lr": 0.1}}, np.eye(2, dtype=int)
    tracker.parameters(config)
    tracker.log(0, recorded)
    tracker.confusion(counts, ["a", "b"], 0)
    tracker.close()
    assert config == {"flags": {"lr": 0.1}}
    assert np.array_equal(counts, np.eye(2))
    assert recorded.keys() == metrics(n_repetitions).keys()
    assert all(np.array_equal(recorded[key], values) for key, values in metrics(n_repetitions).items())


@pytest.mark.parametrize("name", list(TRACKERS))
def test_a_tracker_can_be_closed_without_any_record(name, tracked, account):
    TRACKERS.build(name, tracked).close()


@pytest.mark.parametrize("name", list(TRACKERS))
def test_every_tracker_is_documented(name):
    assert issubclass(TRACKERS[name], Tracker)
    assert TRACKERS[name].__doc__.splitlines()[0].endswith(".")


def test_the_base_tracker_records_nothing(tracked, tmp_path, capsys):
    follow(Tracker(tracked), 3, tmp_path)
    assert list(tracked.folder.iterdir()) == []
    assert capsys.readouterr() == ("", "")


# --------------------------------------------------------------------------------------------------- several trackers


class Tape(Tracker):
    """Write the names of all calls on a tape."""

    def __init__(self, run, tape):
        super().__init__(run)
        self.tape = tape

    def parameters(self, config):
        self.tape.append("parameters")

    def progress(self, epochs):
        self.tape.append(f"progress {epochs:.2f}")

    def log(self, epoch, metrics):
        self.tape.append(f"log {epoch}")

    def image(self, name, pixels, epoch):
        self.tape.append(f"image {name}")

    def confusion(self, counts, classes, epoch):
        self.tape.append("confusion")

    def asset(self, path):
        self.tape.append(f"asset {path.name}")

    def close(self):
        self.tape.append("close")


def test_every_call_reaches_every_tracker_in_order(tracked, tmp_path):
    tapes = [], []
    with Trackers([], tracked) as trackers:
        trackers.each += [Tape(tracked, tape) for tape in tapes]
        trackers.parameters({})
        trackers.progress(0.5)
        trackers.log(0, metrics(1))
        trackers.image("a", np.zeros((1, 1), np.uint8), 0)
        trackers.confusion(np.eye(2, dtype=int), ["a", "b"], 0)
        trackers.asset(tmp_path / "model.pth")
    expected = ["parameters", "progress 0.50", "log 0", "image a", "confusion", "asset model.pth", "close"]
    assert tapes == (expected, expected)


def test_trackers_are_closed_after_an_error(tracked):
    tape = []
    with pytest.raises(ZeroDivisionError), Trackers([], tracked) as trackers:
        trackers.each.append(Tape(tracked, tape))
        trackers.log(0, {"train/loss": np.ones(1) * (1 // 0)})
    assert tape == ["close"]


def test_the_console_and_the_records_are_always_on(tracked, account):
    with Trackers(["comet", "comet", "console"], tracked) as trackers:
        assert [type(tracker).__name__ for tracker in trackers.each] == ["Console", "Records", "Background"]
    assert account.ended


class Failing(Tracker):
    """Fail at every metric."""

    is_online = True

    def log(self, epoch, metrics):
        raise ConnectionError("no route")


class Waiting(Tracker):
    """Wait for a server that never answers."""

    is_online = True

    def log(self, epoch, metrics):
        Event().wait()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Failing, "the tracker it stopped (ConnectionError: no route)"),
        (Waiting, "the tracker it has not sent everything"),
    ],
)
def test_an_online_tracker_neither_ends_nor_delays_a_run(kind, message, tracked, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(TRACKERS.entries, "it", kind)
    monkeypatch.setattr("neuro_noodle.tracking.trackers.PATIENCE_S", 0.1)
    with Trackers(["it"], tracked) as all_of_them:
        follow(all_of_them, 1, tmp_path)
    assert message in (note := capsys.readouterr().err) and "all metrics are in metrics.jsonl" in note
    assert len(read_metrics(tracked.folder)) == 2


def test_an_experiment_is_resumed_without_a_network(tracked, tmp_path, account, monkeypatch):
    """Comet's client then raises an error instead of returning an experiment that is not alive."""

    def start(*, api_key=None, online=True, **_):
        if online:
            raise ConnectionError
        return account

    monkeypatch.setattr(sys.modules["comet_ml"], "start", start)
    follow(TRACKERS.build("comet", tracked), 1, tmp_path)
    assert account.ended and account.sent


def test_a_tracker_that_fails_to_start_closes_the_others(tracked, monkeypatch):
    tape = []

    class OnTape(Tape):
        def __init__(self, run):
            super().__init__(run, tape)

    monkeypatch.setitem(TRACKERS.entries, "tape", OnTape)
    with raises_user_error("unknown tracker 'comt'; did you mean 'comet'?"):
        Trackers(["tape", "comt"], tracked)
    assert tape == ["close"]


def test_a_tracker_that_is_not_ready_is_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("COMET_API_KEY", raising=False)
    require_ready(["console", "records"], tmp_path / "settings.json")
    with raises_user_error("--comet needs a key"):
        require_ready(["console", "comet"], tmp_path / "settings.json")


# ---------------------------------------------------------------------------------------------------- repetitions


def test_a_record_is_summarised_over_repetitions():
    summary = as_json({"train/loss": SEVERAL})
    assert summary["train/loss"] == 2.0
    assert (summary["train/loss_p10"], summary["train/loss_p90"]) == pytest.approx((1.2, 2.8))
    assert summary["repetitions"] == {"train/loss": [3.0, 1.0, 2.0]}
    assert as_json({"train/loss": np.array([1.0])}) == {"train/loss": 1.0}
    assert Spread.of(np.array([1.0])) == Spread(1.0, 1.0, 1.0)


@pytest.mark.parametrize(("n_repetitions", "text"), [(1, "train loss 3  "), (3, "train loss 2 (1.2 to 2.8)  ")])
def test_the_console_prints_a_value_or_its_spread(n_repetitions, text, tracked, tmp_path, capsys):
    follow(TRACKERS.build("console", tracked), n_repetitions, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert all(text in line for line in lines)


@pytest.mark.parametrize(
    ("width", "words"),
    [
        (30, "epoch 1/9  train loss 1  validation loss 1  r 1"),
        (59, "epoch 1/9  train loss 1  validation loss 1  r 1  r_median 1"),
        (58, "epoch 1/9  train loss 1  validation loss 1  r 1"),
    ],
)
def test_a_printed_epoch_fits_on_a_line(width, words, monkeypatch):
    """Losses and the main metric are printed on any terminal."""
    monkeypatch.setenv("COLUMNS", str(width))
    names = ("train/loss", "validation/loss", "validation/r", "validation/r_median")
    assert format_epoch("epoch 1/9", dict.fromkeys(names, np.ones(1))) == words


def test_the_console_prints_every_few_epochs_and_the_last(tracked, capsys):
    console = TRACKERS.build("console", TrackedRun(tracked.folder, tracked.settings, 0, 5, 1, log_every=2))
    for epoch in range(5):
        console.log(epoch, metrics(1))
    console.close()
    printed = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert printed == ["epoch 2/5", "epoch 4/5", "epoch 5/5"]


@pytest.mark.parametrize("n_repetitions", [1, 3])
def test_comet_is_sent_plain_numbers(n_repetitions, tracked, tmp_path, account):
    follow(TRACKERS.build("comet", tracked), n_repetitions, tmp_path)
    logged = [sent for sent in account.sent if isinstance(sent, tuple)]
    assert [step for _, step in logged] == [1, 2]
    assert all(isinstance(value, float) for values, _ in logged for value in values.values())
    assert logged[0][0]["train/loss"] == np.median(SEVERAL[:n_repetitions])
    assert "1/model.pth" in account.sent


# ---------------------------------------------------------------------------------------------------- metrics.jsonl


@pytest.mark.parametrize("n_repetitions", [1, 3])
def test_the_records_are_what_as_json_returns(n_repetitions, tracked, tmp_path):
    follow(TRACKERS.build("records", tracked), n_repetitions, tmp_path)
    expected = as_json(metrics(n_repetitions))
    assert read_metrics(tracked.folder) == [{"epoch": 0} | expected, {"epoch": 1} | expected]


def test_a_record_is_on_disk_as_soon_as_it_is_logged(tracked):
    records = Records(tracked)
    records.log(0, metrics(1))
    assert [record["epoch"] for record in read_metrics(tracked.folder)] == [0]
    records.close()


def test_the_cut_last_line_of_a_killed_run_is_not_a_record(tracked):
    first = Records(tracked)
    for epoch in range(3):
        first.log(epoch, {"train/loss": np.array([1.0])})
    first.close()
    with (tracked.folder / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "tra')  # a kill in the middle of a line
    assert [record["epoch"] for record in read_metrics(tracked.folder)] == [0, 1, 2]


def test_a_run_without_records_has_none(tmp_path):
    assert read_metrics(tmp_path) == []


def test_numbers_that_are_not_finite_are_null_in_the_records(tracked):
    records = Records(tracked)
    records.log(0, {"a": np.array([np.nan])})
    records.log(1, {"a": np.array([1.0, np.inf])})
    records.close()
    path = tracked.folder / "metrics.jsonl"
    assert not {"NaN", "Infinity"} & set(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    first, second = read_metrics(tracked.folder)
    assert first["a"] is None and second["repetitions"]["a"] == [1.0, None]
