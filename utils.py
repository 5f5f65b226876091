"""From dataset to split to loaders, and sessions on disk. Nothing else, ever."""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Generator, Tensor
from torch.nn import Module
from torch.utils.data import DataLoader, Dataset

from augment import Augmentation, augment
from choices import UserError, require
from datasets import DATASETS, Source, StimulusSet
from encoded import load_pickled, snapshots
from metadata import merge
from model import Model, build_model
from objectives import OBJECTIVES, Objective
from splits import blocks
from store import Store

N_BLOCKS = 20
EXCERPT_VALUES = 2**27  # half a gigabyte of float32
FILL_GPU = 0.5  # the share of its free memory that images may take

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


def open_task(flags: Mapping, data_dir: Path | None = None) -> tuple[StimulusSet, Objective]:
    """Open the images of a run, and what is to be predicted of them; arguments as of `open_dataset`."""
    objective = OBJECTIVES.build(flags["objective"])
    dataset = open_dataset(flags, data_dir)
    objective.check(dataset.provides, dataset.classes, dataset.neurons)
    if objective.columns:
        dataset.aim_at(objective.columns)
        objective.check_values(dataset.values)
    if "response" in objective.needs:
        objective.check_values(dataset.responses)
    return dataset, objective


# --------------------------------------------------------------------------------------------------- loaders


def leave_unknown_out(
    dataset: StimulusSet, objective: Objective, parts: dict[str, list[int]]
) -> tuple[dict[str, list[int]], list[str]]:
    """Leave images out of every part of which the numbers are not known that are to be predicted.

    Returns:
        The parts, and what the user should know.

    Raises:
        UserError: where a part would have no image left, or a column is empty in all of a part.
    """
    if dataset.values is None:
        return parts, []
    known = objective.known(dataset.values)  # (N,)
    for part in ("training", "validation", "test"):
        indices = parts.get(part, [])
        told = bool(known[indices].any()) and bool(dataset.values[indices].isfinite().any(0).all())
        require(told or not indices, f"a column to be predicted is empty for all {len(indices)} {part} images")
    unknown = set((~known).nonzero()[:, 0].tolist()) - set(parts.get("left_out", []))
    if not unknown:
        return parts, []
    kept = {part: [index for index in indices if index not in unknown] for part, indices in parts.items()}
    kept["left_out"] = sorted([*parts.get("left_out", []), *unknown])
    return kept, [f"{len(unknown)} images are left out, of which the numbers to be predicted are not known"]


