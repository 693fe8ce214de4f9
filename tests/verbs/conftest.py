"""A verb called as in a shell, and a row to call it with."""

import pytest

from mmkeras import cli


@pytest.fixture
def call(capsys):
    """`mmkeras ARGUMENTS`: (exit code, stdout, stderr)."""

    def called(*arguments):
        code = cli.main([str(each) for each in arguments])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return called


@pytest.fixture(scope="session")
def row(rows):
    """A test row with all three inputs: {name: cell}."""
    test = rows.split("test")
    for at in range(len(test)):
        found = {name: test.cells(name)[at] for name in test.inputs}
        if all(found.values()):
            return found


@pytest.fixture(scope="session")
def options(row):
    """The row as arguments: `--text TEXT --image PATH --audio PATH`."""
    return [part for name, cell in row.items() for part in (f"--{name}", cell)]
