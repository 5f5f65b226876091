"""What an encoder (image to latent) and a head (latent to prediction) are, and the tables of both."""

from torch import Tensor, nn

from choices import Table

ENCODERS = Table("encoder")
HEADS = Table("head")


class Encoder(nn.Module):
    """Maps images (B, C, H, W) in [0, 1] to a latent (B, D).

    Attributes:
        stages: the parts in the order they run.
        latent_dim: D.
        prefers_bf16: whether half precision makes it faster.
    """

    stages: nn.ModuleDict
    latent_dim: int
    prefers_bf16 = False

    def forward(self, images: Tensor) -> Tensor:
        latent = images
        for stage in self.stages.values():
            latent = stage(latent)
        return latent  # (B, D)

    def fit(self, images: Tensor) -> None:
        """Learn from training images (N, C, H, W) what is learned before the loop; nothing, unless it does."""

    def regularizer(self) -> Tensor | float:
        """Return the penalty on the weights that is added to the loss."""
        return 0.0


class Head(nn.Module):
    """Maps a latent (B, D) to a prediction (B, ...)."""

    needs_fit = False

    def fit(self, latent: Tensor, prediction: Tensor) -> None:
        """Learn from wanted predictions (N, ...) what is learned before the loop; called where needs_fit is true."""

    def regularizer(self) -> Tensor | float:
        """Return the penalty on the weights that is added to the loss."""
        return 0.0
