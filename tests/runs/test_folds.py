"""Folds: every image is tested once, the result is that of all, and finished folds are never lost."""

import shutil

import numpy as np
import pytest
from helpers import (
    SMALL,
    bytes_by_path,
    error_message,
    raises_user_error,
    result_of,
    rows_of,
    same,
    train_silently,
    weights_of,
)

from neuro_noodle.runs import folds, result
from neuro_noodle.runs.pooled import PooledFolds
from neuro_noodle.runs.result import read_result
from neuro_noodle.runs.run import open_run
from neuro_noodle.runs.task import Task
from neuro_noodle.views.over_training import find_snapshots
from neuro_noodle.views.report import write_report

THREE = "--folds 3 --split group --namestr cv --n_epochs 1"
CLASSIFY = "--objective classify --head linear --dataset folder size=26x20 label=emotion group=person"


@pytest.fixture(scope="module")
def trained(stimuli, tmp_path_factory):
    """The folder of three folds of a classifier."""
    save_dir = tmp_path_factory.mktemp("weights")
    train_silently(f"--data_dir {stimuli} --save_dir {save_dir} {SMALL['faces_ae']} {CLASSIFY} {THREE}")
    return save_dir / "cv"


@pytest.fixture
def copied(trained, tmp_path):
    """A copy of that folder, to change."""
    return shutil.copytree(trained, tmp_path / "weights" / "cv")


# ------------------------------------------------------------------------------------------------------ the result


def test_each_image_is_tested_once_by_its_fold(trained, stimuli):
    rows = rows_of(trained / "test.csv")
    assert [row["id"] for row in rows] == sorted(p.relative_to(stimuli).as_posix() for p in stimuli.rglob("*.JPG"))
    for k in "123":
        assert [row | {"fold": k} for row in rows_of(trained / f"fold{k}" / "test.csv")] == [
            row for row in rows if row["fold"] == k
        ]


def test_no_group_is_tested_in_two_folds(trained):
    folds_of = {(row["person"], row["fold"]) for row in rows_of(trained / "test.csv")}
    assert len(folds_of) == len({person for person, _ in folds_of}) == 4


def test_the_score_is_that_of_all_test_images_together(trained):
    found, rows = result_of(trained), rows_of(trained / "test.csv")
    assert found["test"]["value"] == np.mean([row["predicted"] == row["label"] for row in rows])
    assert (found["test"]["n"], found["test"]["n_groups"]) == (24, 4)
    each = [result_of(trained / f"fold{k}") for k in (1, 2, 3)]
    assert found["folds"]["values"] == [one["test"]["value"] for one in each]
    assert found["folds"]["leaks"] == [one["leaks"] for one in each]
    n_correct = sum(one["test"]["baselines"]["majority_class"] * one["test"]["n"] for one in each)
    assert found["test"]["baselines"]["majority_class"] == pytest.approx(n_correct / 24)


@pytest.mark.parametrize(
    ("words", "column"),
    [
        ("--objective reconstruct loss=mse noise=0.1", "mse"),
        ("--encoder pca --augment none", "mse"),
        ("--objective direction columns=step unit=deg --head linear", "error_deg"),
    ],
)
def test_an_error_is_the_mean_over_all_test_images(words, column, run_main, tmp_path):
    status, out, err = run_main("faces_ae", f"{words} --dataset folder size=26x20 {THREE} --folds 2")
    assert status == 0, err
    errors = [abs(float(row[column])) for row in rows_of(tmp_path / "weights" / "cv" / "test.csv")]
    test = result_of(tmp_path / "weights" / "cv")["test"]
    assert len(errors) == 24 and test["value"] == pytest.approx(np.mean(errors), rel=1e-5)
    assert f"2 folds, test {column} {test['value']:.4g}" in out


def test_r2_of_all_folds_is_over_all_images(run_main, tmp_path):
    words = "--objective regress columns=step --head linear --augment none --dataset folder size=26x20 --repetitions 2"
    status, out, err = run_main("faces_ae", f"{words} {THREE}")
    assert status == 0, err
    rows = rows_of(tmp_path / "weights" / "cv" / "test.csv")
    true, predicted = (np.array([float(row[name]) for row in rows]) for name in ("step", "step_predicted"))
    r2 = 1 - np.square(true - predicted).sum() / np.square(true - true.mean()).sum()
    assert result_of(tmp_path / "weights" / "cv")["test"]["value"] == pytest.approx(r2)
    assert "of 2 repetitions in each fold, the best on validation was tested" in out


def test_a_fold_is_the_run_that_the_flag_fold_gives(trained, run_main):
    run_main(
        "faces_ae", f"{CLASSIFY} --fold 2/3 --split group --namestr alone --n_epochs 1 --save_dir {trained.parent}"
    )
    assert same(weights_of(trained.parent / "alone" / "best"), weights_of(trained / "fold2" / "best"))
    assert rows_of(trained.parent / "alone" / "test.csv") == rows_of(trained / "fold2" / "test.csv")


def test_a_note_on_all_folds_is_printed_once():
    def task(*notes):
        return Task(None, None, {}, {}, None, notes)

    tasks = [task("of all", "of some"), task("of all"), task("of all", "of some")]
    assert folds.merge_notes(tasks) == ["of all", "fold 1, 3: of some"]
    assert folds.merge_notes(tasks[:1]) == ["of all", "of some"]


# -------------------------------------------------------------------------------------------- stopped, and continued


