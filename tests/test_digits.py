import hashlib
import json
import shutil
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mmkeras import digits
from mmkeras.digits import lessons, media

SAMPLE = Path(__file__).parent.parent / "data" / "sample"
SPLITS = ("train", "valid", "test")


def read(path):
    return pd.read_csv(path, keep_default_na=False)


def hashes(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).digest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def samples(path):
    with wave.open(str(path)) as file:
        header = (file.getnchannels(), file.getsampwidth(), file.getframerate())
        assert header == (1, 2, 8_000)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Each lesson as it is by default."""
    root = tmp_path_factory.mktemp("digits")
    return {
        name: digits.write(root / name, lesson=name).parent for name in digits.LESSONS
    }


@pytest.fixture(scope="module")
def tables(folders):
    return {name: read(folder / "manifest.csv") for name, folder in folders.items()}


@pytest.mark.parametrize("lesson", digits.LESSONS)
def test_same_seed_gives_the_same_bytes_and_another_does_not(lesson, tmp_path):
    for folder, seed in (("a", 3), ("b", 3), ("c", 4)):
        digits.write(tmp_path / folder, lesson=lesson, rows=60, seed=seed)
    a, b, c = (hashes(tmp_path / name) for name in "abc")
    assert a == b
    assert a["manifest.csv"] != c["manifest.csv"]
    assert a["images/00000.png"] != c.get("images/00000.png")


def test_the_committed_sample_is_what_the_module_writes_today(tmp_path):
    digits.write(tmp_path / "sample", rows=30, seed=0)
    assert hashes(tmp_path / "sample") == hashes(SAMPLE)
    size_bytes = sum(path.stat().st_size for path in SAMPLE.rglob("*"))
    assert size_bytes < 250_000


@pytest.mark.parametrize("lesson", digits.LESSONS)
def test_every_file_is_named_once_and_every_name_is_a_file(lesson, tables, folders):
    table, folder = tables[lesson], folders[lesson]
    assert len(table) == digits.ROWS[lesson]
    assert table["id"].is_unique
    assert list(table)[:6] == ["id", "text", "image", "audio", "label", "split"]
    for column, kind in (("image", "images/*.png"), ("audio", "audio/*.wav")):
        named = table[column][table[column] != ""]
        found = sorted(
            path.relative_to(folder).as_posix() for path in folder.glob(kind)
        )
        assert sorted(named) == found


@pytest.mark.parametrize("lesson", digits.LESSONS)
def test_splits_hold_15_percent_each_and_every_class(lesson, tables):
    table = tables[lesson]
    shares = table["split"].value_counts(normalize=True)
    assert shares["valid"] == shares["test"] == pytest.approx(0.15, abs=0.001)
    counts = table.groupby("split")["label"].value_counts().unstack()
    assert counts.shape == (3, table["label"].nunique())
    assert (counts.max(axis=1) - counts.min(axis=1) <= 1).all()


@pytest.mark.parametrize("lesson", digits.LESSONS)
def test_fewest_rows_still_show_every_label_in_every_split(lesson, tmp_path):
    table = read(digits.write(tmp_path, lesson=lesson, rows=digits.MIN_ROWS))
    labels = 8 if lesson == "unique" else 10
    assert (table.groupby("split")["label"].nunique() == labels).all()
    assert sorted(table["split"].unique()) == sorted(SPLITS)


def test_a_picture_is_in_the_same_split_of_every_lesson(tables):
    rows = pd.concat(tables.values())
    rows = rows[rows["image"] != ""]
    assert (rows.groupby("picture")["split"].nunique() == 1).all()
    assert rows["picture"].astype(int).between(0, 1796).all()


def test_no_picture_serves_twice_while_there_are_enough(tables):
    pictures = tables["redundant"]["picture"]
    assert not pictures[pictures != ""].duplicated().any()


@pytest.mark.parametrize("lesson", digits.LESSONS)
def test_the_picture_shows_its_digit(lesson, tables):
    from sklearn.datasets import load_digits

    rows = tables[lesson][tables[lesson]["image"] != ""]
    shown = load_digits().target[rows["picture"].astype(int)]
    np.testing.assert_array_equal(shown, rows["digit_image"].astype(int))


def test_a_clean_picture_is_its_source_enlarged(tables, folders):
    from sklearn.datasets import load_digits

    for row in tables["unique"].head(20).itertuples():
        with Image.open(folders["unique"] / row.image) as picture:
            assert (picture.size, picture.mode) == ((32, 32), "L")
            pixels = np.asarray(picture, float)
        source = load_digits().images[row.picture] * 255 / 16
        small = pixels.reshape(8, 4, 8, 4).mean((1, 3))
        assert np.corrcoef(small.ravel(), source.ravel())[0, 1] > 0.95


def test_a_blank_picture_grows_to_pixels_of_equal_level():
    grown = media.draw_picture(np.full((8, 8), 8.0), "clean", np.random.default_rng(0))
    assert grown.mean() == pytest.approx(127.5, abs=1)


def test_clean_tones_stand_at_the_frequencies_of_q23(tables, folders):
    heard = set()
    for row in tables["synergy"].head(60).itertuples():
        sound = samples(folders["synergy"] / row.audio)
        assert 0.25 <= len(sound) / 8_000 <= 0.5
        power = np.abs(np.fft.rfft(sound, 1 << 16)) ** 2
        hz = np.fft.rfftfreq(1 << 16, 1 / 8_000)
        low, high = (
            hz[band][np.argmax(power[band])] for band in (hz < 1_075, hz >= 1_075)
        )
        assert (low, high) == pytest.approx(media.TONES_HZ[row.digit_audio], abs=4)
        heard.add(row.digit_audio)
    assert heard == set(range(10))


def test_the_keypad_is_that_of_q23():
    assert media.TONES_HZ[1] == (697, 1209)
    assert media.TONES_HZ[5] == (770, 1336)
    assert media.TONES_HZ[9] == (852, 1477)
    assert media.TONES_HZ[0] == (941, 1336)
    assert len(set(media.TONES_HZ.values())) == 10


def test_redundant_label_is_the_digit_of_each_modality(tables):
    table = tables["redundant"]
    for name in lessons.MODALITIES:
        assert (table[f"digit_{name}"] == table["label"]).all()


def test_redundant_cells_are_missing_where_promised_and_never_all(tables):
    table = tables["redundant"]
    empty = table[["text", "image", "audio"]] == ""
    assert empty.mean().to_numpy() == pytest.approx(0.08, abs=0.005)
    assert not empty.all(axis=1).any()
    for name in lessons.MODALITIES:
        missing = table[f"quality_{name}"] == "missing"
        assert (missing == empty[name]).all()
        spoilt = (table[f"quality_{name}"] == "spoilt").mean()
        assert spoilt == pytest.approx(lessons.SPOILT, abs=0.005)


def test_redundant_no_modality_is_reliable_and_nearly_always_one_is_noisy(tables):
    qualities = tables["redundant"].filter(like="quality_")
    readable = qualities == "noisy"
    assert ((readable.mean() > 0.7) & (readable.mean() < 0.8)).all()
    assert readable.any(axis=1).mean() > 0.975


@pytest.mark.parametrize("lesson", ["unique", "synergy"])
def test_the_other_lessons_are_whole_and_clean(lesson, tables):
    table = tables[lesson]
    assert (table[["text", "image", "audio"]] != "").all(axis=None)
    assert (table.filter(like="quality_") == "clean").all(axis=None)


def test_spoilt_text_names_no_digit_and_clean_text_names_its_own():
    rng = np.random.default_rng(0)
    for digit in range(10):
        own = {media.ENGLISH[digit], media.CHINESE[digit]}
        names = {*media.ENGLISH, *media.CHINESE}
        for _ in range(50):
            clean = media.name_digit(digit, "clean", rng)
            assert any(name in clean for name in own)
            spoilt = media.name_digit(digit, "spoilt", rng)
            assert spoilt in media.VAGUE or not any(n in spoilt for n in names)
    assert media.name_digit(7, "missing", rng) == ""


def test_a_typing_error_never_loses_a_chinese_digit():
    rng = np.random.default_rng(0)
    assert all("七" in media.typo("这个数字是七", rng) for _ in range(50))
    wrong = {media.typo("seven", rng) for _ in range(50)}
    assert {"sseven", "even", "esven"} <= wrong


def test_unique_label_is_made_of_three_digits(tables):
    table = tables["unique"]
    trios = table[["digit_image", "digit_audio", "digit_text"]]
    words = trios.map(lambda digit: "high" if digit >= 5 else "low")
    assert (table["label"] == words.agg("-".join, axis=1)).all()
    assert (table["total"] == trios.sum(axis=1)).all()


@pytest.mark.parametrize("split", SPLITS)
def test_unique_one_modality_gives_a_quarter_and_two_a_half(tables, split):
    rows = tables["unique"].query("split == @split")
    high = {name: rows[f"digit_{name}"] >= 5 for name in lessons.MODALITIES}
    assert best_guess(rows["label"], [high["image"]]) == pytest.approx(1 / 4)
    assert best_guess(rows["label"], [high["audio"]]) == pytest.approx(1 / 4)
    assert best_guess(rows["label"], [high["text"]]) == pytest.approx(1 / 4)
    assert best_guess(rows["label"], [high["image"], high["text"]]) == 1 / 2
    assert best_guess(rows["label"], list(high.values())) == 1


def test_synergy_label_is_plus_or_minus_modulo_ten(tables):
    table = tables["synergy"]
    assert set(table["sign"]) == {"plus", "minus"}
    sign = table["sign"].map({"plus": 1, "minus": -1})
    truth = (table["digit_image"] + sign * table["digit_audio"]) % 10
    assert (table["label"] == truth).all()
    phrases = table["sign"].map({"plus": lessons.PLUS, "minus": lessons.MINUS})
    said = [text in known for text, known in zip(table["text"], phrases, strict=True)]
    assert all(said)
    assert not set(lessons.PLUS) & set(lessons.MINUS)


@pytest.mark.parametrize("split", SPLITS)
def test_synergy_one_modality_is_at_chance(tables, split):
    rows = tables["synergy"].query("split == @split")
    # The best guess may look at the answers of the very rows it is scored on.
    bound = 0.1 if split == "train" else 0.14
    for column in ("digit_image", "digit_audio", "text"):
        train = tables["synergy"].query("split == 'train'")
        guess = train.groupby(column)["label"].agg(lambda s: s.mode()[0])
        assert (rows[column].map(guess) == rows["label"]).mean() < 0.14
    for column in ("digit_image", "digit_audio", "sign"):
        assert best_guess(rows["label"], [rows[column]]) <= bound
    known = [rows["digit_image"], rows["digit_audio"], rows["sign"]]
    assert best_guess(rows["label"], known) == 1


def best_guess(labels, given):
    """Accuracy of the most frequent label given what is known."""
    groups = labels.groupby([np.asarray(column) for column in given])
    return groups.agg(lambda s: s.value_counts().iloc[0]).sum() / len(labels)


def test_a_written_folder_is_left_alone(tmp_path):
    path = digits.write(tmp_path / "new" / "digits", rows=40)
    before = path.stat().st_mtime_ns
    assert digits.write(path.parent, rows=40) == path
    assert path.stat().st_mtime_ns == before
    settings = json.loads((path.parent / "digits.json").read_text())
    assert settings == {"generator": 2, "lesson": "redundant", "rows": 40, "seed": 0}


def test_what_a_killed_run_left_is_cleared_away(tmp_path):
    (tmp_path / ".partial" / "images").mkdir(parents=True)
    (tmp_path / ".partial" / "images" / "00000.png").write_bytes(b"half")
    digits.write(tmp_path, rows=30)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "audio",
        "digits.json",
        "images",
        "manifest.csv",
    ]


def test_other_digits_are_never_overwritten(tmp_path):
    digits.write(tmp_path, rows=30, seed=1)
    before = hashes(tmp_path)
    with pytest.raises(FileExistsError) as error:
        digits.write(tmp_path, rows=30, seed=2)
    assert '"seed": 1}. Expected an empty folder or {' in str(error.value)
    assert '"seed": 2}. Name another folder, or delete this one.' in str(error.value)
    assert hashes(tmp_path) == before


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(
        FileExistsError, match="is not free: found thesis.txt. Expected"
    ):
        digits.write(tmp_path)
    with pytest.raises(
        FileExistsError, match="is not free: found thesis.txt. Expected"
    ):
        digits.write(tmp_path / "thesis.txt")


def test_a_folder_without_its_pictures_is_refused(tmp_path):
    digits.write(tmp_path, rows=30)
    shutil.rmtree(tmp_path / "images")
    with pytest.raises(FileExistsError, match="found audio, digits.json, manifest.csv"):
        digits.write(tmp_path, rows=30)


def test_unknown_lesson_names_the_three_and_the_nearest(tmp_path):
    message = (
        "No lesson `sinergy`. Found redundant, unique, synergy. "
        "Did you mean `synergy`\\?"
    )
    with pytest.raises(ValueError, match=message):
        digits.write(tmp_path, lesson="sinergy")


def test_too_few_rows_are_named(tmp_path):
    with pytest.raises(ValueError, match="rows = 12 is too few: .* Ask for 30 or more"):
        digits.write(tmp_path, rows=12)
    assert not list(tmp_path.iterdir())


def test_the_module_imports_neither_tensorflow_nor_sklearn():
    code = (
        "import sys; from mmkeras import digits; "
        "print([m for m in ('tensorflow', 'keras', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_redundant_fusion_beats_every_modality(tables, folders):
    """Small linear models: each alone is right 7 to 9 times in ten, together more."""
    table, folder = tables["redundant"], folders["redundant"]
    known = {
        "text": text_features(table["text"]),
        "image": np.stack([image_features(folder, name) for name in table["image"]]),
        "audio": np.stack([audio_features(folder, name) for name in table["audio"]]),
    }
    chances = {name: chances_on_test(x, table) for name, x in known.items()}
    truth = table.query("split == 'test'")["label"].to_numpy()
    alone = {name: (p.argmax(1) == truth).mean() for name, p in chances.items()}
    together = sum(np.log(p + 1e-3) for p in chances.values()).argmax(1)
    assert all(0.68 <= accuracy <= 0.9 for accuracy in alone.values()), alone
    assert (together == truth).mean() >= max(alone.values()) + 0.06


def chances_on_test(features, table):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, test = (table["split"].to_numpy() == name for name in ("train", "test"))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
    model.fit(features[train], table["label"][train])
    return model.predict_proba(features[test])


def text_features(texts):
    from sklearn.feature_extraction.text import CountVectorizer

    grams = CountVectorizer(analyzer="char", ngram_range=(1, 3), min_df=5, binary=True)
    return grams.fit_transform(texts).toarray().astype(float)


def image_features(folder, name):
    if not name:
        return np.zeros(64)
    with Image.open(folder / name) as picture:
        return np.asarray(picture, float).reshape(8, 4, 8, 4).mean((1, 3)).ravel()


def audio_features(folder, name):
    if not name:
        return np.zeros(7)
    sound = samples(folder / name)
    seconds = np.arange(len(sound)) / 8_000
    bands_hz = sorted({hz for pair in media.TONES_HZ.values() for hz in pair})
    waves = np.exp(-2j * np.pi * np.outer(bands_hz, seconds))
    level = np.log(np.abs(waves @ sound) + 1e-6)
    return level - level.mean()


def test_redundant_tells_properties_parity_and_loudness(tables, folders):
    table = tables["redundant"]
    for row in table.itertuples():
        digit = int(row.label)
        assert row.parity == ("odd" if digit % 2 else "even")
        has = {name for name, those in lessons.PROPERTIES.items() if digit in those}
        assert set(row.properties.split("|")) == has
        assert (row.loudness == "") == (row.audio == "")
    # What is told is what is heard: the power while the tone sounds over that around.
    noisy = table[(table.quality_audio == "noisy") & (table.loudness != "")]
    told, heard = [], []
    for row in noisy.head(60).itertuples():
        wave = samples(folders["redundant"] / row.audio)
        spectrum = np.abs(np.fft.rfft(wave)) ** 2
        hz = np.fft.rfftfreq(len(wave), 1 / media.RATE_HZ)
        low, high = media.TONES_HZ[int(row.label)]
        near = (abs(hz - low) < 25) | (abs(hz - high) < 25)
        told.append(float(row.loudness))
        heard.append(10 * np.log10(spectrum[near].sum() / spectrum[~near].sum()))
    assert np.corrcoef(told, heard)[0, 1] > 0.95
