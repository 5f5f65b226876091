"""From dataset to split to loaders, and sessions on disk. Nothing else, ever."""

import csv
import json
import math
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset

from augment import Augmentation, augment
from choices import UserError
from datasets import StimulusSet, find_images
from model import Model, build_model

PART_FOLDERS = {"train": "training", "training": "training", "val": "validation", "validation": "validation"}
PART_FOLDERS |= {"valid": "validation", "test": "test"}
EXCERPT_VALUES = 2**28  # a gigabyte of float32
EMOTIONS = {"_Ha_": "happy", "_Sa_": "sad"}

# ---------------------------------------------------------------------------------------------------- splits


def split(
    dataset: StimulusSet,
    how: str,
    *,
    val_fraction: float,
    test_fraction: float,
    fold: tuple[int, int] | None,
    seed: int,
) -> dict[str, list[int]]:
    """Deal the images out to training, validation and test.

    Args:
        dataset: its ids, labels and groups are used, never its images.
        how: random (balanced by class), group (no person in two parts) or given (folders train, val, test).
        test_fraction: share of the images, or of the groups.
        val_fraction: share of what is not test.
        fold: (k, K): the k-th of K equal parts, from 1, is the test part.
        seed: of the dealing alone.

    Returns:
        The (sorted) indices of each part; test is empty unless asked for.

    Raises:
        UserError: where a part that was asked for would be empty, or wishes contradict each other.
    """
    if test_fraction and (fold or how == "given"):
        raise UserError(f"--test_fraction makes a test part, as {'--fold' if fold else '--split given'} does; give one")
    if fold and how == "given":
        raise UserError("--fold deals images out, and --split given takes the folders as they are; give one")
    if how == "given":
        return _given(dataset)
    if how == "group" and dataset.group is None:
        raise UserError(
            "--split group needs to know which images belong together: name a column by --dataset folder group=COLUMN; "
            f"there are {', '.join(dataset.columns)}"
        )
    names = dataset.columns[dataset.group] if how == "group" else dataset.ids
    units, codes = np.unique(names, return_inverse=True)
    order = _balanced_order(units, codes, dataset, seed)
    if fold:
        slices = np.array_split(order, fold[1])
        test = slices[fold[0] - 1]
        order = np.concatenate(slices[: fold[0] - 1] + slices[fold[0] :])
    else:
        n_test = max(1, round(test_fraction * len(order))) if test_fraction else 0
        test, order = order[:n_test], order[n_test:]
    n_validation = max(1, round(val_fraction * len(order)))
    chosen = {"training": order[n_validation:], "validation": order[:n_validation], "test": test}
    wanted = ["training", "validation"] + (["test"] if fold or test_fraction else [])
    empty = [part for part in wanted if len(chosen[part]) == 0]
    if empty:
        what = f"{len(units)} different {dataset.group}" if how == "group" else f"{len(units)} images"
        raise UserError(f"{what} are too few to deal out: nothing is left for {' and '.join(empty)}")
    return {part: np.flatnonzero(np.isin(codes, dealt)).tolist() for part, dealt in chosen.items()}


def _balanced_order(units: np.ndarray, codes: np.ndarray, dataset: StimulusSet, seed: int) -> np.ndarray:
    """Return the units in random order, such that every stretch of it holds the classes in their proportion."""
    draw = np.random.default_rng(seed)
    shuffled = draw.permutation(len(units))
    if dataset.labels is None:
        return shuffled
    first = np.unique(codes, return_index=True)[1]
    labels = dataset.labels.numpy()[first][shuffled]  # a unit of several classes counts as that of its first image
    place = np.empty(len(units))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        place[members] = (np.arange(len(members)) + draw.random()) / len(members)
    return shuffled[np.argsort(place, kind="stable")]


def _given(dataset: StimulusSet) -> dict[str, list[int]]:
    parts = {"training": [], "validation": [], "test": []}
    for index, name in enumerate(dataset.ids):
        part = PART_FOLDERS.get(name.split("/")[0].lower())
        if part is None:
            raise UserError(
                f"--split given: {name} does not lie in a folder train, val or test at the top of --data_dir"
            )
        parts[part].append(index)
    empty = [part for part in ("training", "validation") if not parts[part]]
    if empty:
        raise UserError(f"--split given: no image for {' and '.join(empty)}; --data_dir needs folders train and val")
    return parts


