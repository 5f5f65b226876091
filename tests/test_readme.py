"""The README and the docs are true: their commands run, their links lead somewhere, and nothing is left out."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from helpers import HERE

from neuro_noodle import command
from neuro_noodle.networks.base import ENCODERS
from neuro_noodle.recipes import RECIPES

README = HERE / "README.md"
FLAGS = HERE / "docs" / "flags.md"
PAGES = [README, *sorted((HERE / "docs").glob("*.md")), HERE / "benchmarks" / "README.md"]
COVERED = ("neuro_noodle", "Plotting", "Resources", "docs", "tests", "benchmarks", "scratch")  # listed as folders
UNLISTED = {"README.md", "pyproject.toml"}


def name_of(path: Path) -> str:
    return path.relative_to(HERE).as_posix()


def commands(page: Path) -> list[str]:
    """Return every command of a page: in blocks of bash, and within a line."""
    text = page.read_text()
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    lines = [line.split(" #")[0].strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    in_prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    lines += re.findall(r"`((?:\./run\.sh|python) [^`]+)`", in_prose)
    return [line for line in lines if line and not line.startswith("#")]


COMMANDS = [(page, line) for page in PAGES for line in commands(page)]
TRAININGS = [(page, line) for page, line in COMMANDS if " main.py" in line]


def as_id(value) -> str:
    return name_of(value) if isinstance(value, Path) else value


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


# -------------------------------------------------------------------------------------------------------- commands


def test_the_pages_contain_commands():
    assert len({line for page, line in TRAININGS if page == README}) >= 10
    assert {page for page, _ in TRAININGS} >= {README, HERE / "docs" / "data.md", HERE / "benchmarks" / "README.md"}


@pytest.mark.parametrize(("page", "line"), TRAININGS, ids=as_id)
def test_every_training_command_can_be_parsed(page, line, monkeypatch):
    """Flags, their values and the options of choices exist, and no two flags contradict each other."""
    saved = {"encoder": str(ENCODERS.parse("fc")), "latent_dim": 40}
    monkeypatch.setattr(command, "session_flags", lambda load_dir: saved)
    words = shlex.split(line.replace("NAME", "faces_ae"))
    words = words[words.index("main.py") + 1 :]
    if "--help" in words:
        words.remove("--help")
    flags = command.resolve(command.parse(words, HERE))
    assert flags.recipe in RECIPES
    parser = command.build_parser()
    assert parser.parse_args(words) != parser.parse_args([]) or words in ([], ["--recipe", "faces_ae"])


@pytest.mark.parametrize("page", PAGES, ids=as_id)
def test_the_files_that_a_page_runs_exist(page):
    words = {word for line in commands(page) for word in line.split()}
    files = {word for word in words if re.fullmatch(r"(\./)?[\w/]+\.(py|sh|ipynb)", word)}
    assert [file for file in sorted(files) if not (HERE / file).is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=as_id)
def test_the_links_of_a_page_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


# ------------------------------------------------------------------------------------------------------- complete


def listed_in_tree() -> set[str]:
    """Return the paths that the README's tree lists, folders without a slash."""
    drawn = re.search(r"```\n\.\n(.*?)```", README.read_text(), flags=re.DOTALL)[1]
    listed, folders = set(), []
    for line in drawn.splitlines():
        depth, name = re.match(r"([│ ]*)[├└]── (\S+)", line).groups()
        folders = folders[: len(depth) // 4] + [name.rstrip("/")]
        listed.add("/".join(folders))
    return listed


def test_everything_in_the_tree_of_the_readme_exists():
    assert [path for path in sorted(listed_in_tree()) if not (HERE / path).exists()] == []


def test_the_tree_of_the_readme_leaves_nothing_out():
    listed = listed_in_tree()
    tracked = subprocess.run(["git", "ls-files"], cwd=HERE, capture_output=True, text=True).stdout.split()
    visible = {path for path in tracked if not path.startswith(".") and path not in UNLISTED}
    folders = {path for path in listed if path in COVERED}
    assert {path for path in visible if path not in listed and path.split("/")[0] not in folders} == set()
    packages = {name_of(path.parent) for path in (HERE / "neuro_noodle").glob("*/__init__.py")}
    assert packages <= listed


def test_every_flag_has_a_line_in_the_docs():
    lines = re.findall(r"^\| `--(\w+)", FLAGS.read_text(), flags=re.MULTILINE)
    assert sorted(command.EVERY_FLAG.keys() - lines) == []
    assert [name for name in lines if name not in command.EVERY_FLAG] == []


def test_every_flag_in_the_docs_exists():
    others = [path.read_text() for folder in ("Plotting", "Resources") for path in (HERE / folder).glob("*.py")]
    others.append((HERE / "neuro_noodle" / "sweeps" / "__main__.py").read_text())
    known = {*command.EVERY_FLAG, "help", *re.findall(r"\"--(\w+)\"", "".join(others))}
    for page in PAGES:
        assert set(re.findall(r"`--(?:no-)?(\w+)", page.read_text())) - known == set(), page


def test_every_recipe_has_a_line_in_the_readme():
    lines = re.findall(r"^\| `(\w+)`", README.read_text(), flags=re.MULTILINE)
    assert sorted(lines) == sorted(RECIPES)


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= 180
