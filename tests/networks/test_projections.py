"""PCA and UMAP as encoders: exact, fitted on training images only; pickles are opened only when trusted."""

import os
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import indexed_images, raises_user_error, write_config
from sklearn.decomposition import PCA

from neuro_noodle.networks.base import ENCODERS, build_model
from neuro_noodle.runs import latents as stored
from neuro_noodle.runs.files import new_run
from neuro_noodle.runs.sessions import load_encoder, load_model, save_session

SHAPE = (1, 9, 7)


def distinct_variances(n, rank=12):
    """Return images whose principal components have distinct variances."""
    patterns = torch.linalg.qr(torch.randn(63, rank, generator=torch.Generator().manual_seed(5)))[0]
    factors = torch.randn(n, rank) * 0.7 ** torch.arange(rank)
    return (0.5 + 0.5 * factors @ patterns.T + 0.002 * torch.randn(n, 63)).view(n, *SHAPE)


def fitted(choice, images, latent_dim):
    encoder = ENCODERS.build(choice, SHAPE, latent_dim)
    encoder.fit(images)
    return encoder


# ----------------------------------------------------------------------------------------------------------- pca


@pytest.mark.parametrize("whiten", ["true", "false"])
def test_pca_agrees_with_scikit_learn(whiten):
    training, unseen = distinct_variances(100).split([70, 30])
    encoder = fitted(f"pca whiten={whiten}", training, 6)
    sklearn_pca = PCA(6, whiten=whiten == "true", svd_solver="full").fit(training.flatten(1).double().numpy())
    for images in (training, unseen):
        scores = torch.from_numpy(sklearn_pca.transform(images.flatten(1).double().numpy()))
        latents = encoder(images).double()
        sign = (latents * scores).sum(0).sign()
        assert (latents * sign - scores).norm() <= 2e-3 * scores.norm()


def test_only_whitened_components_have_unit_variance():
    training = distinct_variances(70)
    assert torch.allclose(fitted("pca", training, 4)(training).var(0), torch.ones(4), rtol=1e-3)
    encoder = fitted("pca whiten=false", training, 4)
    shares = encoder(training).var(0) / training.flatten(1).var(0).sum()
    assert torch.allclose(shares, encoder.explained, rtol=1e-3)


@pytest.mark.parametrize("whiten", ["true", "false"])
def test_explained_variance_is_exact_for_training_and_new_images(whiten):
    training, unseen = distinct_variances(100).split([70, 30])
    encoder = fitted(f"pca whiten={whiten}", training, 6)
    sklearn_pca = PCA(6, svd_solver="full").fit(training.flatten(1).double().numpy())
    assert encoder.explained.tolist() == pytest.approx(sklearn_pca.explained_variance_ratio_, rel=1e-3)
    assert torch.allclose(encoder.explained_by(training), encoder.explained, rtol=1e-3)
    deviations = (unseen - training.mean(0)).flatten(1).double().numpy()
    exact = np.square(deviations @ sklearn_pca.components_.T).sum(0) / np.square(deviations).sum()
    assert encoder.explained_by(unseen).tolist() == pytest.approx(exact, rel=1e-2)


@pytest.mark.parametrize("n", [1, 2, 6])
def test_components_that_the_images_do_not_span_are_0(n):
    training = distinct_variances(n)
    encoder = fitted("pca", training, 20)
    latents = encoder(distinct_variances(9))
    assert latents.shape == (9, 20)
    assert latents.isfinite().all()
    assert not latents[:, n - 1 :].any()
    assert not encoder.explained[n - 1 :].any()
    assert not encoder.explained_by(distinct_variances(9))[n - 1 :].any()
    assert encoder.explained.sum().item() == pytest.approx(1 if n > 1 else 0, abs=1e-4)
    assert f"{n - 1} components" in encoder.summary()
    assert f"{21 - n} of 20 latent values are 0" in encoder.summary()


