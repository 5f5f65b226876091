"""The structure of the code: which file may import which, and what no file may contain."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import HERE

PACKAGE = "neuro_noodle"
RANKS = [  # the highest first; a file imports from its own package and from lower ranks
    {"main", "Plotting", "Resources", "benchmarks"},
    {"model", "utils", "train"},
    {"sweeps"},  # it starts main.py as a process
    {PACKAGE, "command"},
    {"views"},
    {"runs"},
    {"data", "networks", "objectives"},
    {"augment", "flags", "learning", "measures", "process", "simulate", "tracking"},
    {"caches", "choices", "plain", "progress", "recipes"},
]
RANK = {unit: len(RANKS) - number for number, units in enumerate(RANKS) for unit in units}
MAX_LINES = {"main.py": 150, "model.py": 170, "utils.py": 230, "train.py": 200}
MAX_LINES_TOGETHER = 750
LONG_FUNCTIONS = {
    "neuro_noodle/measures/probes.py:probe": "half of it describes its arguments and results",
    "neuro_noodle/tracking/comet.py:Comet.__init__": "most lines are settings of the client, one per line",
}
LOCAL_IMPORTS = {  # elsewhere imports of our own modules are at the top of the file
    "main.py:run",
    "main.py:train_run",
    "main.py:test",
    "neuro_noodle/command.py:clear_cache",
    "neuro_noodle/sweeps/__main__.py:main",
    "neuro_noodle/command.py:load_tables",
    "neuro_noodle/__init__.py:__getattr__",
}

OPENERS = ("Image", "archive", "gzip", "os")  # whose `open` opens no text

FOUR = [HERE / name for name in MAX_LINES]
PRODUCT = [
    *FOUR,
    *(HERE / PACKAGE).rglob("*.py"),
    *(HERE / "Plotting").glob("*.py"),
    *(HERE / "Resources").glob("*.py"),
]
BENCHMARKS = list((HERE / "benchmarks").rglob("*.py"))
TESTS = list((HERE / "tests").rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(HERE).as_posix()


def each_file(paths):
    return pytest.mark.parametrize("path", sorted(paths), ids=name_of)


each_product_file = each_file(PRODUCT)
each_product_or_benchmark_file = each_file(PRODUCT + BENCHMARKS)
every_file = each_file(PRODUCT + BENCHMARKS + TESTS)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def n_lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def nodes(path: Path, kind) -> list:
    return [node for node in ast.walk(parsed(path)) if isinstance(node, kind)]


def names_in(node: ast.Import | ast.ImportFrom) -> set[str]:
    return {alias.name for alias in node.names}


def module_of(path: Path) -> str:
    """Return the dotted name of a file, neuro_noodle.data.base for example."""
    return ".".join(path.relative_to(HERE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path) for path in PRODUCT + BENCHMARKS}


def unit_of(module: str) -> str:
    """Return the entry of RANKS that a module belongs to: its package, or the file itself."""
    first, *rest = module.split(".")
    return rest[0] if first == PACKAGE and rest else first


def imported(tree: ast.AST) -> set[str]:
    """Return our own modules that are imported anywhere in a tree, also for types only."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= names_in(node)
        elif isinstance(node, ast.ImportFrom):
            for name in names_in(node):
                whole = f"{node.module}.{name}"
                found.add(whole if whole in MODULES else str(node.module))
    return found & MODULES


def functions(tree: ast.AST, prefix: str = "") -> list[tuple[str, ast.FunctionDef]]:
    """Return every function with its name, methods and inner functions after the name of what holds them."""
    found = []
    for node in ast.iter_child_nodes(tree):
        name = f"{prefix}{getattr(node, 'name', '')}"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.append((name, node))
        is_scope = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        found += functions(node, f"{name}." if is_scope else prefix)
    return found


# --------------------------------------------------------------------------------------------------- who imports whom


def test_the_top_level_has_exactly_four_python_files():
    assert {path.name for path in HERE.glob("*.py")} == set(MAX_LINES)


def test_every_file_and_package_has_a_rank():
    assert {module for module in MODULES if unit_of(module) not in RANK} == set()


@each_product_or_benchmark_file
def test_a_file_imports_only_from_lower_ranks(path):
    own = unit_of(module_of(path))
    units = {unit_of(module) for module in imported(parsed(path))} - {own}
    assert {unit for unit in units if RANK[unit] >= RANK[own]} == set()


@each_file(BENCHMARKS)
def test_benchmarks_import_none_of_the_four_files(path):
    assert imported(parsed(path)) & {"main", "model", "utils", "train"} == set()


def test_files_do_not_import_each_other_in_a_circle():
    imports = {module_of(path): imported(parsed(path)) for path in PRODUCT}
    while leaves := {module for module, others in imports.items() if not others & imports.keys()}:
        imports = {module: others for module, others in imports.items() if module not in leaves}
    assert imports == {}


@each_product_file
def test_only_named_functions_import_our_own_modules(path):
    found = {f"{name_of(path)}:{name}" for name, function in functions(parsed(path)) if imported(function)}
    assert found - LOCAL_IMPORTS == set()


@each_file((HERE / PACKAGE / "measures").glob("*.py"))
def test_measures_do_not_import_torch(path):
    names = {name for node in nodes(path, ast.Import) for name in names_in(node)}
    names |= {str(node.module) for node in nodes(path, ast.ImportFrom)}
    assert {name for name in names if name.split(".")[0].startswith("torch")} == set()


