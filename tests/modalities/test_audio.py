"""Sounds: every WAV format against libsndfile, resampling against the truth."""

import base64
import csv
import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from mmkeras.modalities.audio import Audio

BROKEN = Path(__file__).parents[3] / "shared" / "data" / "broken"
RATE = 16_000
DECODER = Audio("voice", rate_hz=RATE, clip_seconds=0.5)
ATTEMPT = tf.function(DECODER.attempt, input_signature=[tf.TensorSpec((), tf.string)])
LONG = Audio("voice", rate_hz=RATE, clip_seconds=2.0)
ATTEMPT_LONG = tf.function(LONG.attempt, input_signature=[tf.TensorSpec((), tf.string)])
SUBTYPES = "PCM_U8 PCM_16 PCM_24 PCM_32 FLOAT DOUBLE ULAW ALAW".split()
rng = np.random.default_rng(0)


def written(wave, rate_hz=RATE, subtype="PCM_16", kind="WAV"):
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate_hz, format=kind, subtype=subtype)
    return buffer.getvalue()


def chunk(name, body, size=None):
    size = len(body) if size is None else size
    return name + struct.pack("<I", size) + body + b"\0" * (len(body) % 2)


def riff(*chunks, size=None):
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def form(tag=1, channels=1, rate_hz=RATE, bits=16, block=None):
    block = channels * bits // 8 if block is None else block
    body = struct.pack("<HHIIHH", tag, channels, rate_hz, 0, block, bits)
    return chunk(b"fmt ", body)


SAMPLES = rng.integers(-30_000, 30_000, 1000).astype("<i2")
DATA = chunk(b"data", SAMPLES.tobytes())


def accepted(raw, attempt=ATTEMPT):
    row, fault = attempt(raw)
    assert fault.numpy() == b"" and row["voice_present"].numpy()
    return row["voice"].numpy(), int(row["voice_samples"])


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
@pytest.mark.parametrize("subtype", SUBTYPES)
def test_every_format_is_what_libsndfile_reads(subtype, kind, channels):
    raw = written(rng.uniform(-0.9, 0.9, (4001, channels)), RATE, subtype, kind)
    expected = soundfile.read(io.BytesIO(raw), always_2d=True)[0].mean(axis=1)
    wave, samples = accepted(raw)
    assert samples == 4001
    np.testing.assert_allclose(wave[:4001], expected, atol=1.2e-7)
    assert not wave[4001:].any()


def test_pcm16_at_the_same_rate_is_exact():
    wave, _ = accepted(riff(form(), DATA))
    np.testing.assert_array_equal(wave[:1000], SAMPLES.astype(np.float32) / 32768)


def test_all_256_codes_of_both_laws():
    codes = chunk(b"data", bytes(range(256)))
    for tag, bits in ((6, 8), (7, 8)):
        raw = riff(form(tag, bits=bits), codes)
        expected = soundfile.read(io.BytesIO(raw))[0]
        np.testing.assert_array_equal(accepted(raw)[0][:256], expected)


LIST = chunk(b"LIST", b"INFOIART\x03\0\0\0me\0")  # an odd number of bytes
STREAM = 0xFFFFFFFF
PAYLOAD = SAMPLES.tobytes()


@pytest.mark.parametrize(
    ("raw", "samples"),
    [
        (riff(LIST, form(), LIST, DATA), 1000),
        (riff(DATA, form()), 1000),
        (riff(form(), DATA, LIST), 1000),
        (riff(form(), chunk(b"data", PAYLOAD, 4000)), 1000),
        (riff(form(), chunk(b"data", PAYLOAD, 600), LIST), 300),
        (riff(form(), chunk(b"data", PAYLOAD, STREAM), size=STREAM), 1000),
        (riff(form(), chunk(b"data", PAYLOAD, 0), size=0), 1000),
        (riff(form(), chunk(b"data", PAYLOAD, 0), size=36), 1000),
        (riff(form(), DATA)[:-1], 999),
        (riff(*[chunk(b"junk", b"abc")] * 100, form(), DATA), 1000),
    ],
    ids="odd_list data_first list_last truncated longer stream0 stream1 stream2 "
    "half_sample many".split(),
)
def test_chunks_as_programs_write_them(raw, samples):
    wave, found = accepted(raw)
    assert found == samples
    np.testing.assert_array_equal(wave[:samples] * 32768, SAMPLES[:samples])


