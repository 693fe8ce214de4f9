"""FLAC, Ogg and MP3 in training; at the server one clear error."""

import builtins

import numpy as np
import pandas as pd
import pytest
import soundfile
import tensorflow as tf

from mmkeras import dataset, export, manifest
from mmkeras.modalities import Audio, compressed, make


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


def test_a_data_worker_says_prepare(folder):
    decoder = make({"it": {"kind": "audio"}}, {"it": {}}, portable=True)["it"]
    kinds = {"16.flac": "FLAC", "plain.ogg": "Ogg", "plain.mp3": "MP3", "16.wav": None}
    raws = [(folder / name).read_bytes() for name in kinds]
    same, faults = decoder.unpacked(tf.constant(raws))
    told = (
        " is unpacked by Python, which no data worker has: write the files once as "
        "WAV, `mmkeras prepare`"
    )
    assert same.numpy().tolist() == raws
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
