"""What an explanation promises: parts that add up, and nothing of what is missing."""

import html
import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from mmkeras import cli, explain, export, manifest
from mmkeras import run as runs
from mmkeras.explain import gradients, pages, parts, shapley

LABELS = ["cat", "dog", "owl"]


def whole(rows):
    """Ids of test rows that have every input, and of rows that lack one."""
    test = rows.split("test")
    cells = list(zip(*(test.cells(name) for name in test.inputs), strict=True))
    ids = test.ids
    full = [ids[at] for at, row in enumerate(cells) if all(row)]
    return full, [ids[at] for at, row in enumerate(cells) if not all(row)]


@pytest.fixture(scope="module")
def own(trained, tmp_path_factory):
    """A copy of `trained` that explanations may be written to."""
    folder = tmp_path_factory.mktemp("explain") / "run"
    return runs.open_folder(shutil.copytree(trained.folder, folder))


@pytest.fixture(scope="module")
def explained(trained, rows):
    return explain.row(trained, rows, whole(rows)[0][0])


def test_shapley_values_add_up_and_are_the_trained_models(trained, rows, explained):
    total = sum(explained.shapley.values())
    assert total == pytest.approx(explained.value - explained.base, abs=1e-6)
    assert all(explained.shapley.values()), "three modalities, none of them idle"
    test = rows.split("test")
    one = test.frame[test.frame[test.id] == explained.id]
    found = type(test)(**{**vars(test), "frame": one})
    columns = export.raw_columns(trained, found)
    # Beside the row one that has nothing.
    answer = export.answer(trained, {key: [*one, b""] for key, one in columns.items()})
    assert explained.told == answer["label"][0].decode()
    assert explained.value == pytest.approx(float(answer["probability"][0]), abs=1e-6)
    at = trained.labels["label"].index(explained.label)
    base = float(answer["probabilities"][1, at])
    assert explained.base == pytest.approx(base, abs=1e-6)


def test_what_a_row_lacks_adds_exactly_nothing(trained, rows):
    found = explain.row(trained, rows, whole(rows)[1][0])
    gone = [name for name, here in found.present.items() if not here]
    assert gone and all(found.shapley[name] == 0 for name in gone)
    assert set(found.parts) == set(found.present) - set(gone)
    total = sum(found.shapley.values())
    assert total == pytest.approx(found.value - found.base, abs=1e-6)


def test_shapley_values_of_games_whose_values_are_known():
    # A glove game: one left glove (0), two right ones; a pair is worth 1.
    worth = np.zeros((2, 2, 2))
    worth[1, 1, :] = worth[1, :, 1] = 1
    np.testing.assert_allclose(shapley.values(worth), [2 / 3, 1 / 6, 1 / 6])
    idle = np.stack([[0.0, 3.0], [0.0, 3.0]])
    np.testing.assert_allclose(shapley.values(idle), [0, 3])


def test_attributions_of_words_add_up_to_what_the_words_change(explained):
    part = explained.parts["text"]
    total = sum(token["attribution"] for token in part["tokens"])
    difference = part["end"] - part["start"]
    assert part["steps"] >= 64
    assert total == pytest.approx(difference, abs=max(0.01 * abs(difference), 1e-4))
    assert part["end"] == pytest.approx(explained.value, abs=1e-6)
    assert all(token["token"] for token in part["tokens"]), "padding is no token"


def test_integrated_gradients_of_a_function_whose_values_are_known():
    # f = x y^2: along the straight way from 0 the parts are 1/3 and 2/3 of f.
    ends = [tf.constant([[2.0]]), tf.constant([[3.0]])]
    (first, second), told = gradients.integrated(
        lambda way, rows: (way[0] * way[1] ** 2)[:, 0], [0 * end for end in ends], ends
    )
    assert (first[0], second[0]) == (pytest.approx(6), pytest.approx(12))
    assert told["start"] == 0 and told["end"] == 18 and abs(told["gap"]) < 1e-4


def test_grad_cam_is_the_papers_formula():
    maps = np.zeros((2, 2, 2), "float32")
    maps[0, 0], maps[1, 1] = (1, 0), (0, 1)
    gradient = np.broadcast_to(np.array([3.0, -2.0], "float32"), (2, 2, 2))
    np.testing.assert_allclose(gradients.grad_cam(maps, gradient), [[3, 0], [0, 0]])


