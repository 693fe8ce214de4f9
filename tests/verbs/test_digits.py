import json

import pytest

from mmkeras import cli


def call(capsys, *arguments):
    code = cli.main(["digits", *map(str, arguments)])
    return code, capsys.readouterr()


def test_it_writes_the_set_and_names_its_manifest(tmp_path, capsys):
    folder = tmp_path / "set"
    code, shown = call(capsys, folder, "--rows", 60, "--lesson", "unique", "--json")
    assert code == 0
    assert json.loads(shown.out) == {"manifest": str(folder / "manifest.csv")}
    lines = (folder / "manifest.csv").read_text("utf-8").splitlines()
    assert len(lines) == 1 + 60
    assert json.loads((folder / "digits.json").read_text())["lesson"] == "unique"
    # What is there already is what was asked for.
    code, shown = call(capsys, folder, "--rows", 60, "--lesson", "unique")
    assert (code, shown.out) == (0, f"{folder / 'manifest.csv'}\n")


def test_the_seed_changes_the_rows(tmp_path, capsys):
    for seed in (0, 1):
        assert call(capsys, tmp_path / str(seed), "--rows", 60, "--seed", seed)[0] == 0
    first, second = (tmp_path / name / "manifest.csv" for name in "01")
    assert first.read_text() != second.read_text()


def test_a_folder_with_other_things_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    code, shown = call(capsys, tmp_path, "--rows", 60)
    assert code == cli.USAGE
    assert "is not free: found mine.txt. Expected an empty folder" in shown.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("rows", [-3, 0, 5])
def test_too_few_rows_are_a_usage_error(tmp_path, capsys, rows):
    code, shown = call(capsys, tmp_path / "set", "--rows", rows)
    assert code == cli.USAGE
    assert shown.err.startswith(f"mmkeras digits: rows = {rows} is too few")
    assert not (tmp_path / "set").exists()


def test_an_unknown_lesson_lists_the_lessons(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["digits", str(tmp_path / "set"), "--lesson", "redundent"])
    assert caught.value.code == cli.USAGE
    assert "choose from 'redundant', 'unique', 'synergy'" in capsys.readouterr().err