def test_an_interrupted_fold_continues_and_the_others_follow(trained, run_main, tmp_path, monkeypatch):
    judge, n_judged = result.judge_run, []

    def stop_in_fold_2(*arguments):
        n_judged.append(1)
        if len(n_judged) == 2:
            raise KeyboardInterrupt
        return judge(*arguments)

    monkeypatch.setattr(result, "judge_run", stop_in_fold_2)
    status, _, err = run_main("faces_ae", f"{CLASSIFY} {THREE}")
    folder = tmp_path / "weights" / "cv"
    assert status == 130 and err.endswith(f"stopped; resume with: python main.py --load_dir {folder}\n")
    before = bytes_by_path(folder / "fold1")
    assert not (folder / "fold3").exists() and not (folder / "result.json").exists()
    status, out, err = run_main("", f"--load_dir {folder}")
    assert status == 0, err
    assert "fold 1 of 3\nalready trained\n" in out and bytes_by_path(folder / "fold1") == before
    assert (folder / "test.csv").read_bytes() == (trained / "test.csv").read_bytes()
    assert result_of(folder)["test"] == result_of(trained)["test"]


def test_a_fold_killed_before_its_session_is_trained_anew(copied, run_main):
    before = (copied / "test.csv").read_bytes()
    shutil.rmtree(copied / "fold2" / "0")
    status, _, err = run_main("", f"--load_dir {copied}")
    assert status == 0 and "fold2 was stopped before its first session" in err
    assert (copied / "test.csv").read_bytes() == before


def test_all_folds_can_be_trained_for_longer(copied, run_main):
    status, out, _ = run_main("", f"--load_dir {copied} --n_epochs 2")
    assert status == 0 and out.count("already trained") == 0
    assert [(copied / f"fold{k}" / "1").is_dir() for k in (1, 2, 3)] == [True] * 3


def test_the_same_command_again_starts_another_folder(copied, run_main):
    before = bytes_by_path(copied)
    status, _, _ = run_main("faces_ae", f"{CLASSIFY} {THREE}")
    assert status == 0 and bytes_by_path(copied) == before
    assert rows_of(copied.parent / "cv-2" / "test.csv") == rows_of(copied / "test.csv")


def test_a_refused_command_leaves_no_folder(run_main, tmp_path):
    status, _, err = run_main("faces_ae", f"{THREE} --folds 30")
    assert status == 2 and "too few to split" in err
    assert list((tmp_path / "weights").iterdir()) == []


# ------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--load_dir CV --test", "--test judges a single run; name one of the 3 folds, such as --load_dir CV/fold1"),
        ("--load_dir CV --folds 4", "--folds cannot change when resuming"),
        ("--load_dir CV --fold 1/3", "leave out --fold"),
        ("--load_dir CV --lr 3", "--lr cannot change when resuming"),
        ("--load_dir CV --namestr other", "leave out --namestr and --save_dir"),
        ("--load_dir CV/fold2 --folds 3", "--load_dir CV/fold2 is a single one"),
        ("--load_dir CV/fold2 --n_epochs 3", "CV/fold2 is one of 3 folds, which are trained alike"),
        ("--load_encoder CV", "CV has 3 folds, each of which is a run; name one of them, such as CV/fold1"),
    ],
)
def test_what_folds_cannot_do_is_refused(words, message, trained, run_main):
    before = bytes_by_path(trained)
    assert message.replace("CV", str(trained)) in error_message(run_main, words.replace("CV", str(trained)))
    assert bytes_by_path(trained) == before


@pytest.mark.parametrize("read", [open_run, read_result, find_snapshots])
def test_what_needs_a_single_run_names_a_fold(read, trained):
    with raises_user_error(f"name one of them, such as {trained / 'fold1'}"):
        read(trained)
    assert open_run(trained / "fold1").parts["test"]


def test_images_with_a_test_part_need_another_split(run_main, stimuli, tmp_path):
    for part, people in {"train": ("01", "02"), "test": ("03", "04")}.items():
        for person in people:
            shutil.copytree(stimuli / person, tmp_path / "parts" / part / person)
    words = f"--data_dir {tmp_path / 'parts'} {THREE}"
    status, _, err = run_main("faces_ae", f"{words} --split auto")
    assert status == 2 and "the images come with a test part" in err
    assert run_main("faces_ae", f"{words} --split random")[0] == 0


def test_folds_that_were_split_differently_are_refused(copied, run_main):
    shutil.rmtree(copied / "fold2")
    shutil.copytree(copied / "fold1", copied / "fold2")
    assert "would be tested in two folds" in error_message(run_main, f"--load_dir {copied}")


def test_a_folder_of_folds_with_links_is_refused(copied, run_main, tmp_path):
    (copied / "fold3").rename(tmp_path / "elsewhere")
    (copied / "fold3").symlink_to(tmp_path / "elsewhere")
    assert "holds links (fold3)" in error_message(run_main, f"--load_dir {copied}")


def test_a_damaged_first_fold_is_no_folder_of_folds(copied, run_main):
    (copied / "fold1" / "config.json").write_text("{")
    assert "is not a session" in error_message(run_main, f"--load_dir {copied}")


# ---------------------------------------------------------------------------------------------------- the pictures


def test_pooled_folds_predict_as_the_table_says(trained):
    """In any order of the images."""
    folds = PooledFolds.of_folder(trained)
    rows = {row["id"]: row for row in rows_of(trained / "test.csv")}
    indices = folds.held_out[::-1]
    probabilities = folds.outputs_of(indices)
    predicted = [folds.dataset.classes[k] for k in probabilities.argmax(1)]
    assert predicted == [rows[folds.dataset.ids[i]]["predicted"] for i in indices]
    assert set(folds.part[indices]) == {"test"}


def test_a_report_of_folds_shows_the_mistakes_of_all(trained):
    names = {path.name for path in write_report(trained)}
    assert names >= {"confusion.png"} and (trained / "figures" / "confusion.png").exists()