def test_maps_have_the_sizes_of_what_they_explain(explained):
    image, audio = explained.parts["image"], explained.parts["audio"]
    # Two blocks: 16 pixels, the last convolution sees 8, and a pooling comes after.
    assert image["looked_at"] == [
        {"method": "grad_cam", "layer": "image_conv1b", "grid": [8, 8]}
    ]
    assert image["map"].shape == (16, 16) and 0 <= image["map"].min()
    assert image["map"].max() in (0, pytest.approx(1))
    frames, bands = audio["saliency"].shape
    assert audio["spectrogram"].shape == (frames, bands) and bands == 40
    assert len(audio["seconds"]) == frames and len(audio["hz"]) == bands
    assert audio["seconds"][-1] < len(audio["wave"]) / audio["rate_hz"]
    assert np.all(np.diff(audio["hz"]) > 0) and audio["hz"][-1] < 4000
    assert np.any(audio["saliency"])


def test_another_label_can_be_asked_for(trained, rows, explained):
    other = list(explained.probabilities)[-1]
    found = explain.row(trained, rows, explained.id, label=other)
    assert found.told == explained.told and found.label == other
    assert found.value == pytest.approx(explained.probabilities[other], abs=1e-6)
    with pytest.raises(explain.NoSuchError, match="`label` has no label `77`"):
        explain.row(trained, rows, explained.id, label="77")


def test_one_of_several_targets(two_targets, tmp_path):
    run, rows = two_targets
    found = explain.row(run, rows, rows.ids[0], target="parity")
    assert found.told in ("odd", "even")
    total = sum(found.shapley.values())
    assert total == pytest.approx(found.value - found.base, abs=1e-6)
    assert explain.row(run, rows, rows.ids[0]).target == "label"
    with pytest.raises(
        explain.NoSuchError, match=r"did you mean `parity`\?\)\. Target"
    ):
        explain.row(run, rows, rows.ids[0], target="partiy")
    elsewhere = SimpleNamespace(recipe=run.recipe, tasks=run.tasks, folder=tmp_path)
    page, _ = explain.write(elsewhere, found)
    assert page.name == f"{rows.ids[0]}.parity.html"


TEXT = {"text": {"kind": "text", "length": 6}}
PHOTO = {"photo": {"kind": "image", "size": 16}}


@pytest.mark.parametrize("task", ["multilabel", "regression", "verification"])
def test_every_task(tmp_path, task, untrained, png):
    run = untrained(tmp_path, TEXT | PHOTO, {}, task=task, fusion="late")
    if task == "verification":
        run = untrained(tmp_path, TEXT | PHOTO, {}, task=task)
    found = explain.raw(run, {"text": [b"seven"], "photo_bytes": [png(9)]})
    output = run.model(
        explain._decoded(run, {"text": [b"seven"], "photo_bytes": [png(9)]})[0]
    )
    output = np.asarray(output["label"])[0]
    if task == "verification":
        output = run.tasks["label"].enrolled @ output
    assert found.value == pytest.approx(float(output.max()), abs=1e-5)
    assert found.label == ("" if task == "regression" else LABELS[output.argmax()])
    total = sum(found.shapley.values())
    assert total == pytest.approx(found.value - found.base, abs=1e-6)
    page, picture = explain.write(run, found)
    assert html.escape(found.what) in page.read_text("utf-8") and picture.is_file()


def test_a_raw_row_may_be_texts_and_what_is_none_is_told(tmp_path, untrained, png):
    run = untrained(tmp_path, TEXT | PHOTO, {})
    plain = explain.raw(run, {"text": "seven", "photo_bytes": png(9)})
    listed = explain.raw(run, {"text": [b"seven"], "photo_bytes": [png(9)]})
    assert plain.value == listed.value and plain.shapley == listed.shapley
    alone = explain.raw(run, {"text": ["seven"]})
    assert alone.present == {"text": True, "photo": False} and not alone.error
    with pytest.raises(ValueError, match="takes no `photo`.*photo_bytes"):
        explain.raw(run, {"text": "seven", "photo": png(9)})
    for cells in (["one", "two"], [7], []):
        with pytest.raises(ValueError, match="`text`: expected the text or the bytes"):
            explain.raw(run, {"text": cells})


@pytest.mark.parametrize("kind", ["bag", "gru", "transformer", "chars"])
def test_every_branch_of_words(tmp_path, kind, untrained):
    run = untrained(tmp_path, TEXT, {"text": {"kind": kind}})
    part = explain.raw(run, {"text": [b"two"]}).parts["text"]
    assert [token["token"] for token in part["tokens"]] == (
        ["two"] if kind != "chars" else ["t", "w", "o"]
    )
    total = sum(token["attribution"] for token in part["tokens"])
    difference = part["end"] - part["start"]
    assert total == pytest.approx(difference, abs=max(0.01 * abs(difference), 1e-4))


