import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest
import yaml

from mmkeras import cli, config, families

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted((ROOT / "docs").glob("*.md"))
ALL = "\n".join([TEXT, *(page.read_text(encoding="utf-8") for page in PAGES)])
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", ALL, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"mmkeras ([a-z-]+\b[^`\n#]*)", ALL)


def blocks(language):
    return [content for name, content in BLOCKS if name == language]


def parser(verb):
    return cli._verb_parser(verb, cli.verb_of(verb))


def options(verb):
    return set(parser(verb)._option_string_actions)


def test_every_command_is_a_verb_with_those_options():
    shown = [c for c in COMMANDS if c.split()[0] in cli.VERBS]
    assert {"quickstart", "check", "train", "evaluate", "export", "predict"} <= {
        command.split()[0] for command in shown
    }
    # What stands after `--` is a command of its own.
    shown = [part for command in shown for part in command.split(" -- ")]
    for command in shown:
        verb, *words = command.split()
        given = {word.split("=")[0] for word in words if word.startswith("--")}
        asks = verb in ("predict", "ask", "explain")
        inputs = {"--text", "--image", "--audio"} if asks else set()
        assert given <= options(verb) | inputs, command


def test_shell_lines_begin_with_known_verbs():
    for content in blocks(""):
        for line in content.splitlines():
            if line.startswith("mmkeras "):
                assert line.split()[1] in cli.VERBS, line


def test_options_told_in_the_text_exist():
    known = set().union(*map(options, cli.VERBS))
    for option in re.findall(r"`(--[a-z]+)[ =`]", ALL):
        assert option in known, option


def test_the_chinese_readme_has_the_same_commands_and_figures():
    chinese = (ROOT / "README.zh.md").read_text(encoding="utf-8")
    block = re.compile(r"^```\w*\n.*?^```$", re.MULTILINE | re.DOTALL)
    assert block.findall(chinese) == block.findall(TEXT)
    figure = re.compile(r"[+-]?\d+\.\d+ %|1/\d+|\d+\.\d+ GB|arXiv [\d.]+")
    assert sorted(figure.findall(chinese)) == sorted(figure.findall(TEXT))
    headings = re.compile(r"^#+ ", re.MULTILINE)
    assert headings.findall(chinese) == headings.findall(TEXT)
    for name in re.findall(r"`(?:docs|pipelines|tests)/[\w/.]+`", TEXT):
        assert name in chinese, name


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:`|^)make ([a-z-]+)", TEXT, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_exit_codes_are_those_of_the_command_line():
    told = re.search(r"Exit codes: (.*?)\.\n", TEXT, re.DOTALL).group(1)
    codes = [int(code) for code in re.findall(r"\b(\d+) [a-z]", told)]
    named = [cli.FAILED, cli.USAGE, cli.MISSING, cli.REFUSED]
    assert codes == [0, *named, cli.INTERRUPTED, cli.TERMINATED]


@pytest.mark.parametrize("content", blocks("yaml"))
def test_every_recipe_shown_is_valid(content):
    recipe = config.parse(yaml.safe_load(content))
    assert recipe.data.inputs and recipe.data.targets


@pytest.mark.parametrize("content", blocks("python"))
def test_python_names_what_there_is(content):
    """Imports resolve, functions exist and take the arguments that are given."""
    tree = ast.parse(content)
    names = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module.startswith("mmkeras"):
            for each in node.names:
                names[each.name] = importlib.import_module(f"{node.module}.{each.name}")
    assert names or "mmkeras" not in re.findall(r"import (\w+)", content)
    for node in ast.walk(tree):
        called = node.func if isinstance(node, ast.Call) else None
        owner = called.value if isinstance(called, ast.Attribute) else None
        if isinstance(owner, ast.Name) and owner.id in names:
            function = getattr(names[owner.id], called.attr)
            keywords = {each.arg: None for each in node.keywords}
            inspect.signature(function).bind(*node.args, **keywords)


def test_every_path_of_the_repository_exists():
    pattern = r"(?:pipelines|notebooks|mmkeras|tests)/[\w./-]*|data/README\.md"
    found = re.findall(rf"(?<![\w/])(?:{pattern})", ALL)
    found += re.findall(r"`([A-Za-z]+\.(?:md|txt))`", TEXT)
    assert len(found) >= 5
    for path in found:
        assert (ROOT / path.rstrip(".")).exists(), path


def test_lengths_of_recipes_are_as_told():
    for path, count in re.findall(r"`(\S+\.yaml)` \((\d+) lines\)", TEXT):
        assert (ROOT / path).read_text().count("\n") == int(count), path


@pytest.mark.parametrize(
    ("row", "family"),
    [
        ("text", "branches.text"),
        ("image", "branches.image"),
        ("audio", "branches.audio"),
        ("tabular", "branches.tabular"),
        ("fusion", "fusion"),
        ("task", "tasks"),
    ],
)
def test_the_table_lists_all_kinds_the_default_first(row, family):
    line = re.search(rf"^\| {row} \| (.*) \|$", TEXT, re.MULTILINE).group(1)
    told = re.findall(r"`(\w+)`", line.split(";")[0])
    kinds = list(families.kinds(family))
    assert told[0] == kinds[0]
    assert sorted(told) == sorted(kinds)


def test_the_served_outputs_are_as_told(exported):
    table = TEXT.split("| output | per row |")[1].split("\n\n")[0]
    told = [
        name
        for row in re.findall(r"^\| (`.*?) \|", table, re.M)
        for name in re.findall(r"`(\w+)`", row)
    ]
    assert sorted(told) == sorted(exported[1]["answers"][0])