class Batches(Dataset):
    """The images of one part as pairs (x, y), gathered, scaled and augmented a batch at a time.

    Args:
        draws: what training draws from, one for each repetition; without any, a batch is drawn in the same way each
            time.
        latents: (N, D) of all images of the dataset, to be x in place of them, or None.
    """

    def __init__(
        self,
        dataset: StimulusSet,
        indices: Sequence[int],
        objective: Objective,
        device: torch.device,
        augmentations: Sequence[Augmentation] = (),
        draws: Sequence[Generator] = (),
        latents: Tensor | None = None,
    ) -> None:
        self.dataset = dataset
        self.indices = torch.tensor(indices, dtype=torch.long)
        self.objective = objective
        self.device = device
        self.augmentations = augmentations
        self.draws = draws
        self.latents = latents

    def __len__(self) -> int:
        return len(self.indices)

    def __getitems__(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return (x, y) of the images at (B,) positions of this part, or at (R, B), a row for each repetition."""
        if positions.ndim == 1:
            draw = self.draws[0] if self.draws else Generator().manual_seed(int(positions[0]))
            return self._changed(positions, draw)
        if self.augmentations or self.objective.draws:
            pairs = [self._changed(row, draw) for row, draw in zip(positions, self.draws, strict=True)]
            x, y = (torch.stack(parts) for parts in zip(*pairs, strict=True))
            return x, y
        flat = positions.flatten()
        x, y = self._pair(self._sample(flat), flat, self.draws[0])
        return x.unflatten(0, positions.shape), y.unflatten(0, positions.shape)

    def excerpt(self) -> tuple[Tensor, Tensor]:
        """Return (x, y) of all images, not augmented; of evenly spaced ones where all would fill too much memory."""
        most = max(1, EXCERPT_VALUES // math.prod(self.dataset.image_shape))
        positions = torch.arange(0, len(self), -(-len(self) // most))
        return self._pair(self._sample(positions), positions, Generator().manual_seed(0))

    def read_ahead(self, positions: Tensor) -> None:
        """Have the images at these positions fetched from the disk meanwhile."""
        self.dataset.read_ahead(self.indices[positions.flatten()])

    def _changed(self, positions: Tensor, draw: Generator) -> tuple[Tensor, Tensor]:
        sample = self._sample(positions)
        if self.augmentations:
            sample["image"], turn = augment(sample["image"], self.augmentations, draw)
            sample |= {} if turn is None else {"turn": turn}
        return self._pair(sample, positions, draw)

    def _pair(self, sample: dict[str, Tensor], positions: Tensor, draw: Generator) -> tuple[Tensor, Tensor]:
        x, y = self.objective.pair(sample, draw)
        return (x if self.latents is None else self.latents[self.indices[positions].to(self.latents.device)]), y

    def _sample(self, positions: Tensor) -> dict[str, Tensor]:
        return self.dataset.sample(self.indices[positions], self.device)


class EvenBatches:
    """Positions 0..n-1 in batches of nearly equal size: none is dropped, and no small one is left over.

    Args:
        draws: shuffle anew at each iteration; none keep the order. Several shuffle each for a repetition of its own,
            and a batch is (R, B) positions.
        announce: told each batch one batch early.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        draws: Sequence[Generator] = (),
        announce: Callable[[Tensor], None] | None = None,
    ) -> None:
        self.n = n
        self.n_batches = -(-n // batch_size)
        self.draws = draws
        self.announce = announce

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[Tensor]:
        orders = [torch.randperm(self.n, generator=draw) for draw in self.draws] or [torch.arange(self.n)]
        order = torch.stack(orders) if len(orders) > 1 else orders[0]
        batches = order.tensor_split(self.n_batches, -1)
        if self.announce is None:
            yield from batches
            return
        self.announce(batches[0])
        for batch, following in zip(batches, (*batches[1:], batches[0][..., :0]), strict=True):
            self.announce(following)
            yield batch


def dataloaders(
    dataset: StimulusSet,
    parts: dict[str, list[int]],
    objective: Objective,
    *,
    batch_size: int,
    augmentations: Sequence[Augmentation],
    device: torch.device,
    seed: int,
    repetitions: int = 1,
    latents: Tensor | None = None,
) -> dict[str, DataLoader]:
    """Return a loader for each part that has images; only training is shuffled and augmented.

    The training loader's `batch_sampler.draws` are the one source of shuffling and augmentation: saving their states
    is what makes a resumed run continue exactly. With `latents` (N, D) of all images, x is those in place of images.
    With several repetitions, training batches are stacked, (R, B, ...), each shuffled and augmented from its own seed.
    """
    if device.type == "cuda" and dataset.images.nbytes < FILL_GPU * torch.cuda.mem_get_info(device)[0]:
        dataset.keep_on(device)
    loaders = {}
    for part in ("training", "validation", "test"):
        indices = parts.get(part)
        if not indices:
            continue
        draws = [Generator().manual_seed(seed + r) for r in range(repetitions)] if part == "training" else []
        batches = Batches(dataset, indices, objective, device, augmentations if draws else (), draws, latents)
        sampler = EvenBatches(len(indices), batch_size, draws, batches.read_ahead if dataset.is_mapped else None)
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


def save_session(
    run: Path, epoch: int, model: Module, optimizer, state: dict, best: dict[str, Tensor] | None, *, keep_all: bool
) -> None:
    """Write run/<epoch>/{model,optim,state}.pth whole or not at all, and the best weights to run/best.

    Args:
        state: all else that a resumed run needs.
        best: the best weights so far, if there are any yet.
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
        if best:
            write_best(run, best)
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
    """Take along into a new run that goes on from a session what the earlier epochs have left."""
    for name in ("metrics.jsonl", "encoder.pkl"):
        if (session.parent / name).exists():
            shutil.copy2(session.parent / name, run / name)
    for epochs, path in snapshots(session.parent).items():
        if epochs <= int(session.name) + 1:
            (run / "latents").mkdir(exist_ok=True)
            shutil.copy2(path, run / "latents" / path.name)


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
    digest = load_config(run).get("digest")
    if digest not in (None, dataset.digest):
        raise UserError(f"these are as many images as {run} was trained on, but others; name theirs by --data_dir")
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


def load_model(load_dir: Path | str, *, trust_pickle: bool = False) -> tuple[Model, dict]:
    """Rebuild the model of a session with its weights, ready to use; returns it and the config of its run.

    Args:
        load_dir: a run or a session.
        trust_pickle: also open what lies in a pickle (a UMAP), which can run code.
    """
    run, session = find_session(Path(load_dir))
    config = load_config(run)
    model = build_model(**config["model"])
    model.load_state_dict(load_weights(session))
    if trust_pickle:
        model.encoder.pickled = load_pickled(run)
    return model.eval(), config


def load_weights(session: Path) -> dict[str, Tensor]:
    """Return the weights of a session of one network.

    Raises:
        UserError: for those of several repetitions.
    """
    n = load_config(session.parent).get("flags", {}).get("repetitions", 1)
    if n > 1 and session.name != "best":
        raise UserError(f"{session} holds {n} repetitions; {session.parent / 'best'} has the weights of the best")
    return load_pth(session / "model.pth")


def load_encoder(model: Model, load_dir: Path, n_fresh: int, *, trust_pickle: bool) -> None:
    """Give a model the encoder of a run (its best weights) or session, but for its last stages.

    Args:
        n_fresh: stages that start anew, counted from the end, of which the head is the first.
        trust_pickle: also open what lies in a pickle.

    Raises:
        UserError: where the two do not match.
    """
    session = best_session(load_dir)
    stages = list(model.stages())
    require(n_fresh <= len(stages), f"--fresh_stages {n_fresh}: there are {len(stages)} stages: {', '.join(stages)}")
    fresh = tuple(f"stages.{name}." for name in stages[len(stages) - n_fresh :])
    saved = {
        key.removeprefix("encoder."): value
        for key, value in load_weights(session).items()
        if key.startswith("encoder.")
    }
    own = model.encoder.state_dict()
    wanted = {key: saved.get(key) for key in own if not key.startswith(fresh)}
    wrong = [key for key, value in wanted.items() if value is None or value.shape != own[key].shape]
    wrong += [key for key in saved if key not in own and not key.startswith(fresh)]
    if wrong:
        raise UserError(
            f"the encoder of {session} does not fit: {', '.join(wrong[:3])}; images must be of "
            "the same size and --encoder and --latent_dim the same as there, but for stages that start anew"
        )
    model.encoder.load_state_dict(own | wanted)
    if trust_pickle:
        model.encoder.pickled = load_pickled(session.parent)


def trained_on(load_dir: Path, dataset: StimulusSet) -> set[str]:
    """Return the ids of the images of a dataset that the encoder of a run has seen in training, there or before."""
    seen: set[str] = set()
    following: Path | None = load_dir
    while following and following.exists():
        run = find_session(following)[0]
        config = load_config(run)
        if config.get("digest") == dataset.digest:
            seen |= set(json.loads((run / "split.json").read_text())["training"])
        before = config["flags"].get("load_encoder")
        following = Path(before) if before else None
    return seen


def best_session(load_dir: Path) -> Path:
    """Return the session that a path means, for a run that with the best weights."""
    run, session = find_session(load_dir)
    return run / "best" if load_dir == run and (run / "best" / "model.pth").is_file() else session


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
