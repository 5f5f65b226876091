#!/usr/bin/env bash
# The batch of experiments, in an environment of its own.
#
#   ./run.sh                      set up, draw the built-in stimuli if there are none, run the batch below
#   ./run.sh main.py --flags      run anything in that environment
#   ./run.sh test                 set up, check the style, run the tests
#
# The environment is .venv, made anew when the requirements change. PYTHON=python3.12 ./run.sh takes another Python.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

set_up() { # set_up REQUIREMENTS: make or refresh .venv
    local requirements=$1 wanted
    wanted=$(cat "$here/requirements.txt" "$here/$requirements" | cksum)
    if [ "$(cat "$here/.venv/$(basename "$(dirname "$requirements")").made" 2>/dev/null)" != "$wanted" ]; then
        if [ ! -x "$here/.venv/bin/python" ]; then
            "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
                { echo "error: Python 3.11 or newer is needed; name one: PYTHON=python3.12 ./run.sh" >&2; exit 2; }
            "${PYTHON:-python3}" -m venv "$here/.venv"
        fi
        echo "setting up .venv from $requirements (a few GB, once)" >&2
        "$here/.venv/bin/python" -m pip install --quiet --disable-pip-version-check "uv>=0.8"
        "$here/.venv/bin/uv" pip install --quiet --python "$here/.venv/bin/python" -r "$here/$requirements"
        echo "$wanted" >"$here/.venv/$(basename "$(dirname "$requirements")").made"
    fi
    # a filled-in settings.json holds keys: this hook refuses to commit it
    git -C "$here" config core.hooksPath .githooks 2>/dev/null || true
    PATH="$here/.venv/bin:$PATH"
}

draw_stimuli() {
    [ -n "$(find "$here/Resources/stimuli" -type f 2>/dev/null | head -n 1)" ] ||
        python "$here/Resources/simulate.py" faces
}

batch() {
    cd "$here"
    draw_stimuli
    # what does an autoencoder represent about a face?
    python main.py --namestr faces_ae --log_every 10
    python Plotting/report.py weights/faces_ae

    # happy or sad? From scratch, so that it runs without a network; people in the test part are never trained on.
    python main.py --recipe faces_emotion_scratch --namestr faces_emotion --split group --test_fraction 0.25 \
        --val_fraction 0.2 --log_every 5
    python Plotting/report.py weights/faces_emotion
}

case "${1:-batch}" in
batch)
    set_up requirements.txt
    batch
    ;;
test)
    set_up tests/requirements.txt
    cd "$here"
    ruff check .
    ruff format --check .
    python -m pytest "${@:2}"
    ;;
*)
    set_up requirements.txt
    python "$@"
    ;;
esac
