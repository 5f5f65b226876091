"""Schedules: how the learning rate changes over epochs."""

import math

from neuro_noodle.choices import Table, require

SCHEDULES = Table("schedule")


@SCHEDULES.add("constant")
def constant(epoch: int, n_epochs: int) -> float:
    """Keep the learning rate constant."""
    return 1.0


@SCHEDULES.add("cosine")
def cosine(epoch: int, n_epochs: int, *, warmup: int = 0, final: float = 0.0) -> float:
    """Raise the learning rate over `warmup` epochs, then lower it along half a cosine to `final` times its value."""
    require(warmup >= 0 and 0 <= final <= 1, f"schedule 'cosine': warmup={warmup} or final={final} is out of range")
    if epoch < warmup:
        return (epoch + 1) / (warmup + 1)
    share = (epoch - warmup) / max(1, n_epochs - warmup)
    return final + (1 - final) * (1 + math.cos(math.pi * min(1.0, share))) / 2


@SCHEDULES.add("step")
def step(epoch: int, n_epochs: int, *, every: int = 30, factor: float = 0.1) -> float:
    """Multiply the learning rate by `factor` every `every` epochs."""
    require(every >= 1 and 0 < factor <= 1, f"schedule 'step': every={every} or factor={factor} is out of range")
    return factor ** (epoch // every)


@SCHEDULES.add("plateau")
def plateau(epoch: int, n_epochs: int, *, factor: float = 0.333, drops: int = 2) -> float:
    """Multiply the learning rate by `factor` when --patience runs out, `drops` times, from the best weights."""
    require(0 < factor < 1 and drops >= 1, f"schedule 'plateau': factor={factor} or drops={drops} is out of range")
    return 1.0  # `Patience` reduces the rate, separately for each repetition
