"""Ranks: processes that train one network together, each on its part of every batch; torchrun starts them.

Every process opens the same images, builds the same network, shuffles and augments the same batches, and takes the same
steps: only the forward and backward pass of a batch are divided. The first process writes the run; the others write
nothing. In a single process, the functions here change nothing.
"""

import contextlib
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from hashlib import blake2b
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn, optim, vmap

from neuro_noodle.choices import UserError, require
from neuro_noodle.plain import first_line, n_processes

TIMEOUT = timedelta(days=1)  # longer than anything that the first process does while the others wait
FIRST_S = 1.0  # so much later others report an error, so that one that all have is reported by the first

Value = TypeVar("Value")


def count() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_writer() -> bool:
    """Return whether this process writes the run."""
    return not dist.is_initialized() or dist.get_rank() == 0


@contextlib.contextmanager
def joined(device: str) -> Iterator[None]:
    """Connect the processes that train together, and give each its GPU; ends when all have ended.

    An error in one ends all of them, and is reported once.

    Args:
        device: the value of --device.

    Raises:
        UserError: if they cannot connect, or if there are fewer GPUs than processes.
    """
    if n_processes() == 1:
        yield
        return
    has_gpus = torch.cuda.is_available() and device != "cpu"
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if has_gpus else "gloo", timeout=TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"the {n_processes()} processes of this training cannot connect ({first_line(error)}); start them with "
            "torchrun"
        ) from error
    with _one_report():
        if has_gpus:
            _choose_gpu(device)
        yield
        dist.barrier()
    dist.destroy_process_group()


def _choose_gpu(device: str) -> None:
    """Let `cuda` mean the GPU of this process."""
    local, n_gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    require(":" not in device, f"--device {device} names one GPU, but each process needs its own; write --device cuda")
    require(
        local < n_gpus,
        f"process {local + 1} on {platform.node()} has no GPU, because there are {n_gpus}; start as many processes as "
        "there are GPUs, or add --device cpu",
    )
    torch.cuda.set_device(local)


@contextlib.contextmanager
def _one_report() -> Iterator[None]:
    """Report the error of the process that fails first; the others, which then fail too, end silently."""
    server = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(*server, is_master=False)
    ended = f"ended{os.environ.get('TORCHELASTIC_RESTART_COUNT', '')}"
    try:
        yield
    except BaseException as error:
        if not is_writer():
            time.sleep(FIRST_S)
        n_ended = 0
        with contextlib.suppress(RuntimeError):  # the process that keeps the store has ended
            n_ended = store.add(ended, 1)
        if n_ended != 1:
            raise SystemExit(130 if isinstance(error, KeyboardInterrupt) else 2) from None
        if not is_writer() and isinstance(error, Exception):
            where = f"process {dist.get_rank() + 1} of {count()}, on {platform.node()}"
            print(f"error: {first_line(error)} ({where})", file=sys.__stderr__, flush=True)
        raise
    store.add(ended, 1)


# ------------------------------------------------------------------------------------------------ what all agree on


def of_first(value: Value) -> Value:
    """Return the value that the first process has."""
    if count() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


def by_first(compute: Callable[[], Value]) -> Value:
    """Return the result of a function that only the first process calls; the others wait for it."""
    return compute() if count() == 1 else of_first(compute() if is_writer() else cast(Value, None))


def any_of(value: bool) -> bool:
    """Return whether a value is true in any process."""
    return bool(total(torch.tensor(float(value)))) if count() > 1 else value


