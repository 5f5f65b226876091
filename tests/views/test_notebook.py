"""Plotting/clustering.ipynb runs to its end and holds no computation of its own."""

import nbformat
from helpers import HERE
from nbclient import NotebookClient

NOTEBOOK = HERE / "Plotting" / "clustering.ipynb"


def cells(kind):
    return [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == kind]


def test_the_notebook_is_stored_without_outputs():
    nbformat.validate(nbformat.read(NOTEBOOK, as_version=4))
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells("code"))


def test_the_notebook_leaves_the_work_to_the_package():
    code = "\n".join(cell.source for cell in cells("code"))
    for word in ("umap", "matplotlib.pyplot", "imshow", "scatter", "PIL", "torch.load"):
        assert word not in code


def test_the_notebook_runs_to_its_end_in_its_folder(face_runs, monkeypatch):
    monkeypatch.setenv("NOODLE_RUN", str(face_runs / "ae"))
    monkeypatch.delenv("NOODLE_DATA", raising=False)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    outputs = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    pictures = {name for name, shown in outputs.items() if any("image/png" in part.get("data", {}) for part in shown)}
    assert pictures == {"stimuli", "pixels", "latents", "reconstructions", "moving"}
    texts = {name: "".join(part.get("text", "") for part in shown) for name, shown in outputs.items()}
    assert "metadata columns: person, emotion, step\n" in texts["open"]
    for name in ("pixels-number", "latents-number"):
        rows = [line.split() for line in texts[name].splitlines()[1:]]
        # 4 people, 2 emotions and 3 steps, each as often as the others
        assert {row[0]: row[-1] for row in rows} == {"person": "25%", "emotion": "50%", "step": "33%"}


def run_here(folder, monkeypatch, columns="[]") -> dict:
    """Run the notebook for a run in this process, where UMAP is compiled already; returns its variables."""
    monkeypatch.setenv("NOODLE_RUN", str(folder))
    monkeypatch.delenv("NOODLE_DATA", raising=False)
    monkeypatch.chdir(NOTEBOOK.parent)
    names: dict = {}
    for cell in cells("code"):
        code = cell.source.removeprefix("%matplotlib inline\n")
        exec(code.replace("COLUMNS = []", f"COLUMNS = {columns}"), names)
    return names


def test_the_notebook_skips_what_a_classifier_cannot_show(face_runs, monkeypatch, capsys):
    names = run_here(face_runs / "emotion", monkeypatch)
    out = capsys.readouterr().out
    assert out.count("neighbours agree on") == 2
    assert list(names["columns"]) == ["emotion", "person", "step"]
    assert "skipped: this run predicts probabilities of classes, so it makes no images" in out
    assert "skipped: emotion predicts probabilities of classes, so it makes no images; name a run" in out
    assert names["figure"] is None


def test_the_notebook_runs_on_images_of_any_names(face_runs, monkeypatch, capsys):
    names = run_here(face_runs / "plain", monkeypatch)
    assert list(names["columns"]) == ["folder"] and "skipped" not in capsys.readouterr().out
    assert names["walk"].way.titles[2] == "a" and names["figure"] is not None


def test_the_notebook_says_which_columns_it_skips(film_runs, monkeypatch, capsys):
    run_here(film_runs / "two", monkeypatch, columns=["x", "mood"])
    out = capsys.readouterr().out
    assert out.count("skipped") == 2 and out.count("skipped: it has 217 different values") == 2
