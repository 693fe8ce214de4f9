"""The pages of docs/: what they quote is there, and the site holds them all."""

import ast
import re
from pathlib import Path

import yaml

from mmkeras import families

ROOT = Path(__file__).parent.parent
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


def leaves(tree):
    if isinstance(tree, str):
        yield tree
    for each in tree.values() if isinstance(tree, dict) else tree:
        if not isinstance(tree, str):
            yield from leaves(each)


def test_messages_that_are_explained_are_those_of_the_source():
    said = [
        node.value
        for path in (ROOT / "mmkeras").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^\| `(.+?)` \|", text, re.MULTILINE)
    assert len(quoted) > 15
    for message in quoted:
        assert any(message in each for each in said), message


def test_every_page_stands_in_the_site():
    told = set(leaves(SITE["nav"]))
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert pages <= told


def test_every_family_has_its_page():
    text = (ROOT / "docs" / "generate.py").read_text(encoding="utf-8")
    for family in families.FAMILIES:
        assert f'"{family}"' in text, family
