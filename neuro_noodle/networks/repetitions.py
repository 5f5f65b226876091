"""Repetitions: models that differ only in their seed, trained as one model whose every weight is (R, ...)."""

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from neuro_noodle.choices import UserError
from neuro_noodle.networks.base import Criterion, Encoder, Evidence, Model

SEED_STEP = 10_000  # from one repetition to the next, so that runs with --seed 42 and --seed 43 have no seed in common


def seed_of(seed: int, repetition: int) -> int:
    """Return the seed of a repetition, counted from 0, in a run with --seed `seed`."""
    return seed + SEED_STEP * repetition


class Repetitions(nn.Module):
    """R models in one, with the methods of `Model` that the training loop uses.

    In training each repetition has its own batch, in evaluation all have the same.

    Args:
        models: R models of the same structure.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        super().__init__()
        self.penalised = Penalised(_stack(models))
        self.n_repetitions = len(models)
        self.template = (models[0],)  # in a tuple, so that its weights are not counted as ours
        self.penalty: Tensor | float = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Return predictions (R, B, ...) of batches (R, B, ...) in training, of one batch (B, ...) in evaluation."""

        def one(weights: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
            return functional_call(self.penalised, (weights, buffers), (x,))

        each = vmap(one, (0, 0, 0 if self.training else None), randomness="different")
        states = dict(self.penalised.named_parameters()), dict(self.penalised.named_buffers())
        try:
            prediction, self.penalty = each(*states, x)
        except RuntimeError as error:
            if "vmap" not in str(error):
                raise
            raise UserError(
                f"this network cannot train {self.n_repetitions} repetitions at once "
                f"({str(error).splitlines()[0][:200]}); leave out --repetitions and train one after another: vary "
                "--seed and keep --split_seed"
            ) from error
        return prediction

    def losses(self, objective: Criterion, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss of each repetition's batch, (R,)."""
        return vmap(objective.loss, (0, 0 if self.training else None))(self(x), y)

    def judge(self, objective: Criterion, x: Tensor, y: Tensor) -> tuple[Tensor, Evidence]:
        """Return the loss of each repetition, (R,), and the evidence of each image, (B, R, ...)."""
        prediction = self(x)
        losses = vmap(objective.loss, (0, 0 if self.training else None))(prediction, y)
        evidence = vmap(objective.evidence, (0, None))(vmap(objective.output)(prediction), y)
        return losses, {key: values.movedim(0, 1) for key, values in evidence.items()}

    def metrics(self, objective: Criterion, evidence: Evidence) -> dict[str, np.ndarray]:
        """Return the metrics of a whole split, (R,) each."""
        each = [
            objective.metrics({key: values[:, index] for key, values in evidence.items()})
            for index in range(self.n_repetitions)
        ]
        return {name: np.array([one[name] for one in each]) for name in each[0]}

    def regularizer(self) -> Tensor | float:
        """Return the penalty of each repetition in the last batch, (R,)."""
        return self.penalty

    def encode(self, images: Tensor) -> Tensor:
        """Return the latent (B, D) of images: the repetitions share what is fixed of an encoder."""
        return self.single(0).encode(images)

    @property
    def encoder(self) -> Encoder:
        """The encoder, with the weights of all repetitions."""
        return self.penalised.model.encoder

    @property
    def frozen(self) -> list[str]:
        """The names of the stages that do not train."""
        return self.penalised.model.frozen

    @property
    def precomputed(self) -> bool:
        """Whether x is already encoded, so that only the heads run."""
        return self.penalised.model.precomputed

    def stages(self) -> dict[str, nn.Module]:
        """Return the parts in the order they run."""
        return self.penalised.model.stages()

    def copy_weights(self, index: int) -> dict[str, Tensor]:
        """Return a copy of one repetition's weights on the CPU, named as in a `Model`."""
        state = self.penalised.model.state_dict()
        return {name: values[index].detach().cpu().clone() for name, values in state.items()}

    def load_weights(self, weights: Mapping[str, Tensor], index: int) -> None:
        """Load weights as returned by `copy_weights` into one repetition."""
        for name, values in self.penalised.model.state_dict().items():
            values[index].copy_(weights[name])

    def single(self, index: int) -> Model:
        """Return a copy of one repetition as a `Model` of its own."""
        model = _copy(self.template[0])
        model.load_weights(self.copy_weights(index))
        return model


class Penalised(nn.Module):
    """Return prediction and penalty together, because vmap must see everything that depends on the weights."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        prediction = self.model(x)
        return prediction, torch.as_tensor(self.model.regularizer(), device=x.device)


def _stack(models: Sequence[Model]) -> Model:
    """Return a model whose every weight and buffer is (R, ...)."""
    stacked = _copy(models[0])
    weights, buffers = stack_module_state(list(models))
    for name, values in weights.items():
        module, _, last = name.rpartition(".")
        trains = stacked.get_parameter(name).requires_grad
        stacked.get_submodule(module).register_parameter(last, nn.Parameter(values.detach(), requires_grad=trains))
    for name, values in buffers.items():
        module, _, last = name.rpartition(".")
        stacked.get_submodule(module).register_buffer(last, values)
    return stacked


def _copy(model: Model) -> Model:
    """Return a deep copy of a model that shares its fitted state (a UMAP can be large)."""
    state = model.encoder.fitted_state
    return copy.deepcopy(model, {id(state): state})


def unstack(state: Mapping[str, Tensor], index: int) -> dict[str, Tensor]:
    """Return one repetition's weights, named as in a `Model`, from the state_dict of `Repetitions`."""
    return {name.removeprefix("penalised.model."): values[index] for name, values in state.items()}
