"""Near-duplicates: the share of changed copies that is found, and of unrelated images that is not right.

`python -m benchmarks.simulations.duplicates FOLDER` with a folder that holds `v4_natural`; 1,000 training images, 200
copies of the first ones, changed, and 500 images that are no copies. Takes a minute.
"""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from neuro_noodle.data.base import StimulusSet
from neuro_noodle.data.duplicates import near_duplicates

N_TRAINING = 1000
N_COPIES = 200
N_UNRELATED = 500
MARGIN = 2  # px around each image, for shifts


def main(folder: Path) -> None:
    """Print a row per kind of change and a column per kind of image."""
    photographs = load_photographs(folder)
    sets = {
        "photographs, 96 px": np.stack([_resized(one, 96 + 2 * MARGIN) for one in photographs]),
        "patches of different photographs, 31 px": np.stack([_patch(i, one) for i, one in enumerate(photographs)]),
        "gratings, 64 px": draw_gratings(N_TRAINING + N_UNRELATED, 64 + 2 * MARGIN),
    }
    print("| share found of copies that are |", " | ".join(sets), "|")
    print("|---|" + "---|" * len(sets))
    for name, change in CHANGES.items():
        shares = [share_found(shifted(images), change(images[:N_COPIES])) for images in sets.values()]
        print(f"| {name} |", " | ".join(f"{share:.2f}" for share in shares), "|")
    shares = [share_found(shifted(images), shifted(images)[-N_UNRELATED:]) for images in sets.values()]
    print("| no copies |", " | ".join(f"{share:.3f}" for share in shares), "|")


def share_found(images: np.ndarray, others: np.ndarray) -> float:
    """Return the share of other images (n, H, W) that have a near-duplicate among the first 1,000 of some images."""
    images = np.concatenate([images[:N_TRAINING], others])[:, None]
    dataset = StimulusSet(images, [str(i) for i in range(len(images))], max_value=255, columns={})
    found = near_duplicates(dataset, list(range(N_TRAINING)), list(range(N_TRAINING, len(images))))
    return found.n / found.n_checked


def load_photographs(folder: Path) -> np.ndarray:
    """Return the different photographs (n, 56, 56), in random order, of both sessions of Cowley et al. 2023."""
    images = np.concatenate([np.load(path)["images"] for path in sorted((folder / "v4_natural").glob("*.npz"))])
    images = np.unique(images.reshape(len(images), -1), axis=0).reshape(-1, *images.shape[1:]).astype(float)
    low, high = images.min(), images.max()
    return _rounded(np.random.default_rng(0).permutation((images - low) / (high - low) * 255))


def draw_gratings(n: int, side: int) -> np.ndarray:
    """Return sinusoidal gratings (n, side, side) of random orientation, 1 to 6 cycles and random phase."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] - side / 2
    angle, phase = generator.uniform(0, np.pi, (n, 1, 1)), generator.uniform(0, 2 * np.pi, (n, 1, 1))
    cycles = generator.uniform(1, 6, (n, 1, 1)) / side
    return _rounded(127.5 + 100 * np.sin(2 * np.pi * cycles * (x * np.cos(angle) + y * np.sin(angle)) + phase))


def shifted(images: np.ndarray, x: int = 0, y: int = 0) -> np.ndarray:
    """Return images without their margin, shifted by so many px."""
    end = [side - MARGIN for side in images.shape[1:]]
    return images[:, MARGIN + y : end[0] + y, MARGIN + x : end[1] + x]


def compressed(images: np.ndarray, quality: int) -> np.ndarray:
    """Return images as they are after a JPEG file."""
    out = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality)
        out.append(np.asarray(Image.open(file)))
    return np.stack(out)


def _noisy(images: np.ndarray) -> np.ndarray:
    return _rounded(images + np.random.default_rng(0).normal(0, 15, images.shape))


def _rounded(images: np.ndarray) -> np.ndarray:
    return images.clip(0, 255).round().astype(np.uint8)


def _resized(image: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))


def _patch(index: int, image: np.ndarray) -> np.ndarray:
    """Return a patch of a photograph, from another place for each index."""
    side = 31 + 2 * MARGIN
    y, x = index % (56 - side), 7 * index % (56 - side)
    return image[y : y + side, x : x + side]


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "the same": shifted,
    "of 70 % of the contrast": lambda images: _rounded(127 + 0.7 * (shifted(images) - 127.0)),
    "brighter by 30 of 255": lambda images: _rounded(shifted(images) + 30.0),
    "shifted by 1 px": lambda images: shifted(images, 1),
    "shifted by 2 px": lambda images: shifted(images, 2),
    "shifted by 2 px and 1 px": lambda images: shifted(images, 2, 1),
    "mirrored": lambda images: shifted(images)[:, :, ::-1],
    "noisy, sd 15 of 255": lambda images: _noisy(shifted(images)),
    "JPEG files of quality 75": lambda images: compressed(shifted(images), 75),
    "JPEG files of quality 10": lambda images: compressed(shifted(images), 10),
}

if __name__ == "__main__":
    main(Path(sys.argv[1]))