def total(values: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes; the gradient reaches each of them."""
    return Total.apply(values) if count() > 1 else values


class Total(torch.autograd.Function):
    """The sum of a tensor over all processes."""

    @staticmethod
    def forward(values: Tensor) -> Tensor:
        """Return the sum."""
        summed = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed.detach()  # a tensor of its own, because the threads of gloo may keep the other for longer

    @staticmethod
    def setup_context(context: Any, inputs: Any, output: Any) -> None:
        """Keep nothing for the backward pass."""

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        """Return the gradient: each process contributes to the loss of all."""
        return Total.apply(gradient)

    @staticmethod
    def vmap(info: Any, axes: Any, values: Tensor) -> Any:
        """Return the sums of stacked tensors."""
        return Total.apply(values), axes[0]


class Follower:
    """Stands in for the session and the trackers in a process that writes nothing."""

    def progress(self, epochs: float) -> None:
        """Show nothing."""

    def log(self, epoch: int, metrics: Any) -> None:
        """Record nothing."""

    def save_snapshots(self, epochs: float, network: Any, loader: Any) -> None:
        """Write nothing."""

    def is_due(self, epoch: int) -> bool:
        return False

    def save(self, epoch: int, network: Any, loader: Any, learning: Any) -> None:
        """Write nothing."""


def begin(network: nn.Module, latents: Tensor | None, described: object) -> None:
    """Give all processes the weights, and the latents of a fixed encoder, that the first has; wait for all.

    Args:
        network: its weights are changed in place; its batch normalisation becomes that of whole batches.
        latents: of all images, changed in place; or None.
        described: what must be the same in all processes.

    Raises:
        UserError: if that differs.
    """
    if count() == 1:
        return
    each = [""] * count()
    dist.all_gather_object(each, blake2b(repr(described).encode(errors="surrogateescape")).hexdigest())
    require(
        len(set(each)) == 1,
        f"the {count()} processes of this training have opened different images or sessions, or can compute in "
        "different precisions; give all the same files, and choose --precision fp32 or bf16",
    )
    network.load_state_dict(of_first({name: values.cpu() for name, values in network.state_dict().items()}))
    if latents is not None:
        latents.copy_(of_first(latents.cpu()))
    share_batch_norm(network)


# -------------------------------------------------------------------------------------------------------- a batch


@dataclass(frozen=True)
class Part:
    """The part of a batch that a process computes.

    Attributes:
        x, y: of its images.
        share: of the values over which the loss of the batch is a mean, (R,); None for a whole batch.
        share_of_images: the share of its images; 0 if it has none.
    """

    x: Tensor
    y: Tensor
    share: Tensor | None = None
    share_of_images: float = 1.0

    def of_loss(self, loss: Tensor) -> Tensor:
        """Return the contribution of the mean loss of these images, (R,), to that of the batch."""
        return loss if self.share is None else torch.where(self.share > 0, loss * self.share, 0)

    def of_penalty(self, penalty: Tensor | float) -> Tensor | float:
        """Return the contribution of these images to the penalty, so that the whole is counted once."""
        return penalty if self.share is None else penalty * self.share_of_images if self.share_of_images else 0.0


def part_of(x: Tensor, y: Tensor, n_terms: Callable[[Tensor], Tensor], n_repetitions: int) -> Part:
    """Return the part of a batch that this process computes.

    Args:
        x, y: (B, ...) of the whole batch; (R, B, ...) for several repetitions.
        n_terms: returns over how many values the loss of targets (B, ...) is a mean.
        n_repetitions: R.
    """
    if count() == 1:
        return Part(x, y)
    axis = 0 if n_repetitions == 1 else 1
    own_x, own_y = _own(x, axis), _own(y, axis)
    terms = vmap(n_terms) if axis else n_terms
    return Part(own_x, own_y, terms(own_y) / terms(y).clamp(min=1), own_y.shape[axis] / y.shape[axis])


def _own(values: Tensor, axis: int = 0) -> Tensor:
    return values.tensor_split(count(), axis)[dist.get_rank()]


def randn_like(values: Tensor) -> Tensor:
    """Return normal noise for the images of this process: its part of that for the whole batch."""
    if count() == 1:
        return torch.randn_like(values)
    n_images = int(total(torch.tensor(len(values), device=values.device)))
    return _own(torch.randn(n_images, *values.shape[1:], dtype=values.dtype, device=values.device))


def sum_gradients(optimizer: optim.Optimizer) -> None:
    """Replace the gradients of the weights by their sums over all processes."""
    if count() == 1:
        return
    weights = [weight for group in optimizer.param_groups for weight in group["params"] if weight.grad is not None]
    summed = total(torch.cat([weight.grad.flatten() for weight in weights]))
    for weight, gradient in zip(weights, summed.split([weight.numel() for weight in weights]), strict=True):
        weight.grad.copy_(gradient.view_as(weight))


def share_batch_norm(module: nn.Module) -> None:
    """Let batch normalisation use the mean and the variance of the whole batch, not of the part of a process."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            setattr(module, name, SharedBatchNorm(child))
        else:
            share_batch_norm(child)


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation by the mean and the variance of the parts of all processes, on any device.

    torch.nn.SyncBatchNorm needs a GPU.

    Args:
        like: the layer whose weights and running statistics it takes over.
    """

    def __init__(self, like: nn.BatchNorm2d) -> None:
        super().__init__(like.num_features, like.eps, like.momentum)
        self._parameters, self._buffers, self.training = like._parameters, like._buffers, like.training

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        n = x.numel() / x.shape[1]
        sums = values.sum((0, 2, 3))  # (C,)
        own_mean = sums / max(n, 1)
        own_square = (values - own_mean[:, None, None]).square().sum((0, 2, 3))  # (C,)
        row = torch.cat([sums, own_square, sums.new_full((1,), n)])  # (2 C + 1,)
        is_own = torch.arange(count(), device=x.device) == dist.get_rank()
        each = total(is_own[:, None] * row)  # (ranks, 2 C + 1): every process fills in its row
        each_sum, each_square, each_n = each.split([len(sums), len(sums), 1], 1)
        mean = each_sum.sum(0) / each_n.sum()
        shift = each_sum / each_n.clamp(min=1) - mean
        variance = (each_square + each_n * shift.square()).sum(0) / each_n.sum()
        self._update(mean.detach(), variance.detach(), each_n.sum())
        scale = self.weight * (variance + self.eps).rsqrt()
        return (values * scale[:, None, None] + (self.bias - mean * scale)[:, None, None]).to(x.dtype)

    def _update(self, mean: Tensor, variance: Tensor, n: Tensor) -> None:
        """Update the running statistics."""
        self.num_batches_tracked.add_(1)
        self.running_mean.mul_(1 - self.momentum).add_(self.momentum * mean)
        self.running_var.mul_(1 - self.momentum).add_(self.momentum * variance * n / (n - 1).clamp(min=1))