def test_floats_that_are_no_number_are_silence():
    values = np.array([0.5, np.nan, np.inf, -np.inf, -0.25, 3.0, -1e30], "<f4")
    for kind, bits in (("<f4", 32), ("<f8", 64)):
        data = chunk(b"data", values.astype(kind).tobytes())
        wave, _ = accepted(riff(form(3, bits=bits), data))
        assert wave[:7].tolist() == [0.5, 0, 0, 0, -0.25, 1, -1]


FORMATS = "(PCM, float, A-law, mu-law are)"


FAULTS = [
    (b"hello world", "not a WAV file (begins with 'hello wo')"),
    (
        base64.b64encode(b"RIFF\0\0\0\0WAVE"),
        "not a WAV file (begins with 'UklGRgAA'; as base64: over REST send "
        '{"b64": "..."})',
    ),
    (b"RIFF", "not a WAV file (begins with 'RIFF')"),
    (
        written(np.zeros(9), kind="FLAC"),
        "not a WAV file but FLAC: send WAV; FLAC is for training only",
    ),
    (
        written(np.zeros(9), kind="OGG", subtype="VORBIS"),
        "not a WAV file but Ogg: send WAV; Ogg is for training only",
    ),
    (
        b"ID3\x04" + b"\0" * 20,
        "not a WAV file but MP3: send WAV; MP3 is for training only",
    ),
    (
        b"\0\0\0\x20ftypM4A ",
        "not a WAV file but M4A/MP4: convert it with ffmpeg first",
    ),
    (riff(DATA), "WAV file has no fmt chunk"),
    (riff(form()), "WAV file has no data chunk"),
    (riff(form(), chunk(b"data", b"")), "WAV file holds no samples"),
    (riff(form(), chunk(b"data", b""), LIST), "WAV file holds no samples"),
    (riff(form(), chunk(b"data", b"x")), "WAV file holds no samples"),
    (riff(form(85), DATA), f"WAV format tag 85 is not supported {FORMATS}"),
    (
        riff(form(channels=2, block=3), DATA),
        "WAV header is inconsistent: 2 channels of 16 bits in blocks of 3 bytes",
    ),
    (
        riff(form(channels=0), DATA),
        "WAV header is inconsistent: 0 channels of 16 bits in blocks of 0 bytes",
    ),
    (
        riff(form(3), DATA),
        "WAV samples of 16 bits with format tag 3 are not supported",
    ),
    (
        riff(form(rate_hz=500), DATA),
        "WAV sample rate of 500 Hz is outside 4000 to 192000 Hz",
    ),
    (
        riff(form(rate_hz=4_000_000_000), DATA),
        "WAV sample rate of 4000000000 Hz is outside 4000 to 192000 Hz",
    ),
]


@pytest.mark.parametrize(
    ("raw", "sentence"), FAULTS, ids=[sentence for _, sentence in FAULTS]
)
def test_every_fault_says_what_is_wrong(raw, sentence):
    row, fault = ATTEMPT(raw)
    assert fault.numpy().decode() == sentence
    assert not row["voice_present"].numpy() and row["voice_samples"] == 0
    assert not row["voice"].numpy().any()
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        DECODER.decode(tf.constant(raw))
    assert error.value.message.startswith(sentence)


def test_every_prefix_of_a_file_is_answered():
    for whole in (riff(LIST, form(), DATA), riff(form(), DATA)):
        for length in range(90):
            row, fault = ATTEMPT(whole[:length])
            assert np.isfinite(row["voice"]).all()
        assert fault == b""
    # The plain head of 44 bytes is known at a glance, and only where it is whole.
    for length, told in ((43, b"WAV file has no data"), (44, b"WAV file holds no")):
        assert ATTEMPT(whole[:length])[1].numpy().startswith(told)


def test_empty_is_missing():
    row, fault = ATTEMPT(b"")
    assert fault.numpy() == b""
    assert not row["voice_present"].numpy() and row["voice_samples"] == 0