def test_a_shared_branch_is_looked_into_once_for_each_input(tmp_path, untrained):
    inputs = {"a": {"kind": "text", "length": 4}, "b": {"kind": "text", "length": 4}}
    branches = {"a": {"kind": "lstm"}, "b": {"same_as": "a"}}
    run = untrained(tmp_path, inputs, branches)
    same = explain.raw(run, {"a": [b"one seven"], "b": [b"one seven"]})
    for name in inputs:
        part = same.parts[name]
        total = sum(token["attribution"] for token in part["tokens"])
        difference = part["end"] - part["start"]
        assert total == pytest.approx(difference, abs=max(0.01 * abs(difference), 1e-4))
    first, second = (same.parts[name]["start"] for name in inputs)
    assert first != second, "only one of the two is taken to zeros"


@pytest.mark.parametrize("kind", ["mobilenet", "vgg16"])
def test_feature_maps_of_pretrained_backbones(tmp_path, kind, untrained, png):
    inputs = {"photo": {"kind": "image", "size": 64}}
    run = untrained(tmp_path, inputs, {"photo": {"kind": kind, "weights": None}})
    part = explain.raw(run, {"photo_bytes": [png(64)]}).parts["photo"]
    (how,) = part["looked_at"]
    assert how["method"] == "grad_cam"
    # VGG16 ends with a pooling, in front of which the map is twice as large.
    assert how["grid"] == ([4, 4] if kind == "vgg16" else [2, 2])


def test_backbones_of_kerashub(tmp_path, tiny_bert, tiny_vit, untrained, png):
    branches = {
        "text": {"kind": "kerashub", "preset": tiny_bert},
        "photo": {"kind": "kerashub", "preset": tiny_vit},
    }
    run = untrained(tmp_path, TEXT | PHOTO, branches)
    found = explain.raw(run, {"text": [b"seven"], "photo_bytes": [png(16)]})
    words, photo = found.parts["text"], found.parts["photo"]
    assert [token["token"] for token in words["tokens"]] == ["[CLS]", "seven", "[SEP]"]
    total = sum(token["attribution"] for token in words["tokens"])
    # Steps of the path make a sum of the integral: to 2 % here.
    assert total == pytest.approx(words["end"] - words["start"], rel=0.02)
    (how,) = photo["looked_at"]
    assert how["method"] == "gradient_x_tokens" and how["grid"] == [2, 2]


@pytest.mark.parametrize("features", ["mfcc", "pcen", "learned"])
def test_every_front_end_is_told_in_hz(tmp_path, features, untrained, wav):
    inputs = {"sound": {"kind": "audio", "rate_hz": 8000, "clip_seconds": 0.4}}
    branches = {"sound": {"kind": "gru", "features": features, "units": 8}}
    run = untrained(tmp_path, inputs, branches)
    part = explain.raw(run, {"sound_bytes": [wav()]}).parts["sound"]
    expected = {"mfcc": "LogMel", "pcen": "PCEN", "learned": "GaborFilters"}
    assert part["features"] == expected[features]
    assert part["saliency"].shape == (13, 40), "0.25 of 0.4 s, a frame every 20 ms"
    assert part["hz"][0] > 0 and part["hz"][-1] < 4000 and np.any(part["saliency"])


def test_columns_of_a_table(tmp_path, untrained):
    inputs = {"who": {"kind": "tabular", "numbers": ["age"], "categories": ["city"]}}
    run = untrained(tmp_path, inputs, {"who": {"units": 8}})
    part = explain.raw(run, {"age": [b"9"], "city": [b"<b>"]}).parts["who"]
    assert [each["column"] for each in part["columns"]] == ["age", "city"]
    total = sum(each["attribution"] for each in part["columns"])
    difference = part["end"] - part["start"]
    assert total == pytest.approx(difference, abs=max(0.01 * abs(difference), 1e-4))
    alone = explain.raw(run, {"age": [b"9"], "city": [b""]}).parts["who"]
    assert alone["columns"][1] == {"column": "city", "cell": "", "attribution": 0.0}


