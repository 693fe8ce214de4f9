"""A table with headers in another script, from the first command to the last."""

import json
import shutil

import pandas as pd
import pytest

from mmkeras import answering, cli, config, export, manifest, run, train

HEADER = "编号,留言,价格(元),标签"


def lines(rows):
    texts = ("便宜 又 好", "太 贵 了")
    return [f"甲{n},{texts[n % 2]} {n},{n % 5},{'好坏'[n % 2]}" for n in range(rows)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(folder with `商品.csv`, a run on it, its export)."""
    folder = tmp_path_factory.mktemp("columns")
    path = folder / "商品.csv"
    path.write_text("\n".join([HEADER, *lines(60)]), encoding="utf-8")
    data = {
        "manifest": str(path),
        "id": "编号",
        "inputs": {
            "text": {"kind": "text", "length": 6},
            "facts": {"kind": "tabular", "numbers": ["price"]},
        },
        "targets": {"label": "classification"},
        "columns": {"text": "留言", "price": "价格(元)", "label": "标签"},
    }
    small = {"text": {"kind": "bag", "units": 4}, "facts": {"units": 4}}
    options = {"epochs": 2, "baselines": False}
    tree = {"name": "it", "data": data, "branches": small, "train": options}
    recipe = config.parse(tree)
    rows = manifest.read(recipe.data)
    trained = train.fit(recipe, rows, folder=folder / "run", log=lambda line: None)
    test = rows.split("test")
    served, _ = export.saved_model(
        trained, folder / "served", test, log=lambda line: None
    )
    return folder, trained, served


def test_the_runs_own_file_keeps_its_splits(made, call):
    folder, trained, _ = made
    code, out, err = call("evaluate", trained.folder, "--json")
    assert code == 0 and "warning" not in err
    own = json.loads(out)["test"]["rows"]
    words = ["evaluate", trained.folder, "--manifest", folder / "商品.csv", "--json"]
    code, out, err = call(*words)
    assert json.loads(out)["test"]["rows"] == own == 6 and "warning" not in err


def test_rows_that_were_trained_on_are_told(made, call):
    folder, trained, _ = made
    new = "乙,没有 见过,3,好"
    (folder / "其他.csv").write_text("\n".join([HEADER, *lines(60), new]), "utf-8")
    code, _, err = call("evaluate", trained.folder, "--manifest", folder / "其他.csv")
    assert code == 0
    assert (
        "warning: 54 of the rows of 其他.csv were trained on or validated by (" in err
    )
    moved = run.Run(folder / "moved")
    shutil.copytree(trained.folder, moved.folder)
    told = moved.recipe_yaml.read_text("utf-8").replace("商品.csv", "gone.csv")
    moved.recipe_yaml.write_text(told, "utf-8")
    rows = run.read_rows(trained)
    assert run.known_lines(run.Run(moved.folder), rows) == []


def test_slices_by_either_name_and_no_other(made, call):
    _, trained, _ = made
    found = {}
    for name in ("价格(元)", "price"):
        code, out, _ = call("evaluate", trained.folder, "--slice", name, "--json")
        assert code == 0
        (found[name],) = json.loads(out)["test"]["slices"].values()
    assert found["price"] == found["价格(元)"] and len(found["price"]) > 1
    code, _, err = call("evaluate", trained.folder, "--slice", "颜色")
    assert code == cli.REFUSED and "Columns: 编号, 留言, 价格(元), 标签" in err


def test_one_row_is_asked_by_either_name(made, call):
    _, trained, served = made
    answers = {
        call("predict", place, *words)[1]
        for place in (trained.folder, served.parent)
        for words in (
            ["--text", "太 贵", "--price", "3"],
            ["--留言", "太 贵", "--价格(元)=3"],
        )
    }
    assert len(answers) == 1 and "probability" in answers.pop()
    code, _, err = call("predict", served, "--留", "太 贵")
    assert code == cli.USAGE and "no input `--留`. The model takes --text" in err


def test_a_file_of_another_encoding_and_separator(made, call):
    folder, trained, served = made
    plain = folder / "新.csv"
    plain.write_text("\n".join([HEADER, *lines(5)]), encoding="utf-8")
    other = folder / "新gb.csv"
    other.write_bytes(plain.read_text("utf-8").replace(",", ";").encode("gb18030"))
    expected = call("predict", served, "--manifest", plain)[1]
    assert expected.splitlines()[1].startswith("甲0,")
    how = ["--encoding", "gb18030", "--separator", ";"]
    for place in (trained.folder, served):
        code, out, err = call("predict", place, "--manifest", other, *how)
        assert code == 0 and out == expected, err
    code, _, err = call("predict", served, "--manifest", other)
    assert code == cli.REFUSED and "--encoding behind a command" in err
    code, out, _ = call("evaluate", trained.folder, "--manifest", other, *how, "--json")
    assert code == 0 and json.loads(out)["test"]["rows"] == 5
    code, _, err = call("predict", served, "--manifest", other, "--separator", "::")
    assert code == cli.USAGE and "--separator ::: expected one character" in err


def test_a_table_with_a_column_of_the_targets_name(made, call):
    """As one has that answers were joined to."""
    folder, trained, _ = made
    joined = folder / "joined.csv"
    content = [f"{line},?" for line in lines(3)]
    joined.write_text("\n".join([f"{HEADER},label", *content]), encoding="utf-8")
    assert call("predict", trained.folder, "--manifest", joined)[0] == 0
    code, _, err = call("evaluate", trained.folder, "--manifest", joined)
    assert (
        code == cli.REFUSED and "joined.csv has a column `label` beside `标签`" in err
    )


def test_frames_of_no_row_and_of_rows_that_cannot_be_asked(made):
    _, trained, served = made
    frame = pd.DataFrame(
        {"编号": ["a", "b"], "留言": ["好", ""], "价格(元)": [1.5, None]}
    )
    for place in (trained, trained.folder, str(served)):
        found = answering.predict(place, frame)
        assert list(found["id"]) == ["a", "b"] and found["label"][0] in "好坏"
        assert found["error"][1] == "every input is empty: 留言, 价格(元)"
        assert list(found[found["abstained"].fillna(True)]["id"]) == ["b"]
        for part in (frame[1:], frame[:0]):
            none = answering.predict(place, part)
            assert list(none.columns) == list(found.columns)
            assert len(none) == len(part) and none["label"].isna().all()
    with pytest.raises(TypeError, match="expected a DataFrame or the path of a table"):
        answering.predict(trained, [{"留言": "好"}])
