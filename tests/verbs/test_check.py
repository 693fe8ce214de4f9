import argparse
import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mmkeras import cli
from mmkeras.verbs import check

ROOT = Path(__file__).parent.parent.parent
SAMPLE = ROOT / "data" / "sample"
BROKEN = ROOT.parent / "shared" / "data" / "broken"
needs_broken = pytest.mark.skipif(
    not BROKEN.is_dir(), reason=f"the set of broken files is not at {BROKEN}"
)


def run(source, *overrides):
    parser = argparse.ArgumentParser()
    check.arguments(parser)
    settings = [f"--set={override}" for override in overrides]
    return check.run(parser.parse_args([str(source), *settings]), [])


def command(capsys, *arguments):
    code = cli.main(["check", *map(str, arguments)])
    return code, capsys.readouterr()


def texts(folder, content, name="rows.csv"):
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


# ------------------------------------------------------------------- a manifest itself


def test_a_good_manifest_is_0(capsys):
    code, shown = command(capsys, SAMPLE / "manifest.csv")
    assert code == 0
    with open(SAMPLE / "manifest.csv", encoding="utf-8", newline="") as file:
        splits = [row["split"] for row in csv.DictReader(file)]
    told = ", ".join(f"{splits.count(n)} {n}" for n in ("train", "valid", "test"))
    count = len(splits)
    expected = f"manifest.csv: {count} rows read, {count} used ({told}), 0 refused\n"
    assert shown.out.endswith(expected)
    table = shown.out.splitlines()[:5]
    assert table[0].split()[:4] == ["input", "kind", "rows", "empty"]
    assert table[1].split()[:2] == ["text", "text"]


def test_refused_rows_are_4_and_one_json_document(tmp_path, capsys):
    folder = tmp_path / "sample"
    shutil.copytree(SAMPLE, folder)
    with open(folder / "manifest.csv", encoding="utf-8", newline="") as file:
        names = [row["image"] for row in csv.DictReader(file)]
    line = next(number for number, name in enumerate(names, 2) if name)
    (folder / names[line - 2]).write_bytes(b"no picture")
    code, shown = command(capsys, folder / "manifest.csv", "--json")
    assert code == cli.REFUSED
    found = json.loads(shown.out)
    assert {"rejected", "rows", "used", "warnings", "findings"} <= set(found)
    assert (found["rows"], found["used"]) == (len(names), len(names) - 1)
    (row,) = found["rejected"]
    assert sorted(row) == ["column", "id", "line", "reason"]
    assert (row["line"], row["column"]) == (line, "image")
    assert "not a JPEG, PNG" in row["reason"]


def test_texts_alone_need_no_tensorflow(tmp_path):
    lines = "".join(f"a{n},x\nb{n},y\n" for n in range(20))
    path = texts(tmp_path, "text,label\n" + lines)
    code = (
        "import sys; from mmkeras import cli; code = cli.main(sys.argv[1:]); "
        "print(code, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "check", str(path)], capture_output=True, text=True
    )
    told = "rows.csv: 40 rows read, 40 used (32 train, 4 valid, 4 test), 0 refused"
    assert done.stdout.splitlines()[-2:] == [told, "0 False"]
    assert done.stderr == ""


def test_rows_that_are_all_refused_are_told(tmp_path, capsys):
    code, shown = command(capsys, texts(tmp_path, "id,text,label\n7,a,\n"))
    assert code == cli.REFUSED
    assert shown.out.splitlines()[-2:] == [
        "  line 2, row `7`, `label`: the label is empty",
        "rows.csv: 1 rows read, 0 used, 1 refused",
    ]


def test_warnings_are_told_and_no_reason_for_4(tmp_path, capsys):
    path = texts(tmp_path, "id,text,label,split\n7,a,x,train\n7,a,x,train\n8,b,x,dev\n")
    code, shown = command(capsys, path)
    assert code == 0
    warning = "id `7` stands on lines 2, 3 (train): the same row"
    assert f"  warning: {warning}" in shown.out.splitlines()
    assert run(path).content["warnings"][0] == warning
    assert command(capsys, path, "--strict")[0] == cli.REFUSED


def test_strict_is_0_where_there_is_nothing_to_tell(tmp_path, capsys):
    lines = "".join(f"a {n},x\nb {n},y\n" for n in range(20))
    assert command(capsys, texts(tmp_path, "text,label\n" + lines), "--strict")[0] == 0


def test_findings_name_rule_lines_and_ids_and_files_are_written(tmp_path, capsys):
    lines = "q1,same words,x,train\nq2,same words,x,test\nq3,b,x,valid\nq4,,x,train\n"
    path = texts(tmp_path, "id,text,label,split\n" + lines)
    page, refused = tmp_path / "check.html", tmp_path / "refused.csv"
    code, shown = command(
        capsys, path, "--json", f"--html={page}", f"--rejected={refused}"
    )
    assert code == cli.REFUSED
    leak, single, rare = json.loads(shown.out)["findings"]
    assert (leak["rule"], leak["column"]) == ("leak", "text")
    assert (leak["lines"], leak["ids"]) == ([2, 3], ["q1", "q2"])
    assert leak["advice"] and rare["rule"] == "rare"
    assert single["what"] == "every train row is `x`: nothing to tell apart"
    assert "<td>leak</td>" in page.read_text(encoding="utf-8")
    (row,) = csv.DictReader(refused.open(encoding="utf-8"))
    assert (row["line"], row["manifest_id"], row["split"]) == ("5", "q4", "train")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("text,place\na,x\n", "no column `label`. Found ['text', 'place']. Rename it"),
        ("words,label\na,x\n", "no column `text`, `image`, `audio`. Found ['words', "),
        ("", "rows.csv is empty: expected a header and rows"),
        ("text,label\n", "rows.csv has a header but no rows"),
    ],
)
def test_manifests_that_cannot_be_used_are_4(tmp_path, capsys, content, expected):
    code, shown = command(capsys, texts(tmp_path, content))
    assert code == cli.REFUSED
    assert expected in shown.err
    assert shown.err.count("\n") == 1 and shown.out == ""


