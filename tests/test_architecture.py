"""The structure that everything stands on: who may import whom, what no file may do, and a README that is true."""

import ast
import json
import re
import shlex
import subprocess

import pytest
from helpers import HERE

from neuro_noodle.command import build_parser
from neuro_noodle.recipes import RECIPES

MAY_IMPORT = {
    "choices": set(),
    "recipes": set(),
    "components": set(),
    "circular": set(),
    "augment": {"choices"},
    "losses": {"choices"},
    "store": {"choices"},
    "metadata": {"choices", "store"},
    "pictures": {"choices", "store"},
    "arrays": {"choices", "metadata", "store"},
    "v1": {"arrays", "choices"},
    "datasets": {"arrays", "choices", "metadata", "pictures", "store", "v1"},
    "splits": {"choices", "datasets", "metadata"},
    "rejig": {"choices", "datasets", "pictures", "splits"},
    "intervals": set(),
    "aims": {"choices", "intervals"},
    "responses": {"aims", "choices", "components"},
    "objectives": {"aims", "augment", "choices", "circular", "components", "intervals", "losses", "responses"},
    "networks": {"choices"},
    "conv": {"choices", "networks"},
    "fc": {"choices", "components", "networks"},
    "reductions": {"choices", "components", "networks"},
    "resnet": {"choices", "networks"},
    "cortex": {"choices", "fc", "networks"},
    "model": {"choices", "conv", "cortex", "fc", "networks", "reductions", "resnet"},
    "repetitions": {"choices", "model", "networks"},
    "progress": set(),
    "train": {"choices"},
    "tracking": {"choices"},
    "encoded": {"choices", "datasets", "model", "networks"},
    "utils": {"augment", "choices", "datasets", "encoded", "metadata", "model", "objectives", "splits", "store"},
    "flags": {"augment", "choices", "datasets", "model", "objectives", "recipes", "train", "utils"},
    "conclusion": {"metadata", "tracking", "train", "utils"},
    "wiring": {"choices", "encoded", "flags", "model", "progress", "repetitions", "splits", "train", "utils"},
    "testing": {
        "choices",
        "conclusion",
        "encoded",
        "flags",
        "splits",
        "utils",
        "wiring",
        "Plotting/latents",
        "Plotting/report",
    },
    "main": {
        "choices",
        "conclusion",
        "encoded",
        "flags",
        "rejig",
        "repetitions",
        "store",
        "testing",
        "tracking",
        "train",
        "utils",
        "wiring",
    },
    "Plotting/measures": {"circular"},
    "Plotting/compare": {
        "choices",
        "circular",
        "components",
        "datasets",
        "metadata",
        "utils",
        "Plotting/latents",
        "Plotting/measures",
    },
    "Plotting/figures": {"circular"},
    "Plotting/latents": {"augment", "choices", "datasets", "encoded", "objectives", "utils"},
    "Plotting/neurons": {"responses", "Plotting/figures", "Plotting/latents", "Plotting/measures"},
    "Plotting/bands": {"choices", "tracking", "Plotting/figures"},
    "Plotting/report": {
        "choices",
        "metadata",
        "splits",
        "tracking",
        "Plotting/figures",
        "Plotting/latents",
        "Plotting/neurons",
    },
    "Plotting/training": {"choices", "circular", "datasets", "encoded", "metadata", "utils", "Plotting/figures"},
    "Resources/arena": set(),
    "Resources/faces": set(),
    "Resources/population": set(),
    "Resources/simulate": {"Resources/arena", "Resources/faces", "Resources/population"},
}
SOURCES = {name: HERE / f"{name}.py" for name in MAY_IMPORT}
EVERY_SOURCE = pytest.mark.parametrize("name", SOURCES)


def tree(name):
    return ast.parse(SOURCES[name].read_text())


def imported(name):
    """Return the modules of ours that a file imports, anywhere in it."""
    ours = {path.rsplit("/")[-1]: path for path in MAY_IMPORT}
    nodes = list(ast.walk(tree(name)))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    return {ours[name.split(".")[0]] for name in names if name.split(".")[0] in ours}


def test_every_source_file_has_its_place_in_the_architecture():
    found = {path for folder in (".", "Plotting", "Resources") for path in (HERE / folder).glob("*.py")}
    assert found == set(SOURCES.values())


@EVERY_SOURCE
def test_a_file_imports_only_what_it_may(name):
    assert imported(name) <= MAY_IMPORT[name]


