"""Augmentations: properties of every entry, and the geometry of each."""

import math

import pytest
import torch
from torchvision.transforms import RandomResizedCrop

from neuro_noodle.augment import AUGMENTATIONS, augment, build_augmentations
from neuro_noodle.choices import UserError

NO_EFFECT = {  # options with which an augmentation does nothing
    "crop": "crop area=1,1 ratio=0.75,0.75",  # the ratio of the 16 x 12 images below
    "background": "background",
    "flip": "flip p=0",
    "shift": "shift px=0",
    "rotate": "rotate deg=0",
    "zoom": "zoom by=0",
    "brightness": "brightness add=0 contrast=0",
    "noise": "noise sd=0",
    "salt_pepper": "salt_pepper share=0",
}
every = pytest.mark.parametrize("name", list(AUGMENTATIONS))
every_random = pytest.mark.parametrize("name", sorted(set(AUGMENTATIONS) - {"background"}))


def seeded_generator(seed=0):
    return torch.Generator().manual_seed(seed)


def augment_images(images, *choices, seed=0):
    return augment(images, build_augmentations(choices), seeded_generator(seed))[0]


def augment_with_constant(images, choice, value, monkeypatch):
    """Apply a choice with this value in place of all random numbers: 0 the minimum, 1 the maximum."""
    with monkeypatch.context() as patch:
        patch.setattr(torch, "rand", lambda *size, generator: torch.full(size, value))
        return augment_images(images, choice)


def image_with_dot(height, width, y, x):
    images = torch.zeros(1, 1, height, width)
    images[0, 0, y, x] = 1
    return images


def centroid(image):
    """Return (y, x) of the centre of mass of an (H, W) image, px."""
    y, x = torch.meshgrid(*(torch.arange(float(n)) for n in image.shape), indexing="ij")
    return ((image * y).sum() / image.sum()).item(), ((image * x).sum() / image.sum()).item()


# ------------------------------------------------------------------------------------- every entry


@every
@pytest.mark.parametrize("shape", [(5, 1, 16, 12), (4, 3, 9, 20), (1, 1, 7, 7)])
def test_every_augmentation_keeps_shape_type_range_and_its_input(name, shape):
    images = torch.rand(shape)
    images[0, :, :3] = 1.0
    images[-1, :, -3:] = 0.0
    before = images.clone()
    for seed in range(5):
        out = augment_images(images, name, seed=seed)
        assert out.shape == images.shape
        assert out.dtype == images.dtype
        assert out.min() >= 0
        assert out.max() <= 1 + 1e-6  # the four weights of interpolation sum to 1 up to rounding
    assert torch.equal(images, before)


@every_random
def test_the_seed_determines_the_augmented_images(name):
    images = torch.rand(8, 1, 16, 12)
    assert torch.equal(augment_images(images, name, seed=3), augment_images(images, name, seed=3))
    assert not torch.equal(augment_images(images, name, seed=3), augment_images(images, name, seed=4))


@every_random
def test_every_image_of_a_batch_is_changed_differently(name):
    same = torch.rand(1, 1, 16, 12).expand(64, -1, -1, -1)
    out = augment_images(same, name).flatten(1)
    n_different = len(out.unique(dim=0))
    assert 8 <= (out == out[0]).all(1).sum() <= 56 if name == "flip" else n_different > 60


@every
def test_augmentations_use_no_random_numbers_but_their_own(name):
    before = torch.get_rng_state()
    augment_images(torch.rand(4, 1, 16, 12, generator=seeded_generator()), name)
    assert torch.equal(torch.get_rng_state(), before)


@every
def test_strength_zero_changes_nothing(name):
    images = torch.rand(6, 2, 16, 12)
    assert torch.allclose(augment_images(images, NO_EFFECT[name]), images, atol=1e-5)


@pytest.mark.parametrize("name", sorted(set(AUGMENTATIONS) - {"noise", "salt_pepper"}))
def test_a_uniform_image_stays_uniform(name):
    out = augment_images(torch.full((4, 1, 16, 12), 0.4), name)
    assert torch.allclose(out, out[:, :, :1, :1].expand_as(out), atol=1e-6)


def test_without_augmentations_images_are_returned_unchanged():
    images = torch.rand(2, 1, 5, 4)
    assert augment(images, [], seeded_generator())[0] is images


# ------------------------------------------------------------------------------------------------- background


