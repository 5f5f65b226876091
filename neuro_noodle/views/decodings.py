"""What latents mean: images decoded from a grid over a 2-D latent, and along each number of any latent."""

import numpy as np
from matplotlib.figure import Figure

from neuro_noodle.objectives.base import IMAGES
from neuro_noodle.runs.run import Run
from neuro_noodle.views.figures import displayable, plot_image_rows

N_GRID = 17  # decodings along each side
N_STEPS = 9  # decodings along each number of a latent
MAX_ROWS = 16  # numbers of a latent, those that vary most
TAIL = 0.02  # share of the images beyond each end


def plot_decodings(run: Run, latents: np.ndarray) -> dict[str, Figure]:
    """Return pictures of decoded latents by name; none if the run does not predict images.

    Args:
        run: its head decodes.
        latents: (N, D) of all images of the run.
    """
    if run.objective.predicts != IMAGES:
        return {}
    low, high = np.quantile(latents, (TAIL, 1 - TAIL), axis=0)  # (D,) each
    pictures = {"traversals": plot_traversals(run, latents, low, high)}
    if latents.shape[1] == 2:
        pictures["decodings"] = plot_grid(run, low, high)
    return pictures


def plot_traversals(run: Run, latents: np.ndarray, low: np.ndarray, high: np.ndarray) -> Figure:
    """Plot the images along each number of the latent, the others at their median; those that vary most first.

    Args:
        run: its head decodes.
        latents: (N, D).
        low, high: (D,) ends of the range of each number.
    """
    order = np.argsort(-latents.std(0))[:MAX_ROWS]
    rows: dict[str, np.ndarray] = {}
    median = np.median(latents, 0)
    for number in order:
        points = np.tile(median, (N_STEPS, 1))
        points[:, number] = np.linspace(low[number], high[number], N_STEPS)
        rows[f"latent {number + 1}"] = run.decode(points)
    titles = [""] * N_STEPS
    titles[0], titles[-1] = (f"percentile {100 * share:.0f}" for share in (TAIL, 1 - TAIL))
    figure = plot_image_rows(rows, titles)
    if len(order) < latents.shape[1]:
        figure.suptitle(f"the {len(order)} of {latents.shape[1]} latents that vary most", fontsize=8)
    return figure


def plot_grid(run: Run, low: np.ndarray, high: np.ndarray) -> Figure:
    """Plot the images on a grid over a 2-D latent, as one picture without gaps.

    Args:
        run: its head decodes.
        low, high: (2,) ends of both axes.
    """
    across, up = (np.linspace(low[i], high[i], N_GRID) for i in (0, 1))
    points = np.stack([axis.ravel() for axis in np.meshgrid(across, up[::-1])], 1)  # (N_GRID**2, 2), highest row first
    images = run.decode(points)
    channels, height, width = images.shape[1:]
    grid = images.reshape(N_GRID, N_GRID, channels, height, width)
    whole = grid.transpose(2, 0, 3, 1, 4).reshape(channels, N_GRID * height, N_GRID * width)
    figure = Figure(figsize=(7, 7 * height / width), layout="constrained")
    axis = figure.subplots()
    half = np.where(high > low, high - low, 1) / (2 * (N_GRID - 1))  # the grid points are the centres of the images
    ends = np.stack([low - half, high + half], 1)  # (2, 2)
    axis.imshow(displayable(whole), cmap="gray", vmin=0, vmax=1, extent=(*ends[0], *ends[1]), aspect="auto")
    axis.set(xlabel="latent 1", ylabel="latent 2", title="images decoded from points of the latent")
    return figure