RATES = [4_000, 8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000]


@pytest.mark.parametrize("rate_hz", [*RATES, 44_101, 15_999])
@pytest.mark.parametrize("share", [0.03, 0.5, 0.85])
def test_a_sine_stays_that_sine(rate_hz, share):
    """Up to 0.85 of the lower Nyquist frequency, to -90 dB of it."""
    pitch_hz = share * min(rate_hz, RATE) / 2
    times = np.arange(2 * rate_hz) / rate_hz
    raw = written(0.5 * np.sin(2 * np.pi * pitch_hz * times), rate_hz, "FLOAT")
    wave, samples = accepted(raw, ATTEMPT_LONG)
    assert samples == 2 * RATE
    expected = 0.5 * np.sin(2 * np.pi * pitch_hz * np.arange(samples) / RATE)
    inner = slice(1000, -1000)  # beside the silence before and after the sound
    assert np.abs(wave - expected)[inner].max() < 0.5 * 10 ** (-90 / 20)


@pytest.mark.parametrize("rate_hz", [44_100, 48_000, 44_101])
def test_what_cannot_be_kept_does_not_fold_back(rate_hz):
    """A sweep over all that lies above the new Nyquist frequency leaves < -60 dB."""
    seconds = 2.0
    times = np.arange(int(seconds * rate_hz)) / rate_hz
    low, high = RATE / 2 * 1.02, rate_hz / 2 * 0.98
    phase = 2 * np.pi * (low * times + (high - low) * times**2 / (2 * seconds))
    raw = written(0.5 * np.sin(phase), rate_hz, "FLOAT")
    wave, _ = accepted(raw, ATTEMPT_LONG)
    inner = wave[1000:-1000]
    assert np.abs(inner).max() < 0.5 * 10 ** (-75 / 20)
    spectrum = np.abs(np.fft.rfft(inner * np.hanning(len(inner)))) / (len(inner) / 4)
    assert spectrum.max() < 0.5 * 10 ** (-80 / 20)


def test_upsampling_leaves_no_image():
    times = np.arange(16_000) / 8_000
    raw = written(0.5 * np.sin(2 * np.pi * 3_000 * times), 8_000, "FLOAT")
    inner = accepted(raw, ATTEMPT_LONG)[0][2000:-2000]
    spectrum = np.abs(np.fft.rfft(inner * np.hanning(len(inner)))) / (len(inner) / 4)
    hertz = np.fft.rfftfreq(len(inner), 1 / RATE)
    assert spectrum[np.abs(hertz - 3_000) < 20].max() == pytest.approx(0.5, rel=0.01)
    assert spectrum[hertz > 4_000].max() < 0.5 * 10 ** (-80 / 20)


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("frames", [1, 2, 777])
def test_lengths_round_up_and_the_rest_is_zero(rate_hz, frames):
    wave, samples = accepted(written(np.full(frames, 0.5), rate_hz))
    assert samples == min(-(-frames * RATE // rate_hz), DECODER.clip_samples)
    assert not wave[samples:].any() and np.isfinite(wave).all()


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 44_101, 96_000])
def test_what_follows_the_clip_changes_only_what_the_filter_reaches(rate_hz):
    """Cut before it is decoded, a long file equals a file that ends a bit later."""
    wave = rng.uniform(-0.5, 0.5, 3 * rate_hz)
    long, _ = accepted(written(wave, rate_hz))
    short, _ = accepted(written(wave[: int(0.6 * rate_hz)], rate_hz))
    np.testing.assert_allclose(long, short, atol=1e-6)


def test_a_constant_stays_that_constant():
    for rate_hz in (8_000, 44_100, 44_101):
        wave, _ = accepted(written(np.full(2 * rate_hz, 0.5), rate_hz), ATTEMPT_LONG)
        np.testing.assert_allclose(wave[1000:-1000], 0.5, atol=5e-5)