def film(n=30):
    """Return a dark square that walks over an uneven floor (n, 1, 20, 20), and the floor (1, 20, 20)."""
    floor = torch.linspace(0.4, 0.9, 20).expand(1, 20, 20)
    frames = floor.expand(n, -1, -1, -1).clone()
    for i in range(n):
        frames[i, 0, i % 15 : i % 15 + 3, 8:11] = 0.1
    return frames, floor


def with_background(frames, *choices, seed=0):
    augmentations = build_augmentations(["background", *choices])
    augmentations[0].fit(frames)
    return augment(frames, augmentations, seeded_generator(seed))


def test_only_what_differs_from_the_background_moves():
    frames, floor = film()
    out, turn = with_background(frames, "rotate deg=180", "shift px=6")
    is_floor = (out - floor).abs() < 1e-5
    assert is_floor.flatten(1).float().mean(1).min() > 0.9  # all but the square
    assert (out != frames).flatten(1).any(1).all()
    assert turn.shape == (30, 2, 2)
    darkness = (floor - out).sum((1, 2, 3)) / (floor - frames).sum((1, 2, 3))
    assert darkness.median().item() == pytest.approx(1, abs=0.05)  # the square is whole


def test_the_background_changes_nothing_by_itself():
    frames, _ = film()
    assert torch.equal(with_background(frames)[0], frames)
    plain = augment(frames, [AUGMENTATIONS.build("brightness")], seeded_generator())[0]
    assert torch.equal(with_background(frames, "brightness")[0], plain)


# --------------------------------------------------------------------------------------------------- geometry


def test_a_flip_with_probability_1_is_the_mirror_image():
    images = torch.rand(5, 3, 9, 14)
    assert torch.allclose(augment_images(images, "flip p=1"), images.flip(3), atol=1e-5)


def test_a_flip_mirrors_its_share_of_the_images():
    images = torch.rand(1, 1, 4, 6).expand(4000, -1, -1, -1)
    mirrored = torch.isclose(augment_images(images, "flip p=0.2"), images.flip(3), atol=1e-5).flatten(1).all(1)
    assert mirrored.float().mean().item() == pytest.approx(0.2, abs=4 * math.sqrt(0.2 * 0.8 / 4000))


@pytest.mark.parametrize(("value", "px"), [(1.0, 3), (0.0, -3)])
def test_a_shift_of_whole_px_is_a_roll_that_repeats_the_border(value, px, monkeypatch):
    images = torch.rand(2, 1, 12, 17)
    out = augment_with_constant(images, "shift px=3", value, monkeypatch)
    rows, columns = ((torch.arange(n) + px).clamp(0, n - 1) for n in (12, 17))
    assert torch.allclose(out, images[:, :, rows][..., columns], atol=1e-5)
    inside = (slice(None), slice(None), slice(3, -3), slice(3, -3))
    assert torch.allclose(out[inside], images.roll((-px, -px), (2, 3))[inside], atol=1e-5)


@pytest.mark.parametrize("shape", [(41, 41), (41, 61), (61, 41)])
@pytest.mark.parametrize("deg", [10, 37, 90])
def test_a_rotation_moves_a_dot_as_trigonometry_predicts(shape, deg, monkeypatch):
    height, width = shape
    y, x = (height - 1) / 2, (width - 1) / 2
    out = augment_with_constant(
        image_with_dot(height, width, int(y) - 6, int(x) + 13), f"rotate deg={deg}", 1.0, monkeypatch
    )
    angle = math.radians(deg)  # the grid is rotated by it, so the image is rotated the other way
    dy, dx = -6, 13
    expected = (y + dy * math.cos(angle) - dx * math.sin(angle), x + dx * math.cos(angle) + dy * math.sin(angle))
    assert centroid(out[0, 0]) == pytest.approx(expected, abs=0.3)  # resampling a dot of one px shifts its centre


def test_rotations_to_both_sides_are_mirror_images(monkeypatch):
    images = torch.rand(1, 1, 15, 22)
    right = augment_with_constant(images, "rotate deg=20", 1.0, monkeypatch)
    left = augment_with_constant(images.flip(3), "rotate deg=20", 0.0, monkeypatch)
    assert torch.allclose(right, left.flip(3), atol=1e-5)


@pytest.mark.parametrize(("value", "scale"), [(1.0, 1.2), (0.0, 0.8)])
def test_a_zoom_moves_a_dot_along_its_line_to_the_centre(value, scale, monkeypatch):
    out = augment_with_constant(image_with_dot(41, 61, 20 - 12, 30 + 12), "zoom by=0.2", value, monkeypatch)
    assert centroid(out[0, 0]) == pytest.approx((20 - 12 / scale, 30 + 12 / scale), abs=0.3)


