#!/usr/bin/env bash
# The batch of experiments, in an environment of its own.
#
#   ./run.sh                      set up, draw the built-in faces if there are no stimuli, run the batch below
#   ./run.sh arena                the same with a film of an animal: what does each objective make the latent represent?
#   ./run.sh v1                   the same with V1 neurons: which model predicts them, and how close to the ceiling?
#   ./run.sh sweep NAME --vary latent_dim=2,8,40 --seeds 42,43,44 -- --recipe faces_ae      many runs, and one table
#   ./run.sh main.py --flags      run anything in that environment
#   ./run.sh notebook [RUN]       install Jupyter, and open Plotting/clustering.ipynb for a run (default: weights/faces_ae)
#   ./run.sh test                 set up, check style and types, run the tests
#
# The environment is .venv; it is updated when the requirements change. PYTHON=python3.12 ./run.sh uses another Python.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export NEURO_NOODLE_LAUNCHER=$0 # the commands that are printed start like this one

set_up() { # set_up REQUIREMENTS: create .venv, or update it if the requirements have changed
    local made
    made="$here/.venv/made-$(cat "$here/requirements.txt" "$here/pyproject.toml" "$here/$1" | cksum | tr ' ' '-')"
    PATH="$here/.venv/bin:$PATH"
    [ -e "$made" ] && return
    if [ ! -x "$here/.venv/bin/python" ]; then
        "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
            { echo "error: Python 3.11 or newer is needed; choose one: PYTHON=python3.12 ./run.sh" >&2; exit 2; }
        "${PYTHON:-python3}" -m venv "$here/.venv"
    fi
    echo "setting up .venv from $1 (a few GB, once)" >&2
    python -m pip install --quiet --disable-pip-version-check "uv>=0.8"
    uv pip install --quiet --python "$here/.venv/bin/python" -r "$here/$1" --editable "$here"
    # a settings.json with keys must not be committed: this hook refuses it
    git -C "$here" config --get core.hooksPath >/dev/null || [ ! -e "$here/.git" ] ||
        git -C "$here" config core.hooksPath .githooks || true
    touch "$made"
}

draw() { # draw KIND FOLDER: draw the built-in stimuli, unless the folder holds files
    [ -n "$(find "$here/Resources/$2" -type f 2>/dev/null | head -n 1)" ] ||
        python "$here/Resources/simulate.py" "$1"
}

experiment() { # experiment FLAGS: train, then write every picture of the run; its folder is then $run
    run=$(python main.py --print_run --no-plot "$@") # with UMAP, below
    python Plotting/report.py "$run"
}

batch() {
    cd "$here"
    draw faces stimuli
    # what does an autoencoder represent about a face?
    experiment --log_every 10
    # happy or sad? From scratch, so that no download is needed; the people in the test part are not in training
    experiment --recipe faces_emotion_scratch --split group --test_fraction 0.25 --val_fraction 0.2 --log_every 5
}

arena() {
    local ae angle
    cd "$here"
    draw arena arena
    experiment --recipe arena_ae --test_fraction 0.2 --latents_every 1 --log_every 5
    ae=$run
    python main.py --test --load_dir "$ae"
    python Plotting/training.py "$ae"
    experiment --recipe arena_angle --test_fraction 0.2 --load_encoder "$ae" --augment none --n_epochs 12 --log_every 4
    angle=$run
    python main.py --test --load_dir "$angle"
    experiment --recipe arena_pca --test_fraction 0.2 --log_every 5
    python Plotting/compare.py "$ae" "$angle" "$run" --columns angle,x,y,distance
}

v1() {
    cd "$here"
    draw v1 v1
    python -m neuro_noodle.sweeps v1 --vary recipe=v1_hsm,v1_lnln,v1_conv -- --repetitions 10
    for run in weights/v1/recipe=*; do
        python Plotting/report.py "$run"
    done
}

case "${1:-batch}" in
arena)
    set_up requirements.txt
    arena
    ;;
batch)
    set_up requirements.txt
    batch
    ;;
v1)
    set_up requirements.txt
    v1
    ;;
notebook)
    run=${2:-$here/weights/faces_ae}
    [ -d "$run" ] || { echo "error: no run $run; name one: $0 notebook weights/faces_ae" >&2; exit 2; }
    set_up Plotting/requirements.txt
    NOODLE_RUN=$(cd "$run" && pwd) jupyter lab "$here/Plotting/clustering.ipynb" "${@:3}"
    ;;
sweep)
    set_up requirements.txt
    python -m neuro_noodle.sweeps "${@:2}"
    ;;
test)
    set_up tests/requirements.txt
    cd "$here"
    ruff check .
    ruff format --check .
    mypy
    OMP_NUM_THREADS=1 python -m pytest -n auto --maxprocesses 4 --dist loadfile "${@:2}"
    ;;
*)
    set_up requirements.txt
    python "$@"
    ;;
esac
