"""Plotting/table.py: the results of several runs next to each other."""

import csv
import shutil

import pytest
from helpers import SMALL, raises_user_error, result_of, train_silently, write_config
from pictures import PNG, check_drawn, texts

from neuro_noodle.runs.files import write_json
from neuro_noodle.views import table
from Plotting import table as command


@pytest.fixture(scope="module")
def runs(stimuli, tmp_path_factory):
    """A folder of two autoencoders that differ in the size of their hidden layer, each with test images."""
    folder = tmp_path_factory.mktemp("table")
    base = f"--data_dir {stimuli} --save_dir {folder} {SMALL['faces_ae']} --test_fraction 0.25"
    train_silently(f"{base} --n_epochs 1 --namestr wide")
    train_silently(f"{base} --n_epochs 2 --namestr narrow --encoder fc hidden=16 --log_every 2")
    return folder


def test_the_table_has_a_row_per_run_and_what_differs(runs, tmp_path, capsys):
    files = [tmp_path / "new" / name for name in ("table.csv", "table.png")]
    words = [str(runs / "wide"), str(runs / "narrow"), "--out", str(files[0]), "--figure", str(files[1])]
    assert command.main(words) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    heading, wide, narrow, *_ = (line.split() for line in printed.out.splitlines())
    assert heading[:4] == ["run", "encoder", "hidden", "test"] and "pca" in heading
    assert (wide[:2], narrow[:2]) == (["wide", "32"], ["narrow", "16"])
    with files[0].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        result = result_of(runs / row["run"])["test"]
        assert float(row["test mse"]) == result["value"] and float(row["pca"]) == result["baselines"]["pca"]
    assert [row["n_epochs"] for row in rows] == ["1", "2"]
    assert files[1].read_bytes().startswith(PNG)


def test_the_picture_names_runs_flags_and_baselines(runs):
    found = table.read_runs([runs / "wide", runs / "narrow"])
    figure = table.plot_table(found)
    check_drawn(figure)
    assert {"test mse", "baseline: pca", "wide\nencoder hidden 32", "narrow\nencoder hidden 16"} <= set(texts(figure))


def test_runs_without_a_test_part_have_validation_scores(face_runs, runs, capsys):
    words = [str(face_runs / "ae"), str(runs / "wide")]
    assert command.main(words) == 0
    printed = capsys.readouterr()
    assert "validation mse" in printed.out and "no interval: these images chose the epoch: ae, wide" in printed.out
    assert printed.err == "note: the runs have different validation images\n"


def test_runs_of_the_same_name_are_named_by_their_paths(runs, tmp_path):
    both = [runs / "wide", tmp_path / "wide"]
    shutil.copytree(*both)
    assert table.read_runs(both).names == [str(run) for run in both]


def test_other_metrics_and_unfinished_runs_are_refused(face_runs, tmp_path, capsys):
    assert command.main([str(face_runs / "ae"), str(face_runs / "emotion")]) == 2
    assert f"{face_runs / 'ae'} has mse, {face_runs / 'emotion'} has accuracy" in capsys.readouterr().err
    assert command.main([str(tmp_path)]) == 2
    assert "is not a finished run" in capsys.readouterr().err


TEST = {"value": 0.5, "interval": [0.4, 0.6], "undefined": {}, "n": 9, "baselines": {"pca": 0.7}}
FOLDS = {"metric": "mse", "test": TEST, "folds": {"best_epochs": [1, 4]}, "seconds": 3.0}


@pytest.fixture
def folds(tmp_path):
    """The folder of two folds, all of which are trained."""
    (tmp_path / "fold1").mkdir()
    write_config(tmp_path / "fold1", flags={"folds": 2, "fold": "1/2"})
    write_json(tmp_path / "result.json", FOLDS)
    (tmp_path / "test.csv").write_text("id\na\nb\n", encoding="utf-8")
    return tmp_path


def test_folds_are_one_row(folds):
    columns = table.read_runs([folds]).columns()
    assert columns["interval"] == ["95 % interval, all 2 folds"] and columns["best_epoch"] == ["2 5"]
    assert (columns["test mse"], columns["low"], columns["high"]) == ([0.5], [0.4], [0.6])


def test_folds_need_all_of_them_and_runs_with_a_test(folds, face_runs):
    with raises_user_error(f"{folds} has only test results, but other runs have none"):
        table.read_runs([folds, face_runs / "ae"])
    (folds / "result.json").unlink()
    with raises_user_error("has 2 folds but no result.json"):
        table.read_runs([folds])


@pytest.mark.parametrize(("median", "ends"), [(0.5, (0.4, 0.6)), (None, None)])
def test_repetitions_have_their_median_and_percentiles(median, ends):
    low, high = ends or (None, None)
    spread = {"mse": {"median": median, "p10": low, "p90": high}}
    record = {"metric": "mse", "test": TEST, "repetitions": {"seeds": [1, 2], "test_spread": spread}}
    score = table._score(record, "test", 0)
    assert (score.value, score.ends) == (median, ends) and "of 2 repetitions" in score.what


def test_options_of_different_choices_are_not_compared():
    flags = [{"encoder": "pca", "lr": 1}, {"encoder": "fc hidden=3", "lr": 1}]
    assert table._differences(flags) == {"encoder": ["pca", "fc"]}


def test_at_most_six_differing_flags_are_printed():
    flags = {f"flag{i}": ["a"] for i in range(8)}
    score = table.Score(0.5, None, "no interval", 9, {})
    lines = table.format_table(table.TableOfRuns("test mse", ["run"], flags, [score], {}, []))
    assert "flag5" in lines[0] and "flag6" not in lines[0]
    assert lines[-1] == "they also differ in flag6, flag7 (--out writes all)"


def test_an_unknown_flag_of_a_plotting_command_has_a_hint(capsys):
    assert command.main(["weights/a", "--figrue", "a.png"]) == 2
    assert "unknown flag '--figrue', did you mean '--figure'?" in capsys.readouterr().err