def test_no_file_and_a_folder_are_3(tmp_path, capsys):
    code, shown = command(capsys, tmp_path / "none.csv")
    assert code == cli.MISSING
    assert (
        shown.err == f"mmkeras check: the manifest {tmp_path}/none.csv is not there\n"
    )
    code, shown = command(capsys, tmp_path)
    assert code == cli.MISSING
    assert "is a folder, not a CSV file" in shown.err
    code, shown = command(capsys, tmp_path / "none.yaml")
    assert code == cli.MISSING
    assert "no recipe at" in shown.err


def test_columns_are_found_with_the_separator_and_encoding_set(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes("id;text;label\n1;été;x\n2;b;x\n".encode("cp1252"))
    settings = ("data.separator=;", "data.encoding=cp1252")
    assert run(path, *settings).content["used"] == 2


def test_other_columns_can_be_set(tmp_path):
    path = texts(tmp_path, "words,kind\na,x\nb,x\n")
    overrides = ("data.inputs={words: text}", "data.targets={kind: classification}")
    assert run(path, *overrides).content["used"] == 2


# ---------------------------------------------------------------------------- a recipe


def recipe(folder):
    texts(folder, "words,kind\na,x\nb,x\n,x\n")
    content = (
        "name: kinds\n"
        f"data: {{manifest: '{folder}/rows.csv', inputs: {{words: text}}, "
        "targets: {kind: classification}}\n"
    )
    return texts(folder, content, "kinds.YAML")


def test_a_recipe_says_which_columns(tmp_path, capsys):
    path = recipe(tmp_path)
    code, shown = command(capsys, path)
    assert code == cli.REFUSED
    assert "line 4, row `4`: every input is empty: words" in shown.out
    other = texts(tmp_path, "words,kind\na,x\n", "other.csv")
    assert command(capsys, path, "--set", f"data.manifest={other}")[0] == 0


def test_a_faulty_recipe_is_2(tmp_path, capsys):
    code, shown = command(capsys, recipe(tmp_path), "--set", "data.split.x=3")
    assert code == cli.USAGE
    assert "`data.split`: Input should be a valid string, got {'x': 3}" in shown.err
    code, shown = command(capsys, recipe(tmp_path), "--set", "data.sperator=;")
    assert code == cli.USAGE
    assert "(did you mean `separator`?)" in shown.err


# ----------------------------------------------------------------- the broken data set


@needs_broken
def test_every_firm_case_of_the_broken_set():
    with open(BROKEN / "manifest.csv", encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        cases, line = {}, 2
        for row in reader:
            cases[line] = row
            line = reader.line_num + 1
    answer = run(BROKEN / "manifest.csv")
    found = answer.content
    refused = {row["line"]: row for row in found["rejected"]}
    assert answer.code == cli.REFUSED
    assert found["rows"] == len(cases) == found["used"] + len(refused)
    for line, case in cases.items():
        if case["firm"] == "yes":
            expected = case["expect"] == "reject"
            assert (line in refused) == expected, (case["case"], refused.get(line))
    for line, row in refused.items():
        case = cases[line]
        assert row["id"] == case["id"]
        # The faulty medium is the only fault of its row.
        kind = case["case"].split("_")[0]
        column = {"jpeg": "image", "wav": "audio", "path": "image", "all": ""}
        assert row["column"] == column.get(kind, kind), row
    empty = {row["id"]: row["reason"] for row in found["rejected"]}
    assert empty["b013"] == empty["b023"] == "the file is empty"
    assert any("`dup_conflict`" in warning for warning in found["warnings"])


def broken_files():
    if not BROKEN.is_dir():
        return []
    with open(BROKEN / "cases.csv", encoding="utf-8", newline="") as file:
        return [pytest.param(row, id=row["file"]) for row in csv.DictReader(file)]


FILE_MESSAGES = {
    "manifest_cp1252.csv": "is not utf-8: line 2 holds the byte 0xab",
    "manifest_semicolon.csv": "Found ['id;image;audio;text;label;split']",
    "manifest_zero_byte.csv": "is empty",
    "manifest_header_only.csv": "a header but no rows",
    "manifest_no_label.csv": "no column `label`",
    "manifest_duplicate_column.csv": "two columns called `image`",
    "manifest_upper_header.csv": "Found ['ID', 'IMAGE', ",
}


@needs_broken
@pytest.mark.parametrize("case", broken_files())
def test_every_faulty_file_of_the_broken_set(case, capsys):
    code, shown = command(capsys, BROKEN / case["file"], "--json")
    if case["expect"] == "accept":
        assert code == 0 and json.loads(shown.out)["used"] == 12
    elif case["file"] == "manifest_ragged.csv":
        found = json.loads(shown.out)
        assert [row["line"] for row in found["rejected"]] == [4, 5]
        assert (code, found["used"]) == (cli.REFUSED, 10)
    else:
        assert code == cli.REFUSED
        assert FILE_MESSAGES[case["file"]] in shown.err


@needs_broken
def test_the_remedies_that_the_messages_name_help():
    assert run(BROKEN / "manifest_cp1252.csv", "data.encoding=cp1252").code == 0
    assert run(BROKEN / "manifest_semicolon.csv", "data.separator=;").code == 0