def test_brightness_adds_and_contrast_keeps_the_mean():
    images = 0.4 + 0.2 * torch.rand(2000, 1, 4, 4)
    added = (augment_images(images, "brightness add=0.1 contrast=0") - images).flatten(1)
    assert torch.allclose(added, added[:, :1].expand_as(added), atol=1e-6)
    assert added.abs().max().item() == pytest.approx(0.1, abs=0.001)
    assert abs(added.mean().item()) < 4 * 0.1 / math.sqrt(3 * 2000)
    stretched = augment_images(images, "brightness add=0 contrast=0.5")
    assert torch.allclose(stretched.mean((1, 2, 3)), images.mean((1, 2, 3)), atol=1e-6)
    gain = stretched.std((1, 2, 3)) / images.std((1, 2, 3))
    assert (gain.min().item(), gain.max().item()) == pytest.approx((0.5, 1.5), abs=0.01)


def test_noise_has_its_sd_and_is_independent_between_pixels():
    images = torch.full((50, 2, 40, 40), 0.5)
    noise = augment_images(images, "noise sd=0.1") - images
    n = noise.numel()
    assert noise.std().item() == pytest.approx(0.1, abs=4 * 0.1 / math.sqrt(2 * n))
    assert abs(noise.mean().item()) < 4 * 0.1 / math.sqrt(n)
    neighbours = torch.corrcoef(torch.stack([noise[..., 1:].flatten(), noise[..., :-1].flatten()]))[0, 1]
    channels = torch.corrcoef(noise.transpose(0, 1).flatten(1))[0, 1]
    assert max(abs(neighbours), abs(channels)) < 4 / math.sqrt(n / 2)


def test_salt_and_pepper_sets_equal_shares_white_and_black():
    """In all channels alike."""
    images = torch.full((50, 2, 40, 40), 0.5)
    out = augment_images(images, "salt_pepper share=0.1")
    assert torch.equal(out[:, 0], out[:, 1])
    for value in (0.0, 1.0):
        share = (out[:, 0] == value).float().mean().item()
        assert share == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / (50 * 1600)))
    assert set(out.unique().tolist()) == {0.0, 0.5, 1.0}


# ------------------------------------------------------------------------------------------------------- crop


@pytest.fixture(scope="module")
def boxes():
    """Return the area and log aspect ratio of 20,000 crops of a 300 x 400 image, ours and torchvision's."""
    height, width, n = 300, 400, 20_000
    shares, _ = AUGMENTATIONS.build("crop").boxes(n, (height, width), seeded_generator())
    ours = shares * torch.tensor([width, height])  # width, height in px
    torch.manual_seed(0)
    image = torch.empty(1, height, width)
    theirs = [RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3])[2:] for _ in range(n)]  # height, width
    theirs = torch.tensor(theirs).flip(1).float()
    return [(b.prod(1) / (height * width), (b[:, 0] / b[:, 1]).log()) for b in (ours, theirs)]


@pytest.mark.parametrize(("which", "spread"), [(0, 0.92), (1, 2 * math.log(4 / 3))], ids=["area", "aspect ratio"])
def test_crops_are_distributed_as_torchvisions(boxes, which, spread):
    ours, theirs = boxes[0][which], boxes[1][which]
    # sd of a difference of two quantiles is at most spread * sqrt(2 * 0.25 / n) = spread * 0.005 for a uniform density;
    # four of these, plus torchvision's rounding to whole px (0.5 of at least 85 px)
    tolerance = 4 * spread * 0.005 + 0.5 / 85 / 2
    at = torch.tensor([0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99])
    assert torch.allclose(ours.quantile(at), theirs.quantile(at), atol=tolerance)
    assert ours.mean().item() == pytest.approx(theirs.mean().item(), abs=tolerance)
    assert ours.std().item() == pytest.approx(theirs.std().item(), abs=tolerance)


