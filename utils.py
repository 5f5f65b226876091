"""From dataset to split to loaders, and sessions on disk. Nothing else, ever."""

import csv
import json
import math
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset

from augment import Augmentation, augment
from choices import UserError
from datasets import DATASETS, Source, StimulusSet
from metadata import merge
from model import Model, build_model
from pictures import find_images
from splits import blocks, split
from store import Store

N_BLOCKS = 20
EXCERPT_VALUES = 2**27  # half a gigabyte of float32
FILL_GPU = 0.5  # the share of its free memory that images may take
EMOTIONS = {"_Ha_": "happy", "_Sa_": "sad"}

# ----------------------------------------------------------------------------------------------------- data


def open_store(flags: Mapping) -> Store:
    """Return where the images of a run lie decoded: --cache_dir, or a hidden folder beside the runs."""
    chosen = flags.get("cache_dir")
    return Store(Path(chosen or Path(flags["save_dir"]) / ".cache"), always=bool(chosen))


def open_dataset(flags: Mapping, data_dir: Path | None = None) -> StimulusSet:
    """Open the images of a run.

    Args:
        flags: the values of main's flags, as config.json has them too.
        data_dir: where the images are now, if not where the flags say.
    """
    source = Source(Path(data_dir or flags["data_dir"]), open_store(flags), flags["skip_unreadable"])
    dataset = DATASETS.build(flags["dataset"], source)
    if flags["split"] == "block":
        recordings = dataset.columns[dataset.group] if dataset.group else None
        merge(dataset.columns, {"block": blocks(dataset.ids, flags["n_blocks"] or N_BLOCKS, recordings)})
        dataset.in_blocks = True
    return dataset


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
    parts = split(known, how, val_fraction=val_fraction, test_fraction=0, fold=None, gap=0, seed=seed)
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

    def read_ahead(self, positions: Tensor) -> None:
        """Have the images at these positions fetched from the disk meanwhile."""
        self.dataset.read_ahead(self.indices[positions])

    def _sample(self, positions: Tensor) -> dict[str, Tensor]:
        return self.dataset.sample(self.indices[positions], self.device)


class EvenBatches:
    """Positions 0..n-1 in batches of nearly equal size: none is dropped, and no small one is left over.

    Args:
        draw: shuffles anew at each iteration; None keeps the order.
        announce: told each batch one batch early.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        draw: Generator | None = None,
        announce: Callable[[Tensor], None] | None = None,
    ) -> None:
        self.n = n
        self.n_batches = -(-n // batch_size)
        self.draw = draw
        self.announce = announce

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.arange(self.n) if self.draw is None else torch.randperm(self.n, generator=self.draw)
        batches = order.tensor_split(self.n_batches)
        if self.announce is None:
            yield from batches
            return
        self.announce(batches[0])
        for batch, following in zip(batches, (*batches[1:], batches[0][:0]), strict=True):
            self.announce(following)
            yield batch


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
    if device.type == "cuda" and dataset.images.nbytes < FILL_GPU * torch.cuda.mem_get_info(device)[0]:
        dataset.keep_on(device)
    loaders = {}
    for part in ("training", "validation", "test"):
        indices = parts[part]
        if not indices:
            continue
        draw = Generator().manual_seed(seed) if part == "training" else None
        batches = Batches(dataset, indices, objective, device, augmentations if draw else (), draw)
        sampler = EvenBatches(len(indices), batch_size, draw, batches.read_ahead if dataset.is_mapped else None)
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
