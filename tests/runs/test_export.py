"""The export of a run: onnxruntime computes what the run predicts, and export.json says what goes in and comes out."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from helpers import HERE, SMALL_CONV, bytes_by_path, raises_user_error, result_of, same, train_silently
from safetensors.torch import load_file

from neuro_noodle.networks.activations import ACTIVATIONS
from neuro_noodle.networks.base import ENCODERS, build_model
from neuro_noodle.runs import export, onnx_parts
from neuro_noodle.runs.export import export_run
from neuro_noodle.runs.manifest import sha256
from neuro_noodle.runs.run import Run, open_run
from Plotting import export as export_command

NAMES = ["faces_ae", "conv_ae", "pca_xy", "faces_emotion_scratch", "arena_angle", "v1_hsm"]
each_run = pytest.mark.parametrize("name", NAMES)
TOLERANCE = 1e-5  # relative to the largest number, or to 1


@dataclass
class Exported:
    """A run, and the folder of its export."""

    run: Run
    folder: Path

    @property
    def about(self) -> dict:
        return json.loads((self.folder / "export.json").read_text())

    def compute(self, part: str, values: torch.Tensor | np.ndarray) -> dict[str, np.ndarray]:
        """Return the outputs of onnxruntime by name."""
        session = onnxruntime.InferenceSession(str(self.folder / f"{part}.onnx"), providers=["CPUExecutionProvider"])
        (source,), outputs = session.get_inputs(), [output.name for output in session.get_outputs()]
        return dict(zip(outputs, session.run(None, {source.name: np.asarray(values)}), strict=True))


def reopened(run: Run) -> Run:
    """Return a run opened again, in float32 and on its own images."""
    run = open_run(run.folder)
    run.model.precision = "fp32"
    return run


@pytest.fixture(scope="module")
def trained(small_runs, stimuli, arena, tmp_path_factory):
    """Return a function from the name of a run to its folder."""
    folder = tmp_path_factory.mktemp("exported")
    train_silently(
        f"--data_dir {stimuli} --save_dir {folder} --namestr conv_ae --dataset folder size=26x20 {SMALL_CONV} "
        "--latent_dim 4 --batch_size 8 --n_epochs 1 --objective reconstruct loss=mse --precision bf16 --augment none"
    )
    film = f"--data_dir {arena} --save_dir {folder} --n_epochs 1 --batch_size 16"
    numbers = "--objective regress columns=x,y unit=px --encoder pca --head linear --augment none"
    train_silently(f"{film} --recipe arena_pca {numbers} --latent_dim 4 --namestr pca_xy")
    return lambda name: next(path for path in (folder / name, small_runs / name) if path.exists())


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """Return a function from the name of a run to its export, which is made once."""
    made = {}

    def make(name: str) -> Exported:
        if name not in made:
            run = open_run(trained(name))
            made[name] = Exported(run, tmp_path_factory.mktemp("export") / name)
            export_run(run, made[name].folder)
        return made[name]

    return make


@pytest.fixture
def quick(exported, monkeypatch):
    """Return the run faces_ae, of which the ONNX files are copies of those that were made before."""
    one = exported("faces_ae")
    sources = {("latent",): "encoder", ("images",): "decoder"}
    monkeypatch.setattr(export, "to_onnx", lambda part: (one.folder / f"{sources[part.outputs]}.onnx").read_bytes())
    return open_run(one.run.folder)


def with_umap(run: Run) -> Run:
    """Return the run with a UMAP, not fitted, in place of its encoder, and with random latents of its images."""
    latent_dim = run.model.encoder.latent_dim
    run.model.encoder = ENCODERS.build("umap", run.dataset.image_shape, latent_dim)
    run.model.precomputed = True
    return replace(run, precomputed=torch.randn(len(run.dataset), latent_dim))


def assert_equal(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape and found.dtype == expected.dtype
    assert np.abs(found - expected).max() <= TOLERANCE * max(1, np.abs(expected).max())


# --------------------------------------------------------------------------------------------------------- the numbers


@each_run
def test_onnxruntime_computes_what_the_run_predicts(name, exported):
    one = exported(name)
    run = reopened(one.run)
    held_out = run.held_out[:64]
    images, new = run.images(held_out), run.dataset.images[held_out]
    expected = {"latent": run.encode(new), "prediction": run.predict(new)}
    for part, outputs in {"encoder": ["latent"], "model": ["latent", "prediction"]}.items():
        found = one.compute(part, images)
        assert list(found) == outputs
        for output in outputs:
            assert_equal(found[output], expected[output])
        for output, values in one.compute(part, images[:1]).items():  # another size of the batch
            assert_equal(values, found[output][:1])


@pytest.mark.parametrize("name", ["faces_ae", "conv_ae"])
def test_the_decoder_makes_the_images_of_the_run(name, exported):
    one = exported(name)
    run = reopened(one.run)
    latents = run.latents()[run.held_out]
    assert_equal(one.compute("decoder", latents)["images"], run.decode(latents))


@each_run
def test_the_safetensors_file_holds_the_weights_of_the_run(name, exported):
    one = exported(name)
    weights = load_file(one.folder / "model.safetensors")
    assert same(weights, one.run.model.state_dict())
    rebuilt = build_model(**one.run.config["model"])
    rebuilt.load_state_dict(weights)
    images = one.run.images(one.run.held_out)
    assert torch.equal(rebuilt.eval()(images), one.run.model(images))


def test_nothing_of_a_classifier_on_a_umap_can_be_exported(trained, tmp_path):
    with raises_user_error("cannot be written as ONNX; nothing of this run can be exported"):
        export_run(with_umap(open_run(trained("arena_angle"))), tmp_path / "out")


def test_the_decoder_of_a_umap_run_can_be_exported_alone(trained, tmp_path):
    run = with_umap(open_run(trained("conv_ae")))
    with raises_user_error("conv_ae has a UMAP, which places an image by searching the training images"):
        export_run(run, tmp_path / "out")
    export_run(run, tmp_path / "out", ["decoder"])
    one = Exported(run, tmp_path / "out")
    latents = run.precomputed.numpy()[run.held_out]
    assert_equal(one.compute("decoder", latents)["images"], reopened(run).decode(latents))
    assert list(one.about["inputs"]) == ["latent"] and list(one.about["outputs"]) == ["images"]


def assert_converted(module: torch.nn.Module, x: torch.Tensor) -> None:
    """Check that onnxruntime computes the same as a module."""
    part = onnx_parts.Part(module.eval(), module, x, "images", ("latent",))
    assert_equal(onnx_parts.run_onnx(onnx_parts.to_onnx(part), part)[0].numpy(), part.compute()[0].numpy())


def test_one_held_out_image_is_enough_for_batches_of_any_size(trained):
    run = open_run(trained("faces_ae"))
    content = onnx_parts.to_onnx(onnx_parts.encoder_part(run, run.held_out[:1]))
    part = onnx_parts.encoder_part(run, np.arange(5))
    assert_equal(onnx_parts.run_onnx(content, part)[0].numpy(), run.latents()[:5])


def test_every_activation_can_be_written_as_onnx():
    class Each(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.each = torch.nn.ModuleList(make() for make in ACTIVATIONS.values())

        def forward(self, x):
            return torch.stack([activation(x) for activation in self.each], 1)

    assert_converted(Each(), 3 * torch.randn(4, 7))


@pytest.mark.parametrize("encoder", ["conv_dog", "identity"])
def test_models_of_neurons_can_be_written_as_onnx(encoder):
    model = build_model(encoder, "what_where", (1, 16, 12), (5,), None)
    assert_converted(torch.nn.Sequential(model.encoder, model.head), torch.rand(4, 1, 16, 12))


# --------------------------------------------------------------------------------------------------------- export.json


@each_run
def test_the_description_fits_the_files(name, exported):
    one = exported(name)
    about, parts = one.about, {"encoder": ["latent"], "model": ["latent", "prediction"]}
    has_decoder = name.endswith("_ae")
    parts |= {"decoder": ["images"]} if has_decoder else {}
    assert {file.removesuffix(".onnx"): text.get("outputs") for file, text in about["files"].items()} == {
        **parts,
        "model.safetensors": None,
    }
    for file, text in about["files"].items():
        assert text["sha256"] == sha256((one.folder / file).read_bytes())
    images = one.run.images(one.run.held_out)
    assert about["inputs"]["images"]["shape"] == ["batch", *images.shape[1:]]
    for output, values in one.compute("model", images).items():
        assert about["outputs"][output]["shape"] == ["batch", *values.shape[1:]]
        assert about["outputs"][output]["dtype"] == str(values.dtype)
    assert about["latent_dim"] == one.run.model.encoder.latent_dim
    assert about["weights_sha256"] == sha256((one.run.folder / one.run.session / "model.pth").read_bytes())


@pytest.mark.parametrize(
    ("name", "unit", "names", "period"),
    [
        ("faces_emotion_scratch", "probability", ["Ha", "Sa"], None),
        ("arena_angle", "degrees", [], 360),
        ("pca_xy", ["px", "px"], ["x", "y"], None),
        ("v1_hsm", "that of the recorded responses", [f"region1/{i}" for i in range(4)], None),
    ],
)
def test_the_description_says_what_a_prediction_means(name, unit, names, period, exported):
    about = exported(name).about
    meaning = about["outputs"]["prediction"]
    assert (meaning["unit"], meaning["names"], meaning["period"]) == (unit, names, period)
    if name == "faces_emotion_scratch":
        assert about["classes"] == names
    if name == "v1_hsm":
        assert about["neurons"] == names and about["best_of_repetitions"] == 2


@pytest.mark.parametrize(("name", "part"), [("arena_angle", "test"), ("faces_ae", "validation")])
def test_the_description_has_the_metric_of_the_run(name, part, exported):
    one = exported(name)
    metric, result = one.about["metric"], result_of(one.run.folder)
    assert (metric["part"], metric["name"]) == (part, result["metric"])
    assert metric["value"] == result[part]["value"] and metric["interval"] == result[part]["interval"]


@each_run
def test_the_export_verifies_itself_on_held_out_images(name, exported):
    one = exported(name)
    verified = one.about["verification"]
    assert verified["n_images"] == min(64, len(one.run.held_out))
    assert set(verified["files"]) == {file for file in one.about["files"] if file.endswith(".onnx")}
    for outputs in verified["files"].values():
        for found in outputs.values():
            assert found["largest_difference"] <= TOLERANCE * max(1, found["largest_number"])


def test_the_difference_from_bf16_is_in_the_description(exported):
    one = exported("conv_ae")
    precision = one.about["precision"]
    assert (precision["training"], precision["export"]) == ("bf16", "fp32")
    images = one.run.images(one.run.held_out)
    difference = np.abs(one.compute("model", images)["prediction"] - one.run.predict(images)).max()
    assert precision["differences"]["model"]["prediction"]["largest_difference"] == pytest.approx(difference, abs=1e-5)
    assert difference > 1e-4
    assert exported("faces_ae").about["precision"]["differences"] is None


# ------------------------------------------------------------------------------------------------------- the command


def test_the_command_prints_the_files_and_nothing_else(trained, tmp_path, capfd):
    folder = tmp_path / "new" / "out"
    assert export_command.main([str(trained("v1_hsm")), "--parts", "encoder,model", "--out", str(folder)]) == 0
    printed = capfd.readouterr()
    names = ["encoder.onnx", "model.onnx", "model.safetensors", "export.json"]
    assert printed.out.splitlines() == [str(folder / name) for name in names]
    assert printed.err.startswith("on 8 test images, onnxruntime and PyTorch differ by at most ")
    assert len(printed.err.splitlines()) == 1
    assert sorted(path.name for path in folder.parent.rglob("*")) == sorted([*names, "out"])


def test_the_files_are_in_the_run_unless_named_otherwise(quick):
    paths = export_run(quick, parts=["decoder"])
    assert {path.parent for path in paths} == {quick.folder / "export"} and all(path.is_file() for path in paths)
    run = open_run(quick.folder / "0")
    assert export_run(run, parts=["decoder"])[0] == run.folder / "export-0" / "decoder.onnx"
    assert json.loads((run.folder / "export-0" / "export.json").read_text())["metric"] is None
    for name in ("export", "export-0"):  # other tests use the run too
        shutil.rmtree(run.folder / name)


@each_run
def test_no_file_names_a_folder_of_this_machine(name, exported):
    for path, content in bytes_by_path(exported(name).folder).items():
        assert str(HERE).encode() not in content, path


@pytest.mark.parametrize(
    ("name", "parts", "message"),
    [
        ("arena_angle", ["decoder"], "predicts directions in degrees, so it makes no images; leave decoder out"),
        ("faces_ae", ["encode"], "unknown part 'encode'; did you mean 'encoder'? allowed: encoder, model, decoder"),
    ],
)
def test_a_part_that_a_run_lacks_is_refused(name, parts, message, trained, tmp_path):
    with raises_user_error(message):
        export_run(open_run(trained(name)), tmp_path / "out", parts)
    assert list(tmp_path.iterdir()) == []


def test_a_network_too_large_for_onnx_is_refused(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_parts, "MAX_BYTES", 1000)
    with raises_user_error("an ONNX file holds at most 2 GiB, but these are"):
        export_run(open_run(trained("faces_ae")), tmp_path / "out")


def test_a_network_that_onnx_lacks_is_refused(trained, monkeypatch):
    part = onnx_parts.encoder_part(open_run(trained("faces_ae")), np.arange(3))
    monkeypatch.setattr(part.module, "forward", lambda images: torch.linalg.svd(images)[1])
    with raises_user_error("this network cannot be written as ONNX: "):
        onnx_parts.to_onnx(part)


def test_a_file_that_onnxruntime_cannot_run_is_refused(trained):
    part = onnx_parts.encoder_part(open_run(trained("faces_ae")), np.arange(3))
    with raises_user_error(f"onnxruntime {onnxruntime.__version__} cannot run the exported network: "):
        onnx_parts.run_onnx(b"no network", part)


def test_a_missing_package_is_named(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxscript" else True)
    with raises_user_error("the export needs packages: pip install onnxscript (or, in a clone"):
        export_run(open_run(trained("faces_ae")), tmp_path / "out")


def test_the_files_of_the_user_are_never_replaced(quick, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with raises_user_error(f"{tmp_path} holds other files (notes.txt); name a new folder"):
        export_run(quick, tmp_path, ["decoder"])
    with raises_user_error("notes.txt is a file; name a folder"):
        export_run(quick, tmp_path / "notes.txt", ["decoder"])
    assert bytes_by_path(tmp_path) == {"notes.txt": b"mine"}


def test_an_export_that_fails_leaves_the_earlier_one(quick, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    export_run(quick, folder, ["decoder"])
    before = bytes_by_path(tmp_path)
    written = []

    def fail(path, content):
        written.append(path.name)
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        path.write_bytes(content)

    monkeypatch.setattr("neuro_noodle.runs.files.write_bytes", fail)
    with raises_user_error("No space left on device"):
        export_run(quick, folder, ["encoder"])
    assert bytes_by_path(tmp_path) == before and written == ["encoder.onnx", "model.safetensors"]


def test_another_export_replaces_the_earlier_one(quick, tmp_path):
    export_run(quick, tmp_path / "out", ["decoder"])
    export_run(quick, tmp_path / "out", ["encoder"])
    assert sorted(bytes_by_path(tmp_path)) == ["out/encoder.onnx", "out/export.json", "out/model.safetensors"]


def test_without_onnxruntime_nothing_is_verified(quick, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("neuro_noodle.runs.export_description.find_spec", lambda name: None)
    *_, about = export_run(quick, tmp_path / "out", ["decoder"])
    assert json.loads(about.read_text())["verification"] is None
    assert "were not verified, since onnxruntime is not installed: pip install onnxruntime" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [1e-3, np.nan])
def test_a_file_that_computes_something_else_is_reported(wrong, quick, tmp_path, monkeypatch, capsys):
    def run_onnx(content, part):
        return tuple(values + wrong for values in part.compute())

    monkeypatch.setattr("neuro_noodle.runs.export_description.run_onnx", run_onnx)
    export_run(quick, tmp_path / "out", ["decoder"])
    assert "WARNING: on 2 validation images, onnxruntime and PyTorch differ: " in capsys.readouterr().err


def test_angles_on_both_sides_of_0_are_close():
    first, second = torch.tensor([359.9, 10.0]), torch.tensor([0.2, 10.1])
    assert onnx_parts.largest_difference(first, second, 360) == pytest.approx(0.3, abs=1e-4)
    assert onnx_parts.largest_difference(first, second) == pytest.approx(359.7, abs=1e-4)


def test_the_run_is_as_before_after_an_export(exported):
    run = exported("conv_ae").run
    assert run.model.precision == "bf16" and not run.model.training
    before = open_run(run.folder)
    assert np.array_equal(run.predict(run.images()), before.predict(before.images()))
