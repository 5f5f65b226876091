"""A fully connected autoencoder in Keras on JAX: `keras_jax.py mnist DATA`, with `fit` as in its documentation."""

import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
from jobs import JOBS, SEED
from keras import layers


class Progress(keras.callbacks.Callback):
    """Prints `step` after the first step, and the losses of each epoch."""

    has_stepped = False

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if not self.has_stepped:
            self.has_stepped = True
            print("step", flush=True)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        print("epoch", epoch, (logs or {})["loss"], (logs or {})["val_loss"], flush=True)


def main(name: str, folder: Path) -> None:
    """Train."""
    job = JOBS[name]
    images, _ = job.load(folder / job.data)
    x = images.reshape(len(images), -1).astype("float32") / 255
    training, validation = (rows.numpy() for rows in job.split(len(x)))
    keras.utils.set_random_seed(SEED)
    widths = (1000, 500, 250)
    network = keras.Sequential(
        [
            keras.Input((x.shape[1],)),
            *(layers.Dense(width, activation="relu") for width in widths),
            layers.Dense(2),
            *(layers.Dense(width, activation="relu") for width in widths[::-1]),
            layers.Dense(x.shape[1]),
        ]
    )
    network.compile(keras.optimizers.Adam(job.lr), keras.losses.BinaryCrossentropy(from_logits=True))
    network.fit(
        x[training],
        x[training],
        batch_size=job.batch_size,
        epochs=job.n_epochs,
        validation_data=(x[validation], x[validation]),
        verbose=0,
        callbacks=[Progress()],
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
