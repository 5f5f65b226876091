"""Repetitions: models that differ by their seed alone, trained as one whose every weight is (R, ...)."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from neuro_noodle.choices import UserError
from neuro_noodle.networks.base import Encoder, Model


class Repetitions(nn.Module):
    """R models in one: in training each sees its own batch, in evaluation all see the same.

    It offers what the loop asks of a `Model`.

    Args:
        model: one whose every weight is (R, ...), as `stack` makes it.
        n_repetitions: R.
    """

    def __init__(self, model: Model, n_repetitions: int) -> None:
        super().__init__()
        self.penalised = Penalised(model)
        self.n_repetitions = n_repetitions
        self.penalty: Tensor | float = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Return predictions (R, B, ...) of batches (R, B, ...) in training, of one batch (B, ...) in evaluation."""

        def one(weights: dict[str, Tensor], statistics: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
            return functional_call(self.penalised, (weights, statistics), (x,))

        each = vmap(one, (0, 0, 0 if self.training else None), randomness="different")
        states = dict(self.penalised.named_parameters()), dict(self.penalised.named_buffers())
        try:
            prediction, self.penalty = each(*states, x)
        except RuntimeError as error:
            if "vmap" not in str(error):
                raise
            raise UserError(
                f"this network cannot be trained as {self.n_repetitions} in one ({str(error).splitlines()[0][:200]}); "
                "leave out --repetitions and train one after another: another --seed each, the same --split_seed"
            ) from error
        return prediction

    def regularizer(self) -> Tensor | float:
        """Return the penalty of each, (R,), of the last batch."""
        return self.penalty

    @property
    def encoder(self) -> Encoder:
        """The encoder, whose weights are those of all."""
        return self.penalised.model.encoder

    @property
    def frozen(self) -> list[str]:
        """The names of the stages that do not train."""
        return self.penalised.model.frozen

    def stages(self) -> dict[str, nn.Module]:
        """Return the parts in the order they run."""
        return self.penalised.model.stages()

    def after_encoding(self) -> "Repetitions":
        """Return repetitions with the same heads that take latents in place of images."""
        return Repetitions(self.penalised.model.after_encoding(), self.n_repetitions)

    def weights(self, index: int) -> dict[str, Tensor]:
        """Return a copy of one repetition's weights, as a `Model` names them."""
        state = self.penalised.model.state_dict()
        return {name: values[index].detach().cpu().clone() for name, values in state.items()}

    def put(self, weights: dict[str, Tensor], index: int) -> None:
        """Give one repetition these weights."""
        for name, values in self.penalised.model.state_dict().items():
            values[index].copy_(weights[name])


class Penalised(nn.Module):
    """A model that gives its penalty with its prediction, as all that differs between repetitions must come at once."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        prediction = self.model(x)
        return prediction, torch.as_tensor(self.model.regularizer(), device=x.device)


def stack(models: Sequence[Model]) -> Repetitions:
    """Return models of the same structure as one."""
    whole = copy.deepcopy(models[0])
    weights, statistics = stack_module_state(list(models))
    for name, values in weights.items():
        module, _, last = name.rpartition(".")
        trains = whole.get_parameter(name).requires_grad
        whole.get_submodule(module).register_parameter(last, nn.Parameter(values.detach(), requires_grad=trains))
    for name, values in statistics.items():
        module, _, last = name.rpartition(".")
        whole.get_submodule(module).register_buffer(last, values)
    return Repetitions(whole, len(models))


def unstacked(state: dict[str, Tensor], index: int) -> dict[str, Tensor]:
    """Return one repetition's weights, as a `Model` names them, of the state_dict of `Repetitions`."""
    return {name.removeprefix("penalised.model."): values[index] for name, values in state.items()}


class OfEach:
    """An objective for the predictions (R, B, ...) of all repetitions: losses are (R,), metrics lists of R.

    Args:
        objective: of one.
        learner: in training each repetition has its own target (R, B, ...), in evaluation all have the same.
    """

    def __init__(self, objective, learner: Repetitions) -> None:
        self.objective = objective
        self.learner = learner
        self.metric = objective.metric

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss of each, (R,)."""
        return vmap(self.objective.loss, (0, 0 if self.learner.training else None))(prediction, target)

    def output(self, prediction: Tensor) -> Tensor:
        """Return what the predictions mean."""
        return vmap(self.objective.output)(prediction)

    def evidence(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return what is kept of each image, (B, R, ...) each."""
        evidence = vmap(self.objective.evidence, (0, None))(output, target)
        return {key: values.movedim(0, 1) for key, values in evidence.items()}

    def metrics(self, evidence: dict[str, Tensor]) -> dict[str, list[float]]:
        """Return the metrics of a whole split."""
        each = [
            self.objective.metrics({key: values[:, index] for key, values in evidence.items()})
            for index in range(self.learner.n_repetitions)
        ]
        return {name: [one[name] for one in each] for name in each[0]}


def records_of_each(record: dict, n_repetitions: int) -> list[dict]:
    """Return the record of one epoch as one for each repetition; of a single model it is its own."""
    return [
        {key: value[index] if isinstance(value, list) else value for key, value in record.items()}
        for index in range(n_repetitions)
    ]
