"""PCA and UMAP as encoders: exact, fitted on training images alone, and never opened from a pickle unasked."""

import os
import pickle

import numpy as np
import pytest
import torch
from helpers import indexed_images, raises_user_error
from sklearn.decomposition import PCA

import utils
from neuro_noodle.networks.base import ENCODERS, build_model
from neuro_noodle.runs import latents as encoded

SHAPE = (1, 9, 7)


def decaying(n, rank=12):
    """Images whose principal components are well apart."""
    patterns = torch.linalg.qr(torch.randn(63, rank, generator=torch.Generator().manual_seed(5)))[0]
    factors = torch.randn(n, rank) * 0.7 ** torch.arange(rank)
    return (0.5 + 0.5 * factors @ patterns.T + 0.002 * torch.randn(n, 63)).view(n, *SHAPE)


def fitted(choice, images, latent_dim):
    encoder = ENCODERS.build(choice, SHAPE, latent_dim)
    encoder.fit(images)
    return encoder


# ----------------------------------------------------------------------------------------------------------- pca


@pytest.mark.parametrize("whiten", ["true", "false"])
def test_pca_is_that_of_scikit_learn_on_images_seen_and_unseen(whiten):
    training, unseen = decaying(100).split([70, 30])
    encoder = fitted(f"pca whiten={whiten}", training, 6)
    theirs = PCA(6, whiten=whiten == "true", svd_solver="full").fit(training.flatten(1).double().numpy())
    for images in (training, unseen):
        scores = torch.from_numpy(theirs.transform(images.flatten(1).double().numpy()))
        latents = encoder(images).double()
        sign = (latents * scores).sum(0).sign()
        assert (latents * sign - scores).norm() <= 2e-3 * scores.norm()


def test_whitened_components_have_unit_variance_and_others_that_of_the_images_along_them():
    training = decaying(70)
    assert torch.allclose(fitted("pca", training, 4)(training).var(0), torch.ones(4), rtol=1e-3)
    encoder = fitted("pca whiten=false", training, 4)
    shares = encoder(training).var(0) / training.flatten(1).var(0).sum()
    assert torch.allclose(shares, encoder.explained, rtol=1e-3)


@pytest.mark.parametrize("whiten", ["true", "false"])
def test_the_share_explained_is_that_of_the_training_variance_and_of_any_images_by_its_formula(whiten):
    training, unseen = decaying(100).split([70, 30])
    encoder = fitted(f"pca whiten={whiten}", training, 6)
    theirs = PCA(6, svd_solver="full").fit(training.flatten(1).double().numpy())
    assert encoder.explained.tolist() == pytest.approx(theirs.explained_variance_ratio_, rel=1e-3)
    assert torch.allclose(encoder.explained_by(training), encoder.explained, rtol=1e-3)
    away = (unseen - training.mean(0)).flatten(1).double().numpy()
    exact = np.square(away @ theirs.components_.T).sum(0) / np.square(away).sum()
    assert encoder.explained_by(unseen).tolist() == pytest.approx(exact, rel=1e-2)


@pytest.mark.parametrize("n", [1, 2, 6])
def test_components_beyond_what_the_images_span_are_0(n):
    training = decaying(n)
    encoder = fitted("pca", training, 20)
    latents = encoder(decaying(9))
    assert latents.shape == (9, 20)
    assert latents.isfinite().all()
    assert not latents[:, n - 1 :].any()
    assert not encoder.explained[n - 1 :].any()
    assert not encoder.explained_by(decaying(9))[n - 1 :].any()
    assert encoder.explained.sum().item() == pytest.approx(1 if n > 1 else 0, abs=1e-4)
    assert f"{n - 1} components" in encoder.summary()
    assert f"{21 - n} of the latent's 20 numbers stay 0" in encoder.summary()


