"""Media written once: decoded again they are the same; every row is accounted for."""

import csv
import json
import os
import shutil

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from mmkeras import cli, config, dataset, disk, manifest, modalities, transcode

INPUTS = {
    "text": "text",
    "image": {"kind": "image", "size": 24},
    "audio": {"kind": "audio", "rate_hz": 8000, "clip_seconds": 0.2},
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Pictures that fit, that must be scaled or turned; sounds of two rates; faults."""
    folder = tmp_path_factory.mktemp("source")
    rng = np.random.default_rng(0)
    sides = {
        "fits": (24, 24),
        "large": (70, 40),
        "small": (9, 11),
        "same/fits": (24, 24),
    }
    (folder / "same").mkdir()
    for name, (height, width) in sides.items():
        pixels = rng.integers(0, 256, (height, width, 3), "uint8")
        (folder / f"{name}.png").write_bytes(tf.io.encode_png(pixels).numpy())
    # Exif orientation 6: turned by a quarter.
    jpeg = tf.io.encode_jpeg(rng.integers(0, 256, (30, 60, 3), "uint8")).numpy()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    size = (len(exif) + 2).to_bytes(2, "big")
    (folder / "turned.jpg").write_bytes(jpeg[:2] + b"\xff\xe1" + size + exif + jpeg[2:])
    (folder / "torn.png").write_bytes((folder / "large.png").read_bytes()[:60])
    for name, rate_hz, channels, subtype in [
        ("plain.wav", 8000, 1, "PCM_16"),
        ("other.wav", 44100, 2, "PCM_24"),
        ("packed.flac", 16000, 1, "PCM_16"),
    ]:
        wave = rng.uniform(-1, 1, (int(0.3 * rate_hz), channels))
        soundfile.write(folder / name, wave, rate_hz, subtype)
    lines = [
        ["a", "one; two", "fits.png", "plain.wav", "x"],
        ["b", 'say "it"\nagain', "large.png", "other.wav", "y"],
        ["c", "", "small.png", "", "x"],
        ["d", "four", "turned.jpg", "packed.flac", "y"],
        ["e", "five", "torn.png", "plain.wav", "x"],
        ["f", "six", "../no.png", "", "y"],
        ["g", "seven", "same/fits.png", "plain.wav", "x"],
        *[[f"h{n}", f"more {n}", "", "", "xy"[n % 2]] for n in range(8)],
    ]
    with open(folder / "rows.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "text", "image", "audio", "label"], *lines])
    return folder


def recipe(path, **inputs):
    data = {
        "manifest": str(path),
        "inputs": INPUTS | inputs,
        "targets": {"label": "classification"},
    }
    return config.parse({"name": "pets", "data": data})


def decoded(chosen, rows):
    decoders = modalities.make(chosen.data.inputs, chosen.branches)
    files = {name: each for name, each in decoders.items() if each.is_file}
    loaded, faults = dataset.load(rows, files)
    good = rows.reject(faults)
    kept = loaded.keep(rows.frame.index.isin(good.frame.index))
    return good, {key: array.numpy() for key, array in kept.arrays.items()}, faults


@pytest.fixture(scope="module")
def done(source, tmp_path_factory):
    chosen = recipe(source / "rows.csv")
    rows = manifest.read(chosen.data)
    folder = tmp_path_factory.mktemp("prepared") / "it"
    return chosen, rows, transcode.write(chosen, rows, folder)


def test_what_is_decoded_is_the_same(done):
    chosen, rows, written = done
    before, one, _ = decoded(chosen, rows)
    again = recipe(written.manifest)
    after, other, faults = decoded(again, manifest.read(again.data))
    assert faults == {} and set(one) == set(other)
    assert before.ids == after.ids
    assert before.cells("text") == after.cells("text")
    assert before.frame["split"].tolist() == after.frame["split"].tolist()
    for key in one:
        if key in ("image", "audio"):
            most = 0.5 / 255 if key == "image" else 2.0**-15
            assert np.abs(one[key] - other[key]).max() <= most * 1.001
        else:
            np.testing.assert_array_equal(one[key], other[key])
    same = np.abs(one["image"] - other["image"]).max(axis=(1, 2, 3)) == 0
    ids = np.array(before.ids)
    present = one["image_present"]
    assert set(ids[same & present]) == {"a", "g"}, "of the model's size: bit for bit"
    exact = np.abs(one["audio"] - other["audio"]).max(axis=1) == 0
    assert {"a", "g"} <= set(ids[exact & one["audio_present"]]) < set("abdg")


def new_names(written):
    """{id: {column: new cell}} of a written manifest."""
    with open(written.manifest, newline="", encoding="utf-8") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def test_files_are_small_and_upright(done):
    _, _, written = done
    folder = written.manifest.parent
    assert len(list((folder / "image").iterdir())) == 5
    for path in (folder / "image").iterdir():
        assert tf.io.decode_png(path.read_bytes()).shape == (24, 24, 3)
    for path in (folder / "audio").iterdir():
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (8000, 1, "PCM_16")
        assert info.frames == 1600  # what the model hears
    assert (written.files, written.kept, written.originals) == (8, 0, 0)


def test_every_row_is_there_or_in_rejected(done):
    _, rows, written = done
    assert written.rows.rows_read == 15 == len(written.rows) + 2
    with open(written.manifest.parent / "rejected.csv", newline="") as file:
        refused = {row["manifest_id"]: row for row in csv.DictReader(file)}
    assert sorted(refused) == ["e", "f"]
    assert refused["e"]["reason"] == "PNG data is truncated or corrupt"
    assert refused["e"]["line"] == "7" and refused["e"]["image"] == "torn.png"
    assert "leads out of the manifest's folder" in refused["f"]["reason"]


def test_a_run_that_was_stopped_goes_on_and_changed_files_are_written_anew(
    done, source, tmp_path
):
    chosen, rows, written = done
    folder = tmp_path / "it"
    shutil.copytree(written.manifest.parent, folder)
    gone = folder / new_names(written)["b"]["image"]
    content = gone.read_bytes()
    gone.unlink()
    half = gone.with_name(f"{disk.PARTIAL}{gone.name}")
    half.write_bytes(b"half")
    again = transcode.write(chosen, rows, folder)
    assert (again.files, again.kept) == (1, 7)
    assert gone.read_bytes() == content and not half.exists()
    assert again.manifest.read_bytes() == written.manifest.read_bytes()
    gone.write_bytes(b"")  # a power cut
    assert transcode.write(chosen, rows, folder).files == 1
    assert gone.read_bytes() == content
    # The same content: of another time, moved, and under a second name.
    moved = tmp_path / "moved"
    shutil.copytree(source, moved)
    os.utime(moved / "small.png", (1, 1))
    (moved / "large.png").rename(moved / "wide.png")
    (moved / "same" / "fits.png").write_bytes((moved / "fits.png").read_bytes())
    listed = (moved / "rows.csv").read_text(encoding="utf-8")
    (moved / "rows.csv").write_text(listed.replace("large.png", "wide.png"), "utf-8")
    chosen = recipe(moved / "rows.csv")
    same = transcode.write(chosen, manifest.read(chosen.data), folder)
    assert (same.files, same.kept) == (0, 7)
    before, now = new_names(written), new_names(same)
    assert now["b"] == before["b"] and now["c"] == before["c"]
    assert now["g"]["image"] == now["a"]["image"] == before["a"]["image"]
    # Other content.
    (moved / "small.png").write_bytes((moved / "wide.png").read_bytes() + b"\0")
    newer = transcode.write(chosen, manifest.read(chosen.data), folder)
    assert (newer.files, newer.kept) == (1, 6)
    assert new_names(newer)["c"]["image"] not in (now["c"]["image"], now["b"]["image"])


def image_of(names, row):
    return names[row]["image"]


def pictures(path):
    """A recipe of the pictures alone: quickly traced."""
    tree = recipe(path).model_dump(by_alias=True)
    inputs = {"image": INPUTS["image"]}
    return config.parse(
        tree | {"branches": {}, "data": tree["data"] | {"inputs": inputs}}
    )


def megabytes(folder):
    return sum(p.stat().st_size for p in folder.glob("*/*") if p.is_file()) / 2**20


def test_beyond_a_limit_rows_have_their_files_as_they_were(done, tmp_path, monkeypatch):
    _, rows, written = done
    chosen = pictures(rows.path)
    rows = manifest.read(chosen.data)
    folder, names = tmp_path / "it", new_names(written)
    sizes = [(written.manifest.parent / names[i]["image"]).stat().st_size for i in "ab"]
    limit_mb = (sum(sizes) + 100) / 2**20
    few = transcode.write(chosen, rows, folder, limit_mb=limit_mb)
    assert (few.files, few.kept, few.originals) == (2, 0, 3)
    assert megabytes(folder) <= limit_mb
    found = new_names(few)
    assert [image_of(found, i) for i in "ab"] == [image_of(names, i) for i in "ab"]
    assert image_of(found, "c").startswith("image/originals/")
    assert image_of(found, "d").endswith(".jpg")
    again = pictures(few.manifest)
    before, one, _ = decoded(chosen, rows)
    after, other, faults = decoded(again, manifest.read(again.data))
    assert faults == {} and after.ids == before.ids
    past = [before.ids.index(i) for i in "cdg"]
    for key in one:  # the files as they were: bit for bit
        np.testing.assert_array_equal(one[key][past], other[key][past], err_msg=key)
    # A larger limit writes them, and none of the links is left.
    whole = transcode.write(chosen, rows, folder, limit_mb=1)
    assert (whole.files, whole.kept, whole.originals) == (3, 2, 0)
    assert not list(folder.glob("*/originals/*"))
    for i in "abcdg":
        assert image_of(new_names(whole), i) == image_of(names, i)
    # A smaller one deletes, the manifest that names them first.
    monkeypatch.setattr(transcode, "_write_manifest", lambda *_: None)
    least = transcode.write(chosen, rows, folder, limit_mb=limit_mb / 2)
    assert least.originals > 3 and megabytes(folder) <= limit_mb / 2
    assert not least.manifest.exists()

    def other_disk(*given):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", other_disk)
    with pytest.raises(OSError, match="cannot be linked into .* a folder on the same"):
        transcode.write(chosen, rows, tmp_path / "new", limit_mb=1e-6)


def test_what_no_row_needs_makes_room_the_oldest_first(done, tmp_path):
    chosen, rows, written = done
    folder = tmp_path / "it"
    shutil.copytree(written.manifest.parent, folder)
    old = [folder / "image" / f"{letter}.png" for letter in "xyz"]
    for age, path in enumerate(old):
        path.write_bytes(b"0" * 2000)
        os.utime(path, (1000 - age, 1000 - age))  # z is the oldest
    transcode.write(chosen, rows, folder)
    assert all(path.is_file() for path in old), "without a limit all stay"
    needed = megabytes(folder) - 6000 / 2**20
    kept = transcode.write(chosen, rows, folder, limit_mb=needed + 5000 / 2**20)
    assert [path.is_file() for path in old] == [True, True, False]
    assert (kept.kept, kept.originals) == (8, 0)
    (folder / new_names(kept)["b"]["image"]).unlink()
    kept = transcode.write(chosen, rows, folder, limit_mb=needed + 1000 / 2**20)
    assert not any(path.is_file() for path in old)
    assert (kept.files, kept.kept, kept.originals) == (1, 7, 0)


def test_two_processes_do_not_write_one_folder(done):
    chosen, rows, written = done
    with open(written.manifest.with_name(transcode.SETTINGS)) as held:
        assert disk.locked(held)
        with pytest.raises(FileExistsError, match="another process writes into"):
            transcode.write(chosen, rows, written.manifest.parent)


def test_other_settings_and_other_peoples_folders_are_refused(done, tmp_path):
    chosen, rows, written = done
    other = recipe(rows.path, image={"kind": "image", "size": 32})
    with pytest.raises(FileExistsError, match='`"size": 24` and not `"size": 32`'):
        transcode.write(other, rows, written.manifest.parent)
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="holds something else"):
        transcode.write(chosen, rows, tmp_path)
    with pytest.raises(FileExistsError, match="holds something else"):
        transcode.write(chosen, rows, tmp_path / "mine.txt")


def test_the_verb_says_how_to_go_on(source, tmp_path, capsys):
    path = tmp_path / "pets.yaml"
    chosen = recipe(source / "rows.csv")
    path.write_text(config.dump(chosen))
    drop = "--set=data.inputs={text: text, image: {kind: image, size: 8}}"
    branches = "--set=branches={}"
    folder = tmp_path / "out"
    code = cli.main(["prepare", str(path), str(folder), drop, branches, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert code == 0
    assert told == {
        "manifest": str(folder / "manifest.csv"),
        "rows": 15,
        "used": 13,
        "rejected": 2,
        "files": 5,
        "kept": 0,
        "originals": 0,
    }
    assert cli.main(["prepare", str(path), str(folder), "--limit-mb", "0"]) == cli.USAGE
    assert "--limit-mb 0: expected megabytes from 1;" in capsys.readouterr().err
    assert cli.main(["prepare", str(path), str(tmp_path), drop, branches]) == cli.USAGE
    refuse = "--set=data.on_bad_row=refuse"
    assert cli.main(["prepare", str(path), str(folder), refuse]) == cli.REFUSED
    assert "Mend them, or leave them out" in capsys.readouterr().err


def test_the_manifest_keeps_the_files_names_of_columns(source, tmp_path):
    (tmp_path / "fits.png").write_bytes((source / "fits.png").read_bytes())
    lines = [f"甲{n},fits.png,{'猫狗'[n % 2]}" for n in range(12)]
    (tmp_path / "rows.csv").write_text(
        "\n".join(["文本,图片,标签", *lines]), encoding="utf-8"
    )
    data = {
        "manifest": str(tmp_path / "rows.csv"),
        "inputs": {"text": "text", "photo": {"kind": "image", "size": 24}},
        "targets": {"label": "classification"},
        "columns": {"text": "文本", "photo": "图片", "label": "标签"},
    }
    chosen = config.parse({"name": "pets", "data": data})
    rows = manifest.read(chosen.data)
    written = transcode.write(chosen, rows, tmp_path / "small")
    header = written.manifest.read_text(encoding="utf-8").splitlines()[0]
    assert header == "文本,图片,标签,id,split"
    data = chosen.data.model_copy(update={"manifest": str(written.manifest)})
    again = manifest.read(data)
    assert len(again) == 12 and again.cells("text") == rows.cells("text")
