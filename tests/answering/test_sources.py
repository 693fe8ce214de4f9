"""Who answers: what is refused before a row is asked."""

import json

import pytest

from mmkeras import answering, client, manifest


def signature(inputs, classes=3):
    return {
        "inputs": {name: {"dtype": "DT_STRING", "shape": [-1]} for name in inputs},
        "outputs": {"probabilities": {"dtype": "DT_FLOAT", "shape": [-1, classes]}},
    }


@pytest.fixture
def told(monkeypatch):
    """{signature: ...} that the server at http://here:1 tells; change it."""
    signatures = {"serving_default": signature(["image_bytes", "text"])}
    monkeypatch.setattr(
        client.Client, "metadata", lambda _: {"version": 1, "signatures": signatures}
    )
    return signatures


@pytest.fixture
def folder(tmp_path):
    """An export of texts and pictures in three classes, as far as it is read here."""
    extra = tmp_path / "1" / "assets.extra"
    extra.mkdir(parents=True)
    (tmp_path / "1" / "saved_model.pb").touch()
    inputs = {"text": ["text"], "image": ["image_bytes"]}
    (extra / "inputs.json").write_text(json.dumps(inputs))
    (extra / "labels.json").write_text(json.dumps({"pet": ["cat", "cow", "dog"]}))
    return tmp_path


def asked(folder=None):
    return answering.source("http://here:1", model="pets", exported=folder)


def test_the_folder_that_is_served_names_the_classes(told, folder):
    assert asked(folder).labels == {"pet": ["cat", "cow", "dog"]}
    assert asked().labels == {"": ["#0", "#1", "#2"]}


def test_several_targets_are_compared_by_their_names(told, folder):
    extra = folder / "1" / "assets.extra" / "labels.json"
    extra.write_text(json.dumps({"price": {"mean": 1, "scale": 2}, "pet": list("abc")}))
    outputs = told["serving_default"]["outputs"]
    outputs["pet_probabilities"] = outputs.pop("probabilities")
    assert asked(folder).labels["pet"] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("inputs", "classes", "theirs"),
    [
        (["text"], 3, "takes text and tells 3 classes"),
        (["image_bytes", "text"], 2, "takes image_bytes, text and tells 2 classes"),
    ],
)
def test_another_folder_is_refused(told, folder, inputs, classes, theirs):
    """Its names would stand at the wrong classes."""
    told["serving_default"] = signature(inputs, classes)
    with pytest.raises(ValueError, match="is not what the server serves") as caught:
        asked(folder)
    ours = "takes image_bytes, text and tells 3 classes"
    assert f"its model {ours}, the server's {theirs}. Give the" in str(caught.value)


def test_a_model_without_the_signature_is_named(told):
    told["predict"] = told.pop("serving_default")
    with pytest.raises(client.ServerError) as caught:
        asked()
    assert str(caught.value) == (
        "the model pets at http://here:1 has no signature `serving_default`, only "
        "predict: `mmkeras export` writes one"
    )


def test_an_export_knows_what_a_table_calls_its_columns(folder):
    table = folder / "rows.csv"
    table.write_text("编号,文本,图片\n甲,你好,\n", encoding="utf-8")
    keys = {"id": "编号", "columns": {"text": "文本", "image": "图片"}}
    told = json.dumps(keys, ensure_ascii=False)
    extra = folder / "1" / "assets.extra" / "manifest.json"
    extra.write_text(told, encoding="utf-8")
    rows = answering.questions(answering.source(folder), table)
    assert rows.ids == ["甲"] and rows.cells("text") == ["你好"]
    extra.unlink()  # as an earlier export is, which knows of no other names
    with pytest.raises(manifest.ManifestError, match="no column `text`, `image`"):
        answering.questions(answering.source(folder), table)
