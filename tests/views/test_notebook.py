"""Plotting/clustering.ipynb runs to its end and holds no computation of its own."""

import nbformat
import pytest
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
    assert "metadata columns: folder, emotion, step\n" in texts["open"]
    for name in ("pixels-number", "latents-number"):
        rows = [line.split() for line in texts[name].splitlines()[1:]]
        # 4 people, 2 emotions and 3 steps, each as often as the others
        assert {row[0]: row[-1] for row in rows} == {"folder": "25%", "emotion": "50%", "step": "33%"}


@pytest.mark.parametrize("name", ["plain", "emotion"])
def test_the_notebook_skips_what_a_run_cannot_show(name, face_runs, monkeypatch, capsys):
    """Images without metadata have no emotion to change, and a classifier makes no images."""
    monkeypatch.setenv("NOODLE_RUN", str(face_runs / name))
    monkeypatch.delenv("NOODLE_DATA", raising=False)
    monkeypatch.chdir(NOTEBOOK.parent)
    names = {}
    for cell in cells("code"):  # in this process, where UMAP is compiled already
        exec(cell.source.removeprefix("%matplotlib inline\n"), names)
    assert capsys.readouterr().out.count("neighbours agree on") == 2
    assert list(names["columns"]) == (["folder"] if name == "plain" else ["folder", "emotion", "step"])
    assert names["makes_images"] == (name == "plain") and not names["can_move"]
    assert ("figure" in names) == names["makes_images"]
