"""Judge a trained run, `main.py --test --load_dir RUN`: numbers, a row per image, pictures and a film.

Where the images are the run's own, its test part is judged; of other images all are. Nothing is trained, and nothing of
the run is changed: what comes out lies in RUN/test, or RUN/test-NAME for other images.
"""

import argparse
import sys
from pathlib import Path

from choices import UserError, require
from conclusion import judge, shown, told, write_rows
from wiring import choose_device


def test(flags: argparse.Namespace) -> int:
    """Test the run that the flags name; returns the exit status."""
    import utils

    device = choose_device(flags.device)
    session = utils.best_session(flags.load_dir)
    model, config = utils.load_model(session, trust_pickle=flags.trust_pickle)
    dataset, objective = utils.open_task(vars(flags))
    objective.learned = config.get("learned", {})
    require(
        list(dataset.image_shape) == config["model"]["image_shape"] and dataset.classes == config["classes"],
        f"these images are {dataset.image_shape} with the classes {dataset.classes or 'none'}, but those of {session} "
        f"{tuple(config['model']['image_shape'])} with {config['classes'] or 'none'}",
    )
    own = flags.dataset == config["flags"]["dataset"] and str(flags.data_dir.resolve()) == config["flags"]["data_dir"]
    parts = tested_parts(session.parent, dataset)
    settings = {"batch_size": flags.batch_size, "augmentations": [], "device": device, "seed": flags.seed}
    images = utils.dataloaders(dataset, {"test": parts["test"]}, objective, **settings)["test"]
    learner, feed = model.to(device), images
    kept = session.parent / utils.FIXED_LATENTS
    if own and kept.exists():
        latents = utils.load_latents(kept, dataset).to(device)
        learner = model.after_encoding()
        feed = utils.dataloaders(dataset, {"test": parts["test"]}, objective, **settings, latents=latents)["test"]
    baselines = fit_baselines(session.parent, config, objective, model.encoder.latent_dim, settings)
    evidence, judged = judge(learner.eval(), objective, feed, images, baselines)
    folder = session.parent / ("test" if own else f"test-{name_of(flags)}")
    folder.mkdir(exist_ok=True)
    result = {"metric": objective.metric, "direction": objective.direction, "test": judged, "session": session.name}
    result |= {"data_dir": str(flags.data_dir.resolve()), "dataset": flags.dataset}
    utils.write_json(folder / "result.json", result)
    write_rows(folder / "test.csv", dataset, parts["test"], objective.rows(evidence, dataset.classes))
    print(told("test", objective.metric, judged))
    print(f"written to {shown(folder)}")
    for path in draw(folder, session, config, model.cpu(), dataset, objective, parts):
        print(shown(path))
    return 0


def tested_parts(run: Path, dataset) -> dict[str, list[int]]:
    """Return the parts of the images: as the run dealt them where they are its own, else all are for the test."""
    import utils

    try:
        parts = utils.load_split(run, dataset)
    except UserError:
        return {"test": list(range(len(dataset)))}
    require(
        bool(parts["test"]),
        f"{run} has no test part; train with --test_fraction or --fold, or test other images: --data_dir, --dataset",
    )
    return parts


def fit_baselines(run: Path, config: dict, objective, latent_dim: int, settings: dict) -> dict:
    """Fit the baselines on the images that the run was trained on; none, with a note, where those are gone."""
    import utils

    try:
        dataset, _ = utils.open_task(config["flags"])
        indices = utils.load_split(run, dataset)["training"]
    except UserError as error:
        print(f"note: no baselines, since the training images cannot be opened: {error}", file=sys.stderr)
        return {}
    training = utils.dataloaders(dataset, {"training": indices}, objective, **settings)["training"]
    return objective.baselines(*training.dataset.excerpt(), latent_dim)


def name_of(flags: argparse.Namespace) -> str:
    """Return a name for other images: that of their file, else of their folder."""
    from flags import load_tables

    file = load_tables()["dataset"].parse(flags.dataset).options.get("file")
    return Path(file or flags.data_dir.resolve()).stem


def draw(folder: Path, session: Path, config: dict, model, dataset, objective, parts: dict) -> list[Path]:
    """Write the pictures and the film of the tested images; returns their paths."""
    sys.path.insert(0, str(Path(__file__).resolve().parent / "Plotting"))
    import report
    from latents import Run

    from utils import part_of_each

    part = part_of_each(parts, len(dataset))
    run = Run(session.parent, session.name, config, model, dataset, objective, part)
    return report.write(folder, report.draw_outcomes(run)) + report.write_film(folder, run)
