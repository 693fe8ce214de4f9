"""FLAC, Ogg and MP3 in training; at the server one clear error."""

import builtins
import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile
import tensorflow as tf

from mmkeras import config, dataset, export, manifest, train
from mmkeras.modalities import Audio, compressed, make, native, pcm, wav


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The same second of sound in several formats; a torn FLAC file."""
    folder = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    time = np.arange(8000) / 8000
    wave = 0.4 * np.sin(2 * np.pi * 440 * time) + 0.05 * rng.standard_normal(8000)
    both = np.stack([wave, wave[::-1]], axis=1)
    for bits in (16, 24):
        # Whole numbers: of floats, each format's writer rounds as it likes.
        whole = np.round(both * 2 ** (bits - 1)).astype("int32") << (32 - bits)
        for ending in ("wav", "flac"):
            path = folder / f"{bits}.{ending}"
            soundfile.write(path, whole, 8000, f"PCM_{bits}", format=ending.upper())
    soundfile.write(folder / "plain.wav", wave, 8000)
    soundfile.write(folder / "plain.ogg", wave, 8000)
    soundfile.write(folder / "plain.mp3", wave, 8000)
    whole = (folder / "16.flac").read_bytes()
    (folder / "torn.flac").write_bytes(whole[:30])
    (folder / "none.flac").write_bytes(b"")
    return folder


def rows(folder, *names):
    frame = pd.DataFrame({"id": names, "it": names}, range(2, 2 + len(names)))
    return manifest.Manifest(folder / "rows.csv", frame, {"it": "audio"}, {})


def loaded(folder, *names, rate_hz=8000):
    decoder = Audio("it", rate_hz=rate_hz, clip_seconds=1)
    found, faults = dataset.load(rows(folder, *names), {"it": decoder})
    return found.arrays["it"].numpy(), faults


@pytest.mark.parametrize("rate_hz", [8000, 11025])
def test_flac_of_the_same_samples_is_the_same_bits(folder, rate_hz):
    names = "16.wav", "16.flac", "24.wav", "24.flac"
    found, faults = loaded(folder, *names, rate_hz=rate_hz)
    assert faults == {}
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[2], found[3])
    assert np.abs(found[0] - found[2]).max() > 0, "16 bits are not 24"


def test_ogg_and_mp3_are_nearly_the_sound(folder):
    found, faults = loaded(folder, "plain.wav", "plain.ogg", "plain.mp3")
    assert faults == {}
    for other in found[1:]:
        tones = np.abs(np.fft.rfft([found[0], other])[:, 440])
        assert tones[1] == pytest.approx(tones[0], rel=0.05)


def test_what_cannot_be_unpacked_is_a_fault_of_its_row(folder):
    found, faults = loaded(folder, "torn.flac", "16.flac", "none.flac")
    assert faults[2][1].startswith("FLAC data is truncated or corrupt: ")
    assert faults[4] == ("it", "the file is empty")
    assert sorted(faults) == [2, 4]
    assert not found[0].any() and found[1].any()


def test_the_server_says_send_wav(folder):
    decoder = Audio("it", rate_hz=8000, clip_seconds=1)
    raws = [(folder / name).read_bytes() for name in ("16.flac", "plain.ogg", "16.wav")]
    tensors, faults = tf.function(decoder.attempt_batch)(tf.constant(raws))
    assert [fault.decode() for fault in faults.numpy()] == [
        "not a WAV file but FLAC: send WAV; FLAC is for training only",
        "not a WAV file but Ogg: send WAV; Ogg is for training only",
        "",
    ]
    assert tensors["it_present"].numpy().tolist() == [False, False, True]
    graph = tf.function(decoder.attempt_batch).get_concrete_function(
        tf.TensorSpec((None,), tf.string)
    )
    assert "PyFunc" not in str(graph.graph.as_graph_def())


def test_a_data_worker_says_prepare(folder, monkeypatch):
    monkeypatch.setattr(native, "works", lambda: False)
    decoder = make({"it": {"kind": "audio"}}, {"it": {}}, portable=True)["it"]
    kinds = {"16.flac": "FLAC", "plain.ogg": "Ogg", "plain.mp3": "MP3", "16.wav": None}
    raws = [(folder / name).read_bytes() for name in kinds]
    same, faults = decoder.unpacked(tf.constant(raws))
    told = (
        " is unpacked by Python, which no data worker has: write the files once as "
        "WAV, `mmkeras prepare`"
    )
    assert same.numpy().tolist() == [b"", b"", b"", raws[3]]
    expected = [f"{kind}{told}" if kind else "" for kind in kinds.values()]
    assert [fault.decode() for fault in faults.numpy()] == expected


def test_what_is_asked_of_an_export_is_what_a_client_would_send(folder):
    decoder = Audio("it", rate_hz=8000, clip_seconds=1)
    sent = export.asking._sent(decoder, folder / "24.flac")
    np.testing.assert_array_equal(
        decoder.decode(tf.constant(sent))["it"],
        decoder.decode(tf.constant((folder / "24.wav").read_bytes()))["it"],
    )
    raw = (folder / "16.wav").read_bytes()
    assert export.asking._sent(decoder, folder / "16.wav") == raw


def test_without_soundfile_the_fault_says_what_to_install(folder, monkeypatch):
    whole = builtins.__import__

    def without(name, *rest, **options):
        if name == "soundfile":
            raise ImportError("no soundfile")
        return whole(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match="FLAC needs: pip install soundfile"):
        compressed.wave_bytes((folder / "16.flac").read_bytes())


@pytest.fixture
def tfio():
    """The libraries in which tensorflow-io's operations work."""
    if not native.works():
        pytest.skip(
            "tensorflow-io does not work with TensorFlow "
            f"{tf.__version__}; .ci/run tests it with 2.17"
        )
    return pytest.importorskip("tensorflow_io")


