"""Media written once: decoded again they are the same; every row is accounted for."""

import csv
import json
import os
import shutil

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from mmkeras import cli, config, dataset, manifest, modalities, transcode

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


def test_files_are_small_upright_and_named_after_the_old_ones(done):
    _, _, written = done
    folder = written.manifest.parent
    names = sorted(path.name[:-17] for path in (folder / "image").iterdir())
    assert names == ["fits", "fits", "large", "small", "turned"]
    for path in (folder / "image").iterdir():
        assert tf.io.decode_png(path.read_bytes()).shape == (24, 24, 3)
    for path in (folder / "audio").iterdir():
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (8000, 1, "PCM_16")
        assert info.frames == 1600  # what the model hears
    assert (written.files, written.kept) == (8, 0)


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
    gone = next((folder / "image").glob("large*"))
    content = gone.read_bytes()
    gone.unlink()
    (folder / "image" / f".{gone.name}.123").write_bytes(b"half")
    again = transcode.write(chosen, rows, folder)
    assert (again.files, again.kept) == (1, 7)
    assert gone.read_bytes() == content
    assert again.manifest.read_bytes() == written.manifest.read_bytes()
    os.utime(source / "small.png", (1, 1))
    newer = transcode.write(chosen, rows, folder)
    assert (newer.files, newer.kept) == (1, 7)
    (row,) = (
        r for r in csv.DictReader(newer.manifest.open(newline="")) if r["id"] == "c"
    )
    assert row["image"].startswith("image/small-") and (folder / row["image"]).is_file()


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
    }
    assert cli.main(["prepare", str(path), str(tmp_path), drop, branches]) == cli.USAGE
    refuse = "--set=data.on_bad_row=refuse"
    assert cli.main(["prepare", str(path), str(folder), refuse]) == cli.REFUSED
    assert "Mend them, or leave them out" in capsys.readouterr().err
