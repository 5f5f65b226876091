"""From dataset to split to loaders, and sessions on disk."""

from neuro_noodle.runs.files import find_session, load_config, new_run, sessions, write_json  # noqa: F401
from neuro_noodle.runs.loaders import dataloaders  # noqa: F401
from neuro_noodle.runs.sessions import (  # noqa: F401
    best_session,
    copy_history,
    load_encoder,
    load_model,
    load_pth,
    load_split,
    load_weights,
    name_split,
    save_session,
    trained_on,
    write_best,
)
from neuro_noodle.runs.task import leave_unknown_out, open_dataset, open_store, open_task  # noqa: F401