def decoded(name, folder, monkeypatch, works):
    """The bytes of a WAV file and the fault, with tensorflow-io and without."""
    monkeypatch.setattr(native, "works", lambda: works)
    raw = tf.io.read_file(str(folder / name))
    found, fault = tf.function(compressed.unpacked)(raw[tf.newaxis])
    return found[0].numpy(), fault[0].numpy().decode()


@pytest.mark.parametrize("bits", [8, 16, 24])
@pytest.mark.parametrize("channels", [1, 2])
def test_tfio_flac_is_the_same_bits(tfio, monkeypatch, tmp_path, bits, channels):
    rng = np.random.default_rng(bits)
    whole = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (999, channels), "int32")
    kind = "PCM_S8" if bits == 8 else f"PCM_{bits}"
    soundfile.write(tmp_path / "it.flac", whole << (32 - bits), 44_100, kind)
    samples = []
    for works in (True, False):
        found, fault = decoded("it.flac", tmp_path, monkeypatch, works)
        assert fault == ""
        header = wav.read(tf.constant(found))
        assert int(header["rate_hz"]) == 44_100
        assert int(header["channels"]) == channels
        samples.append(pcm.samples(tf.constant(found), header, header["frames"]))
    np.testing.assert_array_equal(*samples)
    assert len(samples[0]) == 999


@pytest.mark.parametrize("name", ["plain.ogg", "plain.mp3", "tagged.mp3"])
def test_tfio_ogg_and_mp3_are_those_of_libsndfile(tfio, folder, monkeypatch, name):
    title = bytes([0, 0, 0, 20]) + b"TIT2\0\0\0\x0a\0\0\0ABCDEFGHI"
    tagged = b"ID3\x03\0\0" + title + (folder / "plain.mp3").read_bytes()
    (folder / "tagged.mp3").write_bytes(tagged)
    kind, rate_hz = native.kind(tf.constant((folder / name).read_bytes()))
    assert kind == (native.VORBIS if name.endswith("ogg") else native.MP3)
    assert rate_hz == 8000
    samples = []
    for works in (True, False):
        found, fault = decoded(name, folder, monkeypatch, works)
        assert fault == ""
        header = wav.read(tf.constant(found))
        samples.append(pcm.samples(tf.constant(found), header, header["frames"]))
    np.testing.assert_allclose(*samples, atol=1e-6)


def test_tfio_has_no_python_in_the_graph_and_tells_faults(tfio, folder):
    decoder = make({"it": {"kind": "audio"}}, {"it": {}}, portable=True)["it"]
    asked = tf.function(decoder.unpacked).get_concrete_function(
        tf.TensorSpec((None,), tf.string)
    )
    assert "PyFunc" not in str(asked.graph.as_graph_def())
    whole = (folder / "16.flac").read_bytes()
    wave = (folder / "16.wav").read_bytes()
    torn = [whole[:30], whole[: len(whole) // 2]]
    found, faults = asked(tf.constant([*torn, whole, wave]))
    broken = b"FLAC data is truncated or corrupt: so tensorflow-io"
    assert faults.numpy().tolist() == [broken, broken, b"", b""]
    assert found.numpy()[:2].tolist() == [b"", b""]
    assert found[2].numpy()[:4] == b"RIFF" and found[3].numpy() == wave


def test_tfio_trains_on_flac_as_libsndfile_does(tfio, folder, tmp_path, monkeypatch):
    lines = ["it,label,split"]
    for number in range(12):
        shutil.copy(folder / "16.flac", tmp_path / f"{number}.flac")
        split = ("train", "train", "valid", "test")[number // 2 % 4]
        lines.append(f"{number}.flac,{'ab'[number % 2]},{split}")
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    recipe = config.parse(
        {
            "name": "flac",
            "data": {
                "manifest": str(tmp_path / "rows.csv"),
                "inputs": {"it": {"kind": "audio", "clip_seconds": 0.2}},
                "targets": {"label": "classification"},
            },
            "branches": {"it": {"kind": "cnn", "units": 4, "num_layers": 1}},
            "train": {"epochs": 1, "batch_size": 4},
        }
    )
    rows = manifest.read(recipe.data)
    weights = []
    for works in (True, False):
        monkeypatch.setattr(native, "works", lambda works=works: works)
        place = tmp_path / str(works)
        made = train.fit(recipe, rows, folder=place, log=lambda _: None)
        weights.append(made.model.get_weights())
    for one, two in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, two)