@EVERY_SOURCE
def test_a_file_tells_its_responsibility_first(name):
    assert ast.get_docstring(tree(name)).splitlines()[0].endswith(".")


@EVERY_SOURCE
def test_no_file_is_so_long_that_it_holds_two_things(name):
    assert len(SOURCES[name].read_text().splitlines()) <= 520


@EVERY_SOURCE
def test_no_function_passes_unnamed_options_on_and_no_user_error_is_an_assertion(name):
    nodes = list(ast.walk(tree(name)))
    assert not [node for node in nodes if isinstance(node, ast.Assert)]
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    assert not [function.name for function in functions if function.args.kwarg]
    assert not [node for node in nodes if isinstance(node, ast.ExceptHandler) and node.type is None]


@EVERY_SOURCE
def test_no_flag_is_read_by_bool_for_which_every_text_is_true(name):
    assert "type=bool" not in SOURCES[name].read_text()


@pytest.mark.parametrize(
    ("word", "owner"),
    [
        ("comet_ml", "tracking"),
        ("torch.save", "utils"),
        ("tqdm", "tracking"),
        ("matplotlib", "Plotting/figures"),
        ("pickle.load", "encoded"),
    ],
)
def test_only_one_file_knows(word, owner):
    assert [name for name, path in SOURCES.items() if word in path.read_text()] == [owner]


def test_the_settings_are_empty():
    settings = json.loads((HERE / "settings.json").read_text())
    assert settings == {"username": "", "apikey": "", "restapikey": "", "project": ""}


@pytest.mark.parametrize(("content", "status"), [('{"apikey": "secret"}', 1), ('{"apikey": ""}', 0)])
def test_a_filled_in_settings_file_cannot_be_committed(content, status, tmp_path):
    def git(*words):
        identity = ["-c", "user.name=n", "-c", "user.email=e", "-c", f"core.hooksPath={HERE / '.githooks'}"]
        return subprocess.run(["git", *identity, *words], cwd=tmp_path, capture_output=True, text=True)

    git("init", "-q")
    (tmp_path / "settings.json").write_text(content)
    git("add", "settings.json")
    done = git("commit", "-q", "-m", "settings")
    assert done.returncode == status
    assert ("COMET_API_KEY" in done.stderr) is bool(status)


# ------------------------------------------------------------------------------------------------------ README

README = (HERE / "README.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [line.split(" #")[0].strip() for block in BLOCKS for line in block.replace("\\\n", " ").splitlines()]


@pytest.mark.parametrize("command", [line for line in COMMANDS if " main.py" in line])
def test_every_training_command_of_the_readme_can_be_parsed(command):
    words = shlex.split(command)
    words = words[words.index("main.py") + 1 :]
    defaults = build_parser().parse_args([])
    flags = build_parser().parse_args(words)
    assert flags != defaults or not words
    assert flags.recipe in RECIPES


def test_the_files_that_the_readme_runs_exist():
    files = {word for line in COMMANDS for word in line.split() if re.fullmatch(r"(\./)?[\w/]+\.(py|sh)", word)}
    assert "./run.sh" in files
    assert [file for file in files if not (HERE / file).is_file()] == []


def test_the_tree_of_the_readme_lists_what_there_is():
    told = re.search(r"```\n\.\n(.*?)```", README, flags=re.DOTALL)[1]
    listed, folders = set(), []
    for line in told.splitlines():
        depth, name = re.match(r"([│ ]*)[├└]── (\S+)", line).groups()
        folders = folders[: len(depth) // 4] + [name.rstrip("/")]
        listed.add("/".join(folders))
    tracked = subprocess.run(["git", "ls-files"], cwd=HERE, capture_output=True, text=True).stdout.split()
    missing = [path for path in listed if not (HERE / path).exists()]
    assert missing == []
    whole = {path for path in listed if path.startswith((".", "tests", "benchmarks", "scratch"))}
    for path in tracked:
        folder_listed = any(path.startswith(f"{folder}/") for folder in whole)
        assert path in listed or folder_listed or path.startswith("."), f"{path} is not in the README's tree"


def test_every_flag_and_recipe_is_in_the_readme():
    flags = {
        option for action in build_parser()._actions for option in action.option_strings if option.startswith("--")
    }
    flags = {flag for flag in flags if flag != "--help" and not flag.startswith("--no-")}
    assert [flag for flag in sorted(flags) if f"`{flag}" not in README] == []
    assert [name for name in RECIPES if f"`{name}`" not in README] == []