@pytest.mark.parametrize("words", [["--help"], ["--recipe", "v1_hsm", "--help"]])
def test_help_does_not_import_torch(words):
    code = (
        "import sys, main\n"
        f"try: main.main({words})\n"
        "except SystemExit: pass\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('torch', 'numpy', 'sklearn', 'matplotlib')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=HERE, capture_output=True, text=True, check=True)
    assert "--latent_dim" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("word", "owner"),
    [
        ("comet_ml", "neuro_noodle/tracking/comet.py"),
        ("tqdm", "neuro_noodle/progress.py"),
        ("pickle.load", "neuro_noodle/runs/latents.py"),
        ("torch.save", "neuro_noodle/runs/sessions.py"),
    ],
)
def test_only_one_file_knows(word, owner):
    assert [name_of(path) for path in PRODUCT if word in path.read_text()] == [owner]


def test_only_views_know_matplotlib():
    users = [path for path in PRODUCT if "matplotlib" in path.read_text()]
    assert {path.parent for path in users} == {HERE / PACKAGE / "views"}


# ------------------------------------------------------------------------------------------------- what is not allowed


@every_file
def test_a_file_starts_with_a_docstring(path):
    assert (ast.get_docstring(parsed(path)) or "").partition("\n")[0].endswith(".")


@each_product_or_benchmark_file
def test_a_file_has_at_most_400_lines(path):
    assert n_lines(path) <= MAX_LINES.get(name_of(path), 400)


def test_the_four_files_together_stay_short():
    assert sum(map(n_lines, FOUR)) <= MAX_LINES_TOGETHER


@each_product_or_benchmark_file
def test_a_function_has_at_most_40_lines(path):
    lengths = {
        f"{name_of(path)}:{name}": function.end_lineno - function.lineno + 1
        for name, function in functions(parsed(path))
    }
    assert {name: n for name, n in lengths.items() if n > 40 and name not in LONG_FUNCTIONS} == {}


def test_at_most_five_functions_may_be_longer():
    assert len(LONG_FUNCTIONS) <= 5


@every_file
def test_no_file_changes_the_import_path(path):
    assert [node for node in nodes(path, ast.Attribute) if ast.unparse(node) == "sys.path"] == []
    assert {name for node in nodes(path, ast.ImportFrom) if node.module == "sys" for name in names_in(node)} & {
        "path"
    } == set()


def test_no_notebook_changes_the_import_path():
    assert [path.name for path in (HERE / "Plotting").glob("*.ipynb") if "sys.path" in path.read_text()] == []


@each_product_or_benchmark_file
def test_an_error_is_never_an_assertion(path):
    assert nodes(path, ast.Assert) == []


@each_product_or_benchmark_file
def test_no_function_takes_unnamed_keyword_arguments(path):
    assert [ast.unparse(node.args) for node in nodes(path, ast.FunctionDef | ast.Lambda) if node.args.kwarg] == []


@each_product_or_benchmark_file
def test_a_text_file_is_opened_with_its_encoding(path):
    """Otherwise it depends on the locale of the machine."""
    for call in nodes(path, ast.Call):
        receiver, _, name = ast.unparse(call.func).rpartition(".")
        modes = {ast.unparse(value) for value in (*call.args[:2], *(word.value for word in call.keywords))}
        is_binary = receiver in OPENERS or any(re.fullmatch("'[rwax+]*b[rwax+]*'", mode) for mode in modes)
        is_text = name in ("read_text", "write_text") or (name == "open" and (modes and not is_binary))
        assert not is_text or "encoding" in {word.arg for word in call.keywords}, ast.unparse(call)


@every_file
def test_no_except_clause_is_bare(path):
    assert [node.lineno for node in nodes(path, ast.ExceptHandler) if node.type is None] == []


@every_file
def test_no_flag_is_read_by_bool(path):
    """Every text is true for bool, "false" included."""
    assert [node for node in nodes(path, ast.keyword) if ast.unparse(node) == "type=bool"] == []


@each_product_file
def test_no_public_function_returns_three_results(path):
    """A small frozen dataclass would name them; a tuple of values of one type, such as a shape, is one result."""
    for name, function in functions(parsed(path)):
        if name.rpartition(".")[2].startswith("_"):
            continue
        for node in ast.walk(function.returns or ast.Tuple([])):
            if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "tuple":
                elements = [ast.unparse(element) for element in getattr(node.slice, "elts", [node.slice])]
                assert len(elements) <= 2 or len(set(elements)) == 1, name


@each_file(path for path in TESTS if path.name.startswith("test_"))
def test_the_name_of_a_test_has_at_most_60_characters(path):
    names = [name for name, _ in functions(parsed(path)) if re.fullmatch(r"test_\w*", name)]
    assert [name for name in names if len(name) > 60] == []


@pytest.mark.parametrize(
    "table", ["TRACKERS", "ENCODERS", "HEADS", "OBJECTIVES", "DATASETS", "OPTIMIZERS", "SCHEDULES"]
)
def test_a_table_is_filled_in_its_own_package(table):
    users = set()
    for path in PRODUCT:
        decorators = [one for node in nodes(path, ast.FunctionDef | ast.ClassDef) for one in node.decorator_list]
        if any(ast.unparse(one).startswith(f"{table}.add(") for one in decorators):
            users.add(unit_of(module_of(path)))
    assert len(users) == 1


# ------------------------------------------------------------------------------------------------------- settings


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