def shared_groups(parts: dict[str, list[int]], groups: Sequence[str]) -> int:
    """Return how many groups stand both in training and in another part."""
    trained = {groups[i] for i in parts["training"]}
    return len(trained & {groups[i] for part in ("validation", "test") for i in parts[part]})


def make_classification_dataset(data_dir: Path, out: Path, *, apart: bool, val_fraction: float, seed: int) -> dict:
    """Arrange `_Ha_` and `_Sa_` images as out/{train,val}/{happy,sad}; the originals stay as they are.

    Args:
        data_dir: searched at any depth.
        out: made anew; an earlier one of ours is replaced, a folder with anything else in it is refused.
        apart: keep whole people apart; the person is what stands before the first _ of a file name.
        val_fraction: share of the images (people) of each emotion for val.

    Returns:
        Counts, by (part, emotion), and of what was left out. `out/rejig.csv` has a row for every file.
    """
    _refuse_foreign(out)
    for stale in out.parent.glob(f".{out.name}.*"):
        shutil.rmtree(stale)
    paths = find_images(data_dir)
    emotions = [next((emotion for key, emotion in EMOTIONS.items() if key in path.name), "left out") for path in paths]
    kept = [i for i, emotion in enumerate(emotions) if emotion != "left out"]
    if len({emotions[i] for i in kept}) < 2:
        raise UserError(f"--rejig_data needs both {' and '.join(EMOTIONS)} in the file names below {data_dir}")
    columns = {"emotion": [emotions[i] for i in kept], "person": [paths[i].name.split("_")[0] for i in kept]}
    ids = [paths[i].relative_to(data_dir).as_posix() for i in kept]
    known = StimulusSet(torch.empty(0), ids, max_value=1, columns=columns, label="emotion", group="person")
    how = "group" if apart else "random"
    parts = split(known, how, val_fraction=val_fraction, test_fraction=0, fold=None, seed=seed)
    validation = {kept[i] for i in parts["validation"]}
    repeated = {name for name, count in Counter(path.name for path in paths).items() if count > 1}

    try:
        scratch = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}") from error
    rows = []
    for i, path in enumerate(paths):
        source = path.relative_to(data_dir)
        if emotions[i] == "left out":
            rows.append({"file": source.as_posix(), "to": "", "how": "left out"})
            continue
        name = "_".join(source.parts) if path.name in repeated else path.name
        to = Path("val" if i in validation else "train", emotions[i], name)
        rows.append({"file": source.as_posix(), "to": to.as_posix(), "how": _link_or_copy(path, scratch / to)})
    with (scratch / "rejig.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["file", "to", "how"])
        writer.writeheader()
        writer.writerows(rows)
    scratch.chmod(0o755)
    if out.exists():
        out.rename(scratch.with_suffix(".old"))
    scratch.rename(out)
    shutil.rmtree(scratch.with_suffix(".old"), ignore_errors=True)
    return Counter("/".join(row["to"].split("/")[:2]) or "left out" for row in rows)


def _refuse_foreign(out: Path) -> None:
    """Raise UserError if a folder holds a file that is not in its own rejig.csv."""
    if not out.exists():
        return
    known = {"rejig.csv"}
    if (out / "rejig.csv").is_file():
        with (out / "rejig.csv").open(newline="") as file:
            known |= {row["to"] for row in csv.DictReader(file)}
    foreign = [path for path in out.rglob("*") if path.is_file() and path.relative_to(out).as_posix() not in known]
    if foreign or not out.is_dir() or out.is_symlink():
        raise UserError(
            f"{out} holds files that --rejig_data did not put there, such as {foreign[:1] or out}; move them away"
        )


def _link_or_copy(source: Path, to: Path) -> str:
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, to)
    except OSError:  # another disk, or a file system without hard links
        shutil.copy2(source, to)
        return "copy"
    return "hard link"


# --------------------------------------------------------------------------------------------------- loaders


