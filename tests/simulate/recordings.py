"""The files of a simulated recording."""

import csv

import numpy as np
from helpers import draw_stimuli

from neuro_noodle.simulate import population

FEW = "--n_neurons 6 --n_images 40 --n_validation 12 --n_repeats 3 --size 16"


def read_table(folder):
    """Return the columns of the table as arrays."""
    with (folder / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return {name: values if name == "kind" else values.astype(float) for name, values in columns.items()}


class Recording:
    """A drawn folder and the content of its files."""

    def __init__(self, folder):
        self.folder, self.table = folder, read_table(folder)
        self.is_complex = self.table["kind"] == "complex"
        self.sets = {name: np.load(folder / "region1" / f"{name}.npy") for name in population.SETS}
        with np.load(folder / "truth.npz") as truth:
            self.truth = dict(truth)

    def zscored(self, images):
        return (images - self.sets["training_inputs"].mean()) / self.sets["training_inputs"].std()

    def respond(self, images):
        """Return the responses to z-scored images before they are scaled, (n, N)."""
        return population.respond(population.drive(self.truth["fields"], images), self.is_complex)


def draw_recording(tmp_path_factory, kind) -> Recording:
    """Draw the recording of this kind that the command draws by default."""
    folder = tmp_path_factory.mktemp("recording") / kind
    assert draw_stimuli(folder, kind=kind) == 0
    return Recording(folder)
