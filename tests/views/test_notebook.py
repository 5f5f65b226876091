"""Plotting/clustering.ipynb runs to its end and holds no computation of its own."""

import nbformat
from helpers import HERE
from nbclient import NotebookClient
from page_files import PageFile

NOTEBOOK = HERE / "Plotting" / "clustering.ipynb"


def cells(kind):
    return [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == kind]


def test_the_notebook_is_stored_without_outputs():
    nbformat.validate(nbformat.read(NOTEBOOK, as_version=4))
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells("code"))


def test_the_notebook_leaves_the_work_to_the_package():
    code = "\n".join(cell.source for cell in cells("code"))
    for word in ("UMAP(", "matplotlib.pyplot", "imshow", "scatter", "PIL", "torch.load"):
        assert word not in code


def test_the_notebook_runs_to_its_end_in_its_folder(flat_run, monkeypatch):
    monkeypatch.setenv("NOODLE_RUN", str(flat_run))
    monkeypatch.delenv("NOODLE_DATA", raising=False)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    outputs = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    pictures = {name for name, shown in outputs.items() if any("image/png" in part.get("data", {}) for part in shown)}
    assert pictures == {"stimuli", "maps", "outcomes", "decodings", "training", "moving"}
    assert outputs["explorer"][-1]["data"]["text/html"].startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    texts = {name: "".join(part.get("text", "") for part in shown) for name, shown in outputs.items()}
    assert "metadata columns: folder, person, emotion, step" in texts["open"]
    assert "We used 24 grey images of 26 x 20 pixels" in " ".join(texts["result"].split())


def run_here(folder, monkeypatch, columns="[]") -> dict:
    """Run the notebook for a run in this process, with a map that is fast; returns its variables."""
    monkeypatch.setenv("NOODLE_RUN", str(folder))
    monkeypatch.delenv("NOODLE_DATA", raising=False)
    monkeypatch.chdir(NOTEBOOK.parent)
    names: dict = {"display": lambda shown: None}
    for cell in cells("code"):
        code = cell.source.removeprefix("%matplotlib inline\n").replace('MAP = "umap"', 'MAP = "pca"')
        exec(code.replace("COLUMNS = []", f"COLUMNS = {columns}"), names)
    return names


def test_the_notebook_skips_what_a_classifier_cannot_show(face_runs, monkeypatch, capsys):
    names = run_here(face_runs / "emotion", monkeypatch)
    out = capsys.readouterr().out
    assert "skipped: this run predicts probabilities of classes, so there is nothing to show here" in out
    assert "skipped: emotion predicts probabilities of classes, so it makes no images; name a run" in out
    assert "has no snapshots of its latents; train with --latents_every 1" in out
    assert names["figure"] is None


def test_the_notebook_runs_on_images_of_any_names(face_runs, monkeypatch, capsys):
    names = run_here(face_runs / "plain", monkeypatch)
    assert capsys.readouterr().out.count("skipped") == 1  # no snapshots
    assert names["walk"].way.titles[2] == "a" and names["figure"] is not None


def test_the_notebook_shows_the_columns_asked_for(film_runs, monkeypatch, capsys):
    names = run_here(film_runs / "two", monkeypatch, columns=["x", "mood"])
    manifest = PageFile(names["explorer"].text).manifest
    assert [column["name"] for column in manifest["columns"]][:2] == ["x", "mood"]
    assert capsys.readouterr().out.count("skipped") == 1  # no snapshots