def test_batch_equals_rows_and_takes_none():
    stereo = written(rng.uniform(-0.5, 0.5, (30_000, 2)), 44_100)
    odd = written(rng.uniform(-0.5, 0.5, 30_000), 44_101)
    raws = tf.constant([stereo, b"", b"hello", riff(form(), DATA), odd])
    batch = tf.function(DECODER.attempt_batch)
    rows, faults = batch(raws)
    assert rows["voice_present"].numpy().tolist() == [True, False, False, True, True]
    assert np.flatnonzero(faults.numpy() != b"").tolist() == [2]
    for index in (0, 1, 3, 4):
        pipeline = tf.data.Dataset.from_tensors(raws[index]).map(DECODER.decode)
        # Eager, in a pipeline, in a graph: not one bit of difference.
        for row in (DECODER.decode(raws[index]), next(iter(pipeline))):
            for key, value in row.items():
                np.testing.assert_array_equal(rows[key][index], value)
    none, faults = batch(tf.constant([], tf.string))
    assert none["voice"].shape == (0, DECODER.clip_samples) and faults.shape == (0,)


def test_every_file_of_a_mixed_batch_is_told_as_alone():
    """Whatever chunks stand where, and whatever the others of the batch are."""
    good = [
        riff(form(), DATA),
        riff(LIST, LIST, LIST, form(), LIST, DATA),
        riff(DATA, LIST, form()),
        written(rng.uniform(-0.5, 0.5, (3000, 2)), 44_100, "FLOAT"),
    ]
    bad = [raw for raw, _ in FAULTS]
    rows, faults = tf.function(DECODER.attempt_batch)(tf.constant(bad + good))
    told = [each.decode() for each in faults.numpy()]
    assert told == [sentence for _, sentence in FAULTS] + [""] * len(good)
    for index, raw in enumerate(good, start=len(bad)):
        for key, value in ATTEMPT(raw)[0].items():
            np.testing.assert_array_equal(rows[key][index], value)


def test_specs_are_what_comes_out():
    made = tf.data.Dataset.from_tensors(riff(form(), DATA)).map(DECODER.decode)
    assert made.element_spec == DECODER.specs
    assert DECODER.geometry == {"rate_hz": RATE, "clip_samples": 8000}


LOADER = """
import sys
import numpy as np
import tensorflow as tf
served = tf.saved_model.load(sys.argv[1])
raws = np.load(sys.argv[2], allow_pickle=True)["raws"].tolist()
rows, faults = served.run(tf.constant(raws))
np.savez(sys.argv[3], voice=rows["voice"], faults=faults.numpy().astype(bytes))
"""


def test_saved_model_answers_in_a_fresh_process(tmp_path):
    module = tf.Module()
    module.run = tf.function(
        DECODER.attempt_batch,
        input_signature=[tf.TensorSpec([None], tf.string, name="voice_bytes")],
    )
    tf.saved_model.save(module, str(tmp_path / "model"))
    raws = [
        written(rng.uniform(-0.5, 0.5, (3000, 2)), rate_hz, subtype)
        for rate_hz in (16_000, 44_100, 44_101)
        for subtype in SUBTYPES
    ] + [b"", b"hello"]
    np.savez(tmp_path / "raws.npz", raws=np.array(raws, object))
    paths = [tmp_path / "model", tmp_path / "raws.npz", tmp_path / "out.npz"]
    subprocess.run([sys.executable, "-c", LOADER, *map(str, paths)], check=True)
    rows, faults = module.run(tf.constant(raws))
    answer = np.load(paths[2])
    np.testing.assert_array_equal(answer["voice"], rows["voice"])
    assert answer["faults"].tolist() == faults.numpy().tolist()


@pytest.mark.skipif(not BROKEN.exists(), reason="no data folder beside the checkout")
def test_files_that_arrive_in_practice():
    with open(BROKEN / "manifest.csv", encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["firm"] == "yes"]
    seen = 0
    for row in rows:
        path = BROKEN / row["audio"]
        if not row["audio"] or not path.is_file():
            continue
        raw = path.read_bytes()
        if row["expect"] == "accept" or not row["case"].startswith("wav"):
            assert np.isfinite(accepted(raw, ATTEMPT_LONG)[0]).all(), row["case"]
        elif raw:  # an empty file is the manifest's to refuse
            assert ATTEMPT_LONG(raw)[1].numpy() != b"", row["case"]
        seen += 1
    assert seen > 20