class Batches(Dataset):
    """The images of one part as pairs (x, y), gathered, scaled and augmented a batch at a time."""

    def __init__(
        self,
        dataset: StimulusSet,
        indices: Sequence[int],
        objective,
        device: torch.device,
        augmentations: Sequence[Augmentation] = (),
        draw: Generator | None = None,
    ) -> None:
        self.dataset = dataset
        self.indices = torch.tensor(indices, dtype=torch.long)
        self.objective = objective
        self.device = device
        self.augmentations = augmentations
        self.draw = draw

    def __len__(self) -> int:
        return len(self.indices)

    def __getitems__(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return (x, y) of the images at (B,) positions of this part."""
        sample = self._sample(positions)
        if self.augmentations:
            sample["image"] = augment(sample["image"], self.augmentations, self.draw)
        return self.objective.pair(sample)

    def excerpt(self) -> tuple[Tensor, Tensor]:
        """Return (x, y) of all images, not augmented; of evenly spaced ones where all would fill too much memory."""
        most = max(1, EXCERPT_VALUES // math.prod(self.dataset.image_shape))
        return self.objective.pair(self._sample(torch.arange(0, len(self), -(-len(self) // most))))

    def _sample(self, positions: Tensor) -> dict[str, Tensor]:
        sample = self.dataset.sample(self.indices[positions])
        sample = {key: value.to(self.device, non_blocking=True) for key, value in sample.items()}
        sample["image"] = sample["image"].float() / self.dataset.max_value  # (B, C, H, W) in [0, 1]
        return sample


class EvenBatches:
    """Positions 0..n-1 in batches of nearly equal size: none is dropped, and no small one is left over."""

    def __init__(self, n: int, batch_size: int, draw: Generator | None = None) -> None:
        self.n = n
        self.n_batches = -(-n // batch_size)
        self.draw = draw

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.arange(self.n) if self.draw is None else torch.randperm(self.n, generator=self.draw)
        yield from order.tensor_split(self.n_batches)


def dataloaders(
    dataset: StimulusSet,
    parts: dict[str, list[int]],
    objective,
    *,
    batch_size: int,
    augmentations: Sequence[Augmentation],
    device: torch.device,
    seed: int,
) -> dict[str, DataLoader]:
    """Return a loader for each part that has images; only training is shuffled and augmented.

    The training loader's `batch_sampler.draw` is the one source of shuffling and augmentation: saving its state
    is what makes a resumed run continue exactly.
    """
    loaders = {}
    for part, indices in parts.items():
        if not indices:
            continue
        draw = Generator().manual_seed(seed) if part == "training" else None
        batches = Batches(dataset, indices, objective, device, augmentations if draw else (), draw)
        sampler = EvenBatches(len(indices), batch_size, draw)
        loaders[part] = DataLoader(batches, batch_sampler=sampler, collate_fn=_as_it_is)
    return loaders


def _as_it_is(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return batch


# -------------------------------------------------------------------------------------------------- sessions


def new_run(save_dir: Path, name: str) -> Path:
    """Make and return the folder save_dir/name, or save_dir/name-2 and so on where that exists."""
    number = 1
    while True:
        run = save_dir / (name if number == 1 else f"{name}-{number}")
        try:
            run.mkdir(parents=True)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise UserError(f"cannot write to --save_dir {save_dir}: {error.strerror}") from error
        else:
            return run


def save_session(run: Path, epoch: int, model: Model, optimizer, state: dict, *, keep_all: bool) -> None:
    """Write run/<epoch>/{model,optim,state}.pth whole or not at all, and the best weights to run/best.

    Args:
        state: all else that a resumed run needs; state["best"] holds the best weights and their epoch.
        keep_all: else the earlier sessions are removed once this one is complete.
    """
    for stale in run.glob(".session.*"):
        shutil.rmtree(stale)
    earlier = sessions(run)
    try:
        scratch = Path(tempfile.mkdtemp(dir=run, prefix=".session."))
        for name, content in (("model", model.state_dict()), ("optim", optimizer.state_dict()), ("state", state)):
            _save(content, scratch / f"{name}.pth")
        scratch.chmod(0o755)
        scratch.rename(run / str(epoch))
        _sync_folder(run)
        if state["best"]:
            write_best(run, state["best"]["model"])
    except (OSError, RuntimeError) as error:  # torch tells of a full disk by a RuntimeError
        raise UserError(
            f"cannot write session {epoch} to {run}: {str(error).splitlines()[0]}; earlier sessions are whole"
        ) from error
    if not keep_all:
        for session in earlier:
            shutil.rmtree(session)


def write_best(run: Path, weights: dict[str, Tensor]) -> None:
    """Write the best weights so far to run/best/model.pth."""
    folder = run / "best"
    folder.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".model.", delete=False) as file:
        scratch = Path(file.name)
    _save(weights, scratch)
    scratch.chmod(0o644)
    scratch.replace(folder / "model.pth")


def sessions(run: Path) -> list[Path]:
    """Return the complete sessions of a run, the latest last."""
    found = [path for path in run.iterdir() if path.name.isdigit() and (path / "state.pth").is_file()]
    return sorted(found, key=lambda path: int(path.name))


def find_session(load_dir: Path) -> tuple[Path, Path]:
    """Return the run and the session that a path means: a run (its latest), run/<epoch> or run/best.

    Raises:
        UserError: where there is no session.
    """
    if (load_dir / "config.json").is_file():
        complete = sessions(load_dir)
        if not complete:
            raise UserError(
                f"{load_dir} is a run without a complete session: it was stopped before the first was saved"
            )
        return load_dir, complete[-1]
    if (load_dir / "model.pth").is_file() and (load_dir.parent / "config.json").is_file():
        return load_dir.parent, load_dir
    raise UserError(
        f"{load_dir} is no session; name a run such as weights/faces_ae, or a session of it such as weights/faces_ae/39"
    )


def copy_history(session: Path, run: Path) -> None:
    """Take a session's metrics along into a new run that goes on from it."""
    shutil.copy2(session.parent / "metrics.jsonl", run / "metrics.jsonl")


def name_split(parts: dict[str, list[int]], dataset: StimulusSet) -> dict[str, list[str]]:
    """Return the ids of the images in each part."""
    return {part: [dataset.ids[i] for i in indices] for part, indices in parts.items()}


def load_split(run: Path, dataset: StimulusSet) -> dict[str, list[int]]:
    """Return the indices of each part as the run had dealt them.

    Raises:
        UserError: where the dataset no longer holds the same images.
    """
    named = json.loads((run / "split.json").read_text())
    index = {name: i for i, name in enumerate(dataset.ids)}
    missing = [name for names in named.values() for name in names if name not in index]
    new = len(index) + len(missing) - sum(len(names) for names in named.values())
    if missing or new:
        example = f", such as {missing[0]}" if missing else ""
        raise UserError(
            f"these are not the images that {run} was trained on: {len(missing)} are missing{example}, and {new} are "
            "new; name the right folder by --data_dir"
        )
    return {part: [index[name] for name in names] for part, names in named.items()}


def load_pth(path: Path) -> dict:
    """Read a .pth file of tensors and plain values; nothing in it is ever run."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path} is missing, so this session cannot be opened; try an earlier one") from None
    except Exception as error:  # a damaged file fails in any way
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise UserError(f"{path} is damaged, or holds more than weights ({reason}); try an earlier session") from error


def load_config(run: Path) -> dict:
    """Read the config.json of a run."""
    try:
        return json.loads((run / "config.json").read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{run / 'config.json'} cannot be read: {error}") from error


def load_model(load_dir: Path | str) -> tuple[Model, dict]:
    """Rebuild the model of a session with its weights, ready to use; returns it and the config of its run."""
    run, session = find_session(Path(load_dir))
    config = load_config(run)
    model = build_model(**config["model"])
    model.load_state_dict(load_pth(session / "model.pth"))
    return model.eval(), config


def write_json(path: Path, content: object) -> None:
    """Write a JSON file whole or not at all."""
    scratch = path.with_name(f".{path.name}.part")
    with scratch.open("w") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)


def _save(content: object, path: Path) -> None:
    with path.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