def test_a_pca_has_no_parameters_and_is_saved():
    training = distinct_variances(30)
    encoder = fitted("pca", training, 4)
    assert not list(encoder.parameters())
    assert len(encoder.stages) == 0
    rebuilt = ENCODERS.build("pca", SHAPE, 4)
    rebuilt.load_state_dict(encoder.state_dict())
    assert torch.equal(rebuilt(training), encoder(training))
    assert torch.equal(rebuilt.explained, encoder.explained)


def test_fitting_a_pca_again_discards_the_first_fit():
    first, second = distinct_variances(40), torch.rand(5, *SHAPE)
    twice = fitted("pca", first, 8)
    twice.fit(second)
    once = fitted("pca", second, 8)
    assert torch.allclose(twice(first), once(first), atol=1e-4)
    assert torch.allclose(twice.explained, once.explained, atol=1e-5)


# ---------------------------------------------------------------------------------------------------------- umap


def clusters(n):
    """Return images that alternate between a dark and a bright pattern, and the cluster index of each."""
    pattern = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(7)) * 0.2
    pattern[1] += 0.7
    cluster_index = torch.arange(n) % 2
    return pattern[cluster_index] + 0.03 * torch.randn(n, *SHAPE), cluster_index


@pytest.fixture(scope="module")
def fitted_umap():
    """A UMAP of 40 images, the images and their clusters."""
    torch.manual_seed(0)
    images, cluster_index = clusters(40)
    return fitted("umap n_neighbors=8", images, 2), images, cluster_index


def test_umap_latents_have_mean_0_and_sd_1_on_training_images(fitted_umap):
    encoder, images, _ = fitted_umap
    latents = encoder(images)
    assert torch.allclose(latents.mean(0), torch.zeros(2), atol=1e-3)
    assert torch.allclose(latents.std(0), torch.ones(2), atol=1e-3)


def test_umap_embeds_new_images_in_their_own_cluster(fitted_umap):
    encoder, images, cluster_index = fitted_umap
    latents = encoder(images)
    new, new_cluster_index = clusters(20)
    distances = torch.cdist(encoder(new), latents)
    assert (cluster_index[distances.argmin(1)] == new_cluster_index).all()
    centres = torch.stack([latents[cluster_index == cluster].mean(0) for cluster in (0, 1)])
    assert (torch.cdist(encoder(new), centres).argmin(1) == new_cluster_index).all()


def test_embedding_new_images_does_not_change_the_map(fitted_umap):
    encoder, images, _ = fitted_umap
    before, mean, sd = encoder(images), encoder.mean.clone(), encoder.sd.clone()
    encoder(torch.rand(10, *SHAPE))
    assert torch.equal(encoder(images), before)
    assert torch.equal(encoder.mean, mean)
    assert torch.equal(encoder.sd, sd)


def test_the_map_depends_on_the_seed_only():
    images, _ = clusters(30)

    def latents(seed):
        torch.manual_seed(seed)
        return fitted("umap", images, 2)(images)

    assert torch.equal(latents(3), latents(3))
    assert not torch.allclose(latents(3), latents(4), atol=0.1)


@pytest.mark.parametrize(("n", "latent_dim"), [(4, 2), (4, None), (5, 3), (12, 16)])
def test_umap_works_with_few_images(n, latent_dim):
    encoder = fitted("umap", torch.rand(n, *SHAPE), latent_dim)
    assert encoder(torch.rand(3, *SHAPE)).isfinite().all()


def test_umap_refuses_too_few_images():
    with raises_user_error("encoder 'umap' needs at least 4 images, not 3"):
        fitted("umap", torch.rand(3, *SHAPE), 2)


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("n_neighbors=1", "n_neighbors=1 must be 2 or more"),
        ("min_dist=-0.1", "min_dist=-0.1 must be between 0 and 1"),
        ("min_dist=1.5", "min_dist=1.5 must be between 0 and 1"),
    ],
)
def test_umap_refuses_an_option_out_of_range(option, reason):
    with raises_user_error(reason):
        ENCODERS.build(f"umap {option}", SHAPE, 2)


# --------------------------------------------------------------------------------------------------------- pickle