def test_nothing_of_a_pca_trains_and_it_is_saved():
    training = decaying(30)
    encoder = fitted("pca", training, 4)
    assert not list(encoder.parameters())
    assert len(encoder.stages) == 0
    rebuilt = ENCODERS.build("pca", SHAPE, 4)
    rebuilt.load_state_dict(encoder.state_dict())
    assert torch.equal(rebuilt(training), encoder(training))
    assert torch.equal(rebuilt.explained, encoder.explained)


def test_a_pca_forgets_what_it_was_fitted_to_before():
    first, second = decaying(40), torch.rand(5, *SHAPE)
    twice = fitted("pca", first, 8)
    twice.fit(second)
    once = fitted("pca", second, 8)
    assert torch.allclose(twice(first), once(first), atol=1e-4)
    assert torch.allclose(twice.explained, once.explained, atol=1e-5)


# ---------------------------------------------------------------------------------------------------------- umap


def clusters(n):
    """Images near a dark and near a bright pattern by turns, and which of the two each is."""
    pattern = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(7)) * 0.2
    pattern[1] += 0.7
    which = torch.arange(n) % 2
    return pattern[which] + 0.03 * torch.randn(n, *SHAPE), which


@pytest.fixture(scope="module")
def mapped():
    torch.manual_seed(0)
    images, which = clusters(40)
    return fitted("umap n_neighbors=8", images, 2), images, which


def test_umap_lays_out_training_images_with_mean_0_and_sd_1(mapped):
    encoder, images, _ = mapped
    latents = encoder(images)
    assert torch.allclose(latents.mean(0), torch.zeros(2), atol=1e-3)
    assert torch.allclose(latents.std(0), torch.ones(2), atol=1e-3)


def test_umap_places_new_images_near_their_like(mapped):
    encoder, images, which = mapped
    latents = encoder(images)
    new, theirs = clusters(20)
    distances = torch.cdist(encoder(new), latents)
    assert (which[distances.argmin(1)] == theirs).all()
    centres = torch.stack([latents[which == one].mean(0) for one in (0, 1)])
    assert (torch.cdist(encoder(new), centres).argmin(1) == theirs).all()


def test_placing_new_images_leaves_the_map_as_it_is(mapped):
    encoder, images, _ = mapped
    before, mean, sd = encoder(images), encoder.mean.clone(), encoder.sd.clone()
    encoder(torch.rand(10, *SHAPE))
    assert torch.equal(encoder(images), before)
    assert torch.equal(encoder.mean, mean)
    assert torch.equal(encoder.sd, sd)


def test_the_same_seed_gives_the_same_map_and_another_seed_another():
    images, _ = clusters(30)

    def latents(seed):
        torch.manual_seed(seed)
        return fitted("umap", images, 2)(images)

    assert torch.equal(latents(3), latents(3))
    assert not torch.allclose(latents(3), latents(4), atol=0.1)


@pytest.mark.parametrize(("n", "latent_dim"), [(4, 2), (4, None), (5, 3), (12, 16)])
def test_umap_maps_few_images_too(n, latent_dim):
    encoder = fitted("umap", torch.rand(n, *SHAPE), latent_dim)
    assert encoder(torch.rand(3, *SHAPE)).isfinite().all()


def test_umap_refuses_too_few_images():
    with raises_user_error("encoder 'umap' needs 4 images at least, not 3"):
        fitted("umap", torch.rand(3, *SHAPE), 2)


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("n_neighbors=1", "n_neighbors=1 must be 2 or more"),
        ("min_dist=-0.1", "min_dist=-0.1 must be from 0 to 1"),
        ("min_dist=1.5", "min_dist=1.5 must be from 0 to 1"),
    ],
)
def test_umap_refuses_an_option_out_of_its_range(option, told):
    with raises_user_error(told):
        ENCODERS.build(f"umap {option}", SHAPE, 2)


# --------------------------------------------------------------------------------------------------------- pickle


