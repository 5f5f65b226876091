"""Comet: what it is sent, with and without a network; and that no key is ever written or shown."""

import gzip
import json
import os
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from helpers import HERE, SMALL

from neuro_noodle.choices import UserError
from neuro_noodle.runs.metrics import read_metrics
from neuro_noodle.tracking.comet import read_account

KEY = "notAkey0butAsLongAsOne123"
CLOSED = "http://127.0.0.1:9/clientlib/"


def train(stimuli, tmp_path, recipe, words, **environment):
    """Run main.py in a process of its own, since Comet's client keeps global state."""
    base = f"--data_dir {stimuli} --save_dir {tmp_path / 'weights'} {SMALL[recipe]} --n_epochs 2 --comet {words}"
    return subprocess.run(
        [sys.executable, str(HERE / "main.py"), "--no-plot", *base.split()],
        env={key: value for key, value in os.environ.items() if not key.startswith("COMET")} | environment,
        capture_output=True,
        text=True,
        timeout=180,
    )


def files_with(text: str, folder) -> list:
    """Return the files below a folder that hold a text, also inside archives."""
    found = []
    for path in (path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                content += b"".join(archive.read(name) for name in archive.namelist())
        if text.encode() in content:
            found.append(path)
    return found


@pytest.fixture(scope="module")
def archive(stimuli, tmp_path_factory):
    """Train a classifier without a network; return its folder, the finished process and the messages for Comet."""
    folder = tmp_path_factory.mktemp("comet")
    words = "--namestr run --experiment faces2"
    done = train(stimuli, folder, "faces_emotion", words, COMET_API_KEY=KEY, COMET_URL_OVERRIDE=CLOSED)
    assert done.returncode == 0, done.stderr
    (path,) = (folder / "weights" / "run" / "comet").glob("*.zip")
    opened = zipfile.ZipFile(path)
    messages = [json.loads(line) for line in opened.read("messages.json").splitlines()]
    return folder, done, messages


def test_without_a_network_training_works_and_names_the_archive(archive):
    folder, done, _ = archive
    assert (folder / "weights" / "run" / "result.json").is_file()
    assert "comet upload" in done.stderr


def test_the_archive_holds_every_metric_of_every_epoch(archive):
    folder, _, messages = archive
    logged = {
        (m["payload"]["metric"]["metricName"], m["payload"]["metric"]["step"]): m["payload"]["metric"]["metricValue"]
        for m in messages
        if m["type"] == "metric_msg"
    }
    for record in read_metrics(folder / "weights" / "run"):
        for name in set(record) - {"epoch"}:
            assert float(logged[name, record["epoch"] + 1]) == pytest.approx(record[name])


def test_the_archive_holds_parameters_confusion_and_weights(archive):
    _, _, messages = archive
    parameters = {
        m["payload"].get("param", m["payload"].get("params"))["paramName"]
        for m in messages
        if m["type"] == "parameter_msg"
    }
    uploads = {
        (m["payload"]["upload_type"], m["payload"]["additional_params"].get("fileName"))
        for m in messages
        if m["type"] == "file_upload"
    }
    assert {"flags|lr", "flags|encoder", "flags|seed", "versions|torch"} <= parameters
    assert "confusion-matrix" in {kind for kind, _ in uploads}
    assert {"best/model.pth", "1/model.pth", "1/optim.pth", "1/state.pth"} <= {name for _, name in uploads}


def test_the_archive_names_the_experiment_of_the_run(archive):
    folder, _, messages = archive
    others = {m["payload"]["key"]: m["payload"]["value"] for m in messages if m["type"] == "log_other"}
    assert others["experiment"] == "faces2"
    (path,) = (folder / "weights" / "run" / "comet").glob("*.zip")
    assert json.loads(zipfile.ZipFile(path).read("experiment.json"))["tags"] == ["faces2"]


def test_no_image_is_sent_unless_asked_for(archive, stimuli, tmp_path):
    kinds = [m["payload"]["upload_type"] for m in archive[2] if m["type"] == "file_upload"]
    assert "visualization" not in kinds
    train(stimuli, tmp_path, "faces_ae", "--namestr run --log_images", COMET_API_KEY=KEY, COMET_URL_OVERRIDE=CLOSED)
    (path,) = (tmp_path / "weights" / "run" / "comet").glob("*.zip")
    assert b"visualization" in zipfile.ZipFile(path).read("messages.json")


def test_the_key_is_in_no_file_and_in_no_output(archive):
    folder, done, _ = archive
    assert KEY not in done.stdout + done.stderr
    assert files_with(KEY, folder) == []


def test_without_a_key_the_error_names_the_file_and_the_variable(stimuli, tmp_path):
    done = train(stimuli, tmp_path, "faces_ae", "--namestr run")
    assert done.returncode == 2
    assert "settings.json" in done.stderr and "COMET_API_KEY" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "weights").exists()


class FakeComet(BaseHTTPRequestHandler):
    """As much of Comet's server as its client needs; refuses the key if `refuse` is set."""

    protocol_version = "HTTP/1.1"
    refuse = False
    bodies: list[bytes] = []

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        FakeComet.bodies.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
        status, content = 200, {}
        if "isAlive" in self.path:
            content = {"msg": "ok", "version": "99.0.0"}
        elif "logger/add/run" in self.path or "logger/get/run" in self.path:
            content = {"runId": "r1", "project_id": "p1", "focusUrl": "http://127.0.0.1/", "featureToggles": []}
            if FakeComet.refuse:
                status, content = 400, {"sdk_error_code": 90212, "msg": "invalid key"}
        elif "status-report" in self.path:
            content = {"isAliveBeatDurationMillis": 10000, "gpuMonitorIntervalMillis": 60000}
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = answer

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    FakeComet.bodies = []
    running = ThreadingHTTPServer(("127.0.0.1", 0), FakeComet)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}/clientlib/"
    running.shutdown()


@pytest.mark.parametrize("refuse", [False, True])
def test_metrics_are_sent_unless_the_key_is_refused(refuse, server, stimuli, tmp_path):
    FakeComet.refuse = refuse
    done = train(stimuli, tmp_path, "faces_ae", "--namestr run", COMET_API_KEY=KEY, COMET_URL_OVERRIDE=server)
    assert done.returncode == 0, done.stderr
    assert KEY not in done.stdout + done.stderr
    assert files_with(KEY, tmp_path) == []
    assert ("comet upload" in done.stderr) is refuse
    assert any(b"validation/mse" in body for body in FakeComet.bodies) is not refuse


def test_a_settings_file_that_is_not_json_is_a_clear_error(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text("{'apikey': 1}")
    with pytest.raises(UserError, match="not valid JSON"):
        read_account(path)


def test_an_empty_key_in_the_settings_counts_as_no_key(tmp_path, monkeypatch):
    monkeypatch.delenv("COMET_API_KEY", raising=False)
    (tmp_path / "settings.json").write_text('{"username": "", "apikey": ""}')
    with pytest.raises(UserError, match="COMET_API_KEY"):
        read_account(tmp_path / "settings.json")


def test_settings_without_names_are_refused(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text('["secret"]')
    with pytest.raises(UserError, match='should look like {"username"'):
        read_account(path)


def test_the_key_can_be_in_the_settings_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("COMET_API_KEY", KEY)
    path = tmp_path / "settings.json"
    assert read_account(path) == {"apikey": KEY}
    path.write_text('{"username": "me", "apikey": ""}')
    assert read_account(path) == {"username": "me", "apikey": KEY}
    path.write_text('{"apikey": "other"}')
    assert read_account(path) == {"apikey": "other"}