def test_a_branch_that_is_closed_says_so(tmp_path, monkeypatch, untrained):
    run = untrained(tmp_path, TEXT, {"text": {"kind": "bag"}})
    given, _ = explain._decoded(run, {"text": [b"one"]})
    closed = SimpleNamespace(given=given, passed=lambda name: [])
    probe = SimpleNamespace(given=given, models=[closed])
    part = parts.text(probe, run.decoders["text"], {"text": [b"one"]})
    assert "closed" in part["left_out"] and "Left out: the branch" in pages._text(part)


def test_looking_into_a_model_leaves_it_as_it_was(trained, explained):
    for layer in trained.model._flatten_layers():
        assert "call" not in vars(layer), layer.name


def test_a_file_that_cannot_be_read_is_missing_and_told(own):
    columns = {"text": [b"seven"], "image_bytes": [b"no picture"], "audio_bytes": [b""]}
    found = explain.raw(own, columns)
    assert not found.present["image"] and found.error.startswith("image: ")
    page, _ = explain.write(own, found)
    assert html.escape(found.error) in page.read_text("utf-8")


def test_the_page_needs_no_network_and_escapes_what_it_shows(own, png, wav):
    columns = {
        "text": [b"<script>alert(1)</script> seven"],
        "image_bytes": [png(20)],
        "audio_bytes": [wav()],
    }
    found = explain.raw(own, columns, identity="<i>/../x")
    page, picture = explain.write(own, found)
    assert page.parent == own.folder / "explanations"
    text = page.read_text("utf-8")
    for outside in ('src="http', "url(http", "@import", "<link", "<script"):
        assert outside not in text
    assert all(s.startswith("data:") for s in re.findall(r'src="([^"]*)"', text))
    assert "&lt;script&gt;" in text and "<i>/" not in text
    assert text.count("data:audio/wav;base64,") == 1 and "$" not in text
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_picture_does_without_words_its_font_lacks(tmp_path):
    from mmkeras.plots import explained as drawn

    token = {"attribution": 0.1}
    chinese = {"kind": "text", "tokens": [{"token": "七", **token}]}
    latin = {"kind": "text", "tokens": [{"token": "$x_7$", **token}]}
    assert drawn._draw_of(chinese) is None and drawn._draw_of(latin)
    drawn.side_by_side(tmp_path / "a.png", "$p", {"七": 0.1}, {"文": latin})
    assert (tmp_path / "a.png").is_file()


def run_verb(capsys, *arguments):
    code = cli.main(["explain", *map(str, arguments)])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_the_verb_tells_a_row_of_the_manifest(capsys, own, explained):
    code, out, _ = run_verb(capsys, own.folder, "--row", explained.id, "--json")
    told = json.loads(out)
    assert code == 0 and told["told"] == explained.told
    assert told["shapley"] == pytest.approx(explained.shapley, abs=1e-6)
    assert {"token", "attribution"} == set(told["parts"]["text"]["tokens"][0])
    assert "map" not in told["parts"]["image"]
    assert told["page"].endswith(f"explanations/{explained.id}.html")


def test_the_verb_tells_a_raw_row_to_people(capsys, own):
    code, out, _ = run_verb(capsys, own.folder, "--text", "seven")
    lines = out.splitlines()
    assert code == 0 and lines[0].startswith("label: ")
    assert "image (missing)      +0.0000" in lines
    assert any(line.startswith("text: seven ") for line in lines)
    assert lines[-1].endswith("asked.html")


def test_errors_say_what_there_is(capsys, own, rows):
    near = rows.ids[0]
    code, _, err = run_verb(capsys, own.folder, "--row", near[:-1])
    assert code == 4 and f"no row `{near[:-1]}`. The nearest of its 300 ids: " in err
    refused = rows.reject({int(rows.frame.index[0]): ("image", "the file is gone")})
    with pytest.raises(manifest.ManifestError, match="`image`: the file is gone"):
        explain.row(own, refused, near)
    code, _, err = run_verb(capsys, own.folder, "--row", near, "--text", "x")
    assert code == 2 and "unknown arguments: --text x" in err
    code, _, err = run_verb(capsys, own.folder)
    assert code == 2 and "nothing to explain: give --row ID" in err
    code, _, err = run_verb(capsys, own.folder, "--manifest", "x.csv")
    assert code == 2 and "--manifest needs --row ID" in err
    code, _, err = run_verb(capsys, own.folder, "--txt", "x")
    assert code == 2 and "no input `--txt`. The model takes --text, " in err
    code, _, err = run_verb(capsys, own.folder, "--text=a", "--target", "labl")
    assert code == 2 and "no target `labl` (did you mean `label`?)" in err