def test_a_crop_is_anywhere_inside_the_image():
    n, shape = 20_000, (30, 50)
    matrices = AUGMENTATIONS.build("crop").matrices(n, shape, seeded_generator())
    size, centre = matrices[:, [0, 1], [0, 1]], matrices[:, :2, 2]
    assert (centre.abs() + size <= 1 + 1e-6).all()
    room = 1 - size
    place = (centre / room)[(room > 0.01).all(1)]  # -1 at one edge, 1 at the other
    for low, high in ((0.1, 0.4), (0.4, 0.7), (0.7, 1.0)):
        of_size = place[((size[:, 0] > low) & (size[:, 0] <= high))[(room > 0.01).all(1)]]
        at = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])
        tolerance = 4 * math.sqrt(0.25 / len(of_size)) * 2  # four sd of the quantile of a uniform of width 2
        for axis in (0, 1):
            assert torch.allclose(of_size[:, axis].quantile(at), 2 * at - 1, atol=tolerance)
    assert abs(torch.corrcoef(place.T)[0, 1]) < 4 / math.sqrt(len(place))


@pytest.mark.parametrize("shape", [(10, 100), (100, 10), (20, 20)])
def test_if_no_box_fits_the_crop_is_the_largest_allowed(shape):
    height, width = shape
    size, centre = AUGMENTATIONS.build("crop area=1,1 ratio=0.8,1.25").boxes(50, shape, seeded_generator())
    box = size * torch.tensor([width, height])
    ratio = box[:, 0] / box[:, 1]
    assert (ratio >= 0.8 - 1e-4).all()
    assert (ratio <= 1.25 + 1e-4).all()
    assert ((box[:, 0] - width).abs().minimum((box[:, 1] - height).abs()) < 1e-3).all()
    assert (centre[(ratio < 0.81) | (ratio > 1.24)] == 0).all()  # centred, as in torchvision


def test_augmentations_compose_in_the_order_given(monkeypatch):
    images = torch.rand(1, 1, 24, 24)
    monkeypatch.setattr(torch, "rand", lambda *size, generator: torch.full(size, 0.9))
    crop, mirror = "crop area=0.25,0.25 ratio=1,1", "flip p=1"
    for first, second in ((crop, mirror), (mirror, crop)):
        assert torch.allclose(
            augment_images(images, first, second), augment_images(augment_images(images, first), second), atol=1e-5
        )
    assert not torch.allclose(augment_images(images, crop, mirror), augment_images(images, mirror, crop), atol=0.1)


def test_pixel_values_change_after_the_geometry_in_any_order():
    images = torch.rand(4, 1, 16, 12)
    shift, brightness = AUGMENTATIONS.build("shift px=3"), AUGMENTATIONS.build("brightness")
    generator = seeded_generator(7)
    changed = augment(augment(images, [shift], generator)[0], [brightness], generator)[0]
    assert torch.allclose(augment(images, [brightness, shift], seeded_generator(7))[0], changed, atol=1e-6)


@pytest.mark.parametrize(
    "choice", ["crop ratio=0,1", "crop area=0,0", "crop area=-1,1", "flip p=7", "flip p=nan", "zoom by=2"]
)
def test_an_option_out_of_its_range_is_refused(choice):
    with pytest.raises(UserError, match=choice.split()[0]):
        augment_images(torch.rand(2, 1, 8, 8), choice)


# --------------------------------------------------------------------------------------------------- directions


@pytest.mark.parametrize("choice", ["rotate deg=180", "flip", "crop", "zoom by=0.3", "shift px=4"])
@pytest.mark.parametrize("shape", [(41, 41), (41, 61)])
def test_vectors_are_transformed_as_the_images_are(choice, shape):
    height, width = shape
    images = torch.zeros(1, 2, height, width)
    images[0, 0, height // 2 - 3 : height // 2 + 2, width // 2 - 3 : width // 2 + 2] = 1
    images[0, 1, height // 2 - 1 : height // 2 + 4, width // 2 + 2 : width // 2 + 7] = 1  # 5 right and 2 down
    for seed in range(5):
        changed, turn = augment(images, [AUGMENTATIONS.build(choice)], seeded_generator(seed))
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        weight = changed[0] / changed[0].sum((1, 2), keepdim=True).clamp(min=1e-6)
        places = torch.stack([(weight * x).sum((1, 2)), (weight * y).sum((1, 2))], 1)  # (2, 2)
        touches = changed[0].amax(0)
        if max(touches[0].max(), touches[-1].max(), touches[:, 0].max(), touches[:, -1].max()) > 0:
            continue  # cut off by a crop
        assert torch.allclose(places[1] - places[0], turn[0] @ torch.tensor([5.0, 2.0]), atol=0.15)


def test_without_movement_there_is_no_vector_transform():
    assert augment(torch.rand(2, 1, 8, 8), [AUGMENTATIONS.build("brightness")], seeded_generator())[1] is None