class Trap:
    """Leaves a file where its pickle is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def run(tmp_path):
    """A run of a UMAP, without its pickle."""
    made_of = {"encoder": "umap", "head": "linear", "image_shape": list(SHAPE), "output_shape": [3]}
    made_of |= {"latent_dim": 2, "precision": "fp32"}
    folder = utils.new_run(tmp_path, "run")
    utils.write_json(folder / "config.json", {"model": made_of})
    model = build_model(**made_of)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    utils.save_session(folder, 3, model, optimizer, {}, model.state_dict(), keep_all=False)
    return folder


def test_a_map_comes_back_from_its_pickle_only_where_that_is_trusted(run, mapped):
    encoder, images, _ = mapped
    encoded.save_pickled(run, encoder)
    assert sorted(path.name for path in run.iterdir()) == ["3", "best", "config.json", "encoder.pkl"]
    model, _ = utils.load_model(run)
    assert model.encoder.pickled is None
    with raises_user_error("add --trust_pickle"):
        model(images)
    model, _ = utils.load_model(run, trust_pickle=True)
    model.encoder.load_state_dict(encoder.state_dict())
    assert torch.equal(model.encoder(images), encoder(images))


def test_an_encoder_without_a_pickle_leaves_none(tmp_path):
    encoded.save_pickled(tmp_path, ENCODERS.build("pca", SHAPE, 2))
    assert not list(tmp_path.iterdir())
    assert encoded.load_pickled(tmp_path) is None


@pytest.mark.parametrize(
    "content", [b"", b"these are words", pickle.dumps(list(range(1000)))[:-100], b"cnone\nsuch\n."]
)
def test_a_damaged_pickle_is_named(run, content):
    (run / "encoder.pkl").write_bytes(content)
    with raises_user_error("encoder.pkl cannot be opened: "):
        utils.load_model(run, trust_pickle=True)


def test_no_pickle_is_opened_unless_it_is_trusted(run, tmp_path):
    sprung = tmp_path / "sprung"
    (run / "encoder.pkl").write_bytes(pickle.dumps(Trap(sprung)))
    model, _ = utils.load_model(run)
    utils.load_encoder(model, run, 1, trust_pickle=False)
    assert not sprung.exists()
    utils.load_model(run, trust_pickle=True)
    assert sprung.exists()  # so it was a trap
    sprung.rmdir()
    utils.load_encoder(model, run, 1, trust_pickle=True)
    assert sprung.exists()


# --------------------------------------------------------------------------------------------------- fixed latents


def test_fixed_latents_come_back_for_the_same_images_only(tmp_path):
    dataset = indexed_images()
    latents = torch.randn(len(dataset), 3)
    path = tmp_path / "latents" / "encoder.npz"
    encoded.save_latents(path, latents, dataset, np.full(len(dataset), "training"))
    assert torch.equal(encoded.load_latents(path, dataset), latents)
    assert [one.name for one in path.parent.iterdir()] == ["encoder.npz"]
    with raises_user_error("encoder.npz holds the latents of other images"):
        encoded.load_latents(path, indexed_images(n_people=9))


DAMAGES = {"empty": lambda whole: b"", "words": lambda whole: b"words", "cut off": lambda whole: whole[:300]}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_damaged_latents_are_named(tmp_path, damage):
    dataset = indexed_images()
    path = tmp_path / "latents" / "encoder.npz"
    encoded.save_latents(path, torch.randn(len(dataset), 3), dataset, np.full(len(dataset), "training"))
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with raises_user_error("encoder.npz cannot be read: "):
        encoded.load_latents(path, dataset)


def test_images_that_are_placed_once_are_encoded_all_together(monkeypatch):
    dataset = indexed_images()
    model = build_model("umap", "linear", (1, 4, 3), (2,), 2, "fp32")
    sizes = []

    class Map:
        def transform(self, pixels):
            sizes.append(len(pixels))
            return pixels[:, :2]

    model.encoder.pickled = Map()
    monkeypatch.setattr(encoded, "BATCH", 7)
    latents = encoded.encode(model, dataset)
    assert sizes == [len(dataset)]
    assert torch.equal(latents, dataset.sample(torch.arange(len(dataset)))["image"].flatten(1)[:, :2])