class Trap:
    """Creates a folder when its pickle is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def run(tmp_path):
    """A run of a UMAP, without its pickle."""
    arguments = {"encoder": "umap", "head": "linear", "image_shape": list(SHAPE), "output_shape": [3]}
    arguments |= {"latent_dim": 2, "precision": "fp32"}
    folder = new_run(tmp_path, "run")
    write_config(folder, arguments)
    model = build_model(**arguments)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    learning = SimpleNamespace(optimizer=optimizer, best_weights=model.state_dict())
    save_session(folder, 3, model, learning, {}, {}, keep_all=False)
    return folder


def test_a_umap_is_loaded_from_its_pickle_only_when_trusted(run, fitted_umap):
    encoder, images, _ = fitted_umap
    stored.save_fitted_state(run, encoder)
    assert sorted(path.name for path in run.iterdir()) == ["3", "best", "config.json", "encoder.pkl"]
    model, _ = load_model(run)
    assert model.encoder.fitted_state is None
    with raises_user_error("add --trust_pickle"):
        model(images)
    model, _ = load_model(run, trust_pickle=True)
    model.encoder.load_state_dict(encoder.state_dict())
    assert torch.equal(model.encoder(images), encoder(images))


def test_an_encoder_without_fitted_state_saves_no_pickle(tmp_path):
    stored.save_fitted_state(tmp_path, ENCODERS.build("pca", SHAPE, 2))
    assert not list(tmp_path.iterdir())
    assert stored.load_fitted_state(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"some text", pickle.dumps(list(range(1000)))[:-100], b"cnone\nsuch\n."])
def test_a_damaged_pickle_is_refused_by_name(run, content):
    (run / "encoder.pkl").write_bytes(content)
    with raises_user_error("encoder.pkl cannot be opened: "):
        load_model(run, trust_pickle=True)


def test_a_pickle_is_opened_only_when_trusted(run, tmp_path):
    sprung = tmp_path / "sprung"
    (run / "encoder.pkl").write_bytes(pickle.dumps(Trap(sprung)))
    model, _ = load_model(run)
    load_encoder(model, run, 1, trust_pickle=False)
    assert not sprung.exists()
    load_model(run, trust_pickle=True)
    assert sprung.exists()  # so the trap works
    sprung.rmdir()
    load_encoder(model, run, 1, trust_pickle=True)
    assert sprung.exists()


# --------------------------------------------------------------------------------------------------- stored latents


def test_stored_latents_load_for_the_same_images_only(tmp_path):
    dataset = indexed_images()
    latents = torch.randn(len(dataset), 3)
    path = tmp_path / "latents" / "encoder.npz"
    stored.save_latents(path, latents, dataset, np.full(len(dataset), "training"))
    assert torch.equal(stored.load_latents(path, dataset), latents)
    assert [file.name for file in path.parent.iterdir()] == ["encoder.npz"]
    with raises_user_error("encoder.npz holds the latents of other images"):
        stored.load_latents(path, indexed_images(n_people=9))


DAMAGES = {"empty": lambda content: b"", "text": lambda content: b"text", "cut off": lambda content: content[:300]}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_damaged_latents_are_refused_by_name(tmp_path, damage):
    dataset = indexed_images()
    path = tmp_path / "latents" / "encoder.npz"
    stored.save_latents(path, torch.randn(len(dataset), 3), dataset, np.full(len(dataset), "training"))
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with raises_user_error("encoder.npz cannot be read: "):
        stored.load_latents(path, dataset)


def test_an_encoder_that_encodes_once_sees_all_images_at_once(monkeypatch):
    dataset = indexed_images()
    model = build_model("umap", "linear", (1, 4, 3), (2,), 2, "fp32")
    sizes = []

    class Map:
        def transform(self, pixels):
            sizes.append(len(pixels))
            return pixels[:, :2]

    model.encoder.fitted_state = Map()
    monkeypatch.setattr(stored, "BATCH", 7)
    latents = stored.encode(model, dataset)
    assert sizes == [len(dataset)]
    assert torch.equal(latents, dataset.sample(torch.arange(len(dataset)))["image"].flatten(1)[:, :2])
