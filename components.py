"""Principal components: what the fully connected encoder starts from and what reconstructions are compared with."""

import torch
from torch import Tensor

MOST_EXACT = 3000  # images or pixels, whichever is fewer; a randomised decomposition beyond
NEGLIGIBLE = 1e-7  # variance relative to the first component's, at which float32 only holds rounding errors


def principal_components(pixels: Tensor, n_components: int) -> tuple[Tensor, Tensor, Tensor]:
    """Fit a PCA.

    Args:
        pixels: (N, P) images.
        n_components: how many components are wanted; fewer are returned where the images span fewer.

    Returns:
        (P,) mean image, (K, P) components of unit length, (K,) variances, descending.
    """
    from sklearn.decomposition import PCA

    n_components = min(n_components, len(pixels) - 1, pixels.shape[1])
    solver = "full" if min(pixels.shape) <= MOST_EXACT else "randomized"
    pca = PCA(n_components, svd_solver=solver, random_state=0).fit(pixels.cpu().numpy())
    mean, components, variances = (
        torch.from_numpy(values).to(pixels) for values in (pca.mean_, pca.components_, pca.explained_variance_)
    )
    spanned = variances > NEGLIGIBLE * variances.max()
    return mean, components[spanned], variances[spanned]
