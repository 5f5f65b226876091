"""What main.py leaves at its end: figures, a page, and a line about them; errors in drawing never cost the result."""

import pytest
from helpers import SMALL, result_of

from neuro_noodle.choices import UserError
from neuro_noodle.runs import run as runs
from neuro_noodle.views import ending, report

FACES = {"latent_map.png", "traversals.png", "augmented.png", "curves.png", "reconstructions.png"}


@pytest.fixture
def folder(tmp_path):
    """Where the tests train a run."""
    return tmp_path / "weights" / "run"


def names(folder) -> set[str]:
    """Return the names of the figures of a run."""
    return {path.name for path in (folder / "figures").glob("*")}


def test_a_run_ends_with_its_figures_and_one_line(run_main, folder, monkeypatch):
    monkeypatch.setattr(runs, "open_run", lambda *_: pytest.fail("the images are decoded again"))
    status, out, err = run_main("faces_ae", "--namestr run --n_epochs 1 --plot")
    assert status == 0 and names(folder) == FACES and (folder / "report.html").is_file()
    assert out.splitlines()[-1] == f"figures: {folder}/figures (report.html is in {folder})"
    assert "draw" not in err


def test_no_plot_leaves_no_figures(run_main, folder):
    status, out, _ = run_main("faces_ae", "--namestr run --n_epochs 1")
    assert status == 0 and "figures: " not in out and not (folder / "figures").exists()
    assert not (folder / "report.html").exists()


def test_a_resumed_run_draws_its_figures_again(run_main, folder):
    run_main("faces_ae", "--namestr run --n_epochs 1 --no-plot")
    status, out, _ = run_main("", f"--load_dir {folder} --n_epochs 2 --plot")
    assert status == 0 and names(folder) == FACES and "figures: " in out
    assert "for 2 epochs" in (folder / "report.html").read_text()


def test_a_page_about_earlier_weights_is_removed(run_main, folder):
    run_main("faces_ae", "--namestr run --n_epochs 1 --plot")
    assert run_main("", f"--load_dir {folder}")[0] == 2 and (folder / "report.html").is_file()  # nothing left to train
    run_main("", f"--load_dir {folder} --n_epochs 2")
    assert (folder / "result.json").is_file() and not (folder / "report.html").exists()


@pytest.mark.parametrize("error", [UserError("no space"), ValueError("no space\nat all"), MemoryError("no space")])
def test_an_error_in_drawing_is_a_note(error, run_main, folder, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(report, "plot_learning_curves", fail)
    status, out, err = run_main("faces_ae", "--namestr run --n_epochs 1 --plot")
    assert status == 0 and result_of(folder)["best_epoch"] <= 0 and "figures: " not in out
    again = f"python Plotting/report.py {folder}"
    assert err.endswith(f"note: the figures could not be drawn (no space); try again: {again}\n")


def test_print_run_still_prints_only_the_folder(run_main, folder):
    _, out, err = run_main("faces_ae", "--namestr run --n_epochs 1 --plot --print_run")
    assert out == f"{folder}\n" and f"figures: {folder}/figures" in err


def test_all_folds_end_with_one_set_of_figures(run_main, folder):
    status, out, err = run_main("faces_emotion", "--namestr run --n_epochs 1 --folds 2 --val_fraction 0.4 --plot")
    assert status == 0, err
    assert "confusion.png" in names(folder) and out.count("figures: ") == 1
    assert not any(names(folder / f"fold{k}") for k in (1, 2))
    page = (folder / "report.html").read_text()
    assert "into 2 folds" in page and f"python Plotting/report.py {folder / 'fold1'}" in page


def test_repetitions_end_with_figures_of_the_best(run_main, folder):
    status, _, _ = run_main("faces_ae", f"--namestr run --n_epochs 1 --repetitions 2 --plot {SMALL['faces_ae']}")
    assert status == 0 and names(folder) == FACES


def test_followers_of_torchrun_draw_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(ending, "is_follower", lambda: True)
    ending.leave_report(tmp_path / "missing", [])
    assert not (tmp_path / "missing").exists()
