"""A network that does not fit in memory is refused before any of it is allocated."""

import pytest
import torch
from helpers import NETWORK, raises_user_error

from neuro_noodle.choices import UserError
from neuro_noodle.networks.base import ENCODERS, HEADS, build_model
from neuro_noodle.networks.memory import require_memory

CPU = torch.device("cpu")


@pytest.mark.parametrize("encoder", list(ENCODERS))
@pytest.mark.parametrize("head", list(HEADS))
def test_the_weights_are_counted_without_allocating_them(encoder, head):
    is_decoder = head in ("conv", "fc")
    arguments = {"image_shape": (1, 32, 32), "output_shape": (1, 32, 32) if is_decoder else (3,), "latent_dim": None}
    try:
        model = build_model(encoder, head, **arguments)
    except UserError as error:
        pytest.skip(f"cannot be combined: {error}")
    with torch.device("meta"):
        counted = build_model(encoder, head, **arguments)
    assert {name: one.shape for name, one in counted.named_parameters()} == {
        name: one.shape for name, one in model.named_parameters()
    }
    require_memory({"encoder": encoder, "head": head} | arguments, 1, CPU)


@pytest.mark.parametrize(
    ("changed", "n_repetitions", "message"),
    [
        ({"latent_dim": 10**9}, 1, "choose a smaller --latent_dim or network, or fewer --repetitions"),
        ({"encoder": "fc hidden=1000000"}, 10_000, "fewer --repetitions"),
        ({"latent_dim": 10**12, "encoder": "fc hidden=1000000000"}, 1, "cannot be built"),
        ({"encoder": "fc hidden=1000000000000000000000000"}, 1, "cannot be built"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(changed, n_repetitions, message):
    with raises_user_error(message):
        require_memory(NETWORK | changed, n_repetitions, CPU)
