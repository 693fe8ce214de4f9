"""What reading rows costs: beside other ways to read them, and for a million rows.

    python tests/benchmarks/data.py rows --turns 5 [--torch PYTHON]
    python tests/benchmarks/data.py sounds
    python tests/benchmarks/data.py million

`rows`: a text, a JPEG of 300 x 300 pixels scaled to 224 and a WAV of 2 s as log-mel
spectrogram, as training reads and decodes them; with a loop that only decodes with
TensorFlow's own operations; as later epochs read rows that are held decoded; and, where
an interpreter that has PyTorch, Pillow and soundfile is named, with a DataLoader of two
workers (`torch_rows.py`). The log-mel is
the same layer in both loops of TensorFlow, and the same sums in PyTorch.
`sounds`: WAV files of 3 s, 44.1 kHz, stereo, to log-mel spectrograms at 16 kHz; as
training decodes them and with a loop of librosa's load and melspectrogram.
`million`: seconds from the manifest's path to the first batch and memory above an empty
process, and milliseconds of cores a batch, of 10,000 and of 1,000,000 rows; each in a
process of its own. A row is a text and one of 200 pictures and sounds.

What is compared runs in turns, and the median of the turns is told: the machine may be
busy. All files are in the system's memory after the first turn.
"""

import argparse
import contextlib
import csv
import functools
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np

FILES, BATCH = 200, 32
# Batches of a turn: those that only fill what is held ahead, and those that count.
AHEAD, COUNTED = 6, 24
# Rows that a run holds decoded within the default of `data.cache_mb`.
HELD = 2000


def media(folder, size=300, seconds=2):
    """Writes pictures and sounds of noise that compresses as photos do."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    for number in range(FILES):
        small = rng.integers(0, 256, (size // 10, size // 10, 3)).astype("float32")
        pixels = tf.cast(tf.image.resize(small, (size, size)), tf.uint8)
        jpeg = tf.io.encode_jpeg(pixels, quality=90).numpy()
        (folder / f"{number}.jpg").write_bytes(jpeg)
        with wave.open(str(folder / f"{number}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            samples = rng.integers(-9000, 9000, 16_000 * seconds).astype("<i2")
            file.writeframes(samples.tobytes())


def manifest_of(folder, rows):
    """Writes a manifest of so many rows on these files."""
    words = "a small red cat that purrs loudly on the old green sofa of my aunt".split()
    rng = np.random.default_rng(1)
    path = folder / f"rows{rows}.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "image", "audio", "label", "split"])
        picks = rng.integers(0, len(words), (rows, 5))
        for number, pick in enumerate(picks.tolist()):
            text = " ".join(words[each] for each in pick)
            file_number = number % FILES
            split = "valid" if number % 100 == 99 else "train"
            names = f"{file_number}.jpg", f"{file_number}.wav"
            writer.writerow([number, text, *names, number // FILES % 10, split])
    return path


def recipe(path, cache_mb=0):
    """Text, picture and sound; of decoded rows nothing is held unless it is asked."""
    from mmkeras import config

    inputs = {
        "text": {"kind": "text", "length": 16},
        "image": {"kind": "image", "size": 224},
        "audio": {"kind": "audio", "rate_hz": 16_000, "clip_seconds": 2},
    }
    data = {
        "manifest": str(path),
        "inputs": inputs,
        "targets": {"label": "classification"},
        "cache_mb": cache_mb,
        "open_first": False,
    }
    return config.parse({"name": "bench", "data": data})


def ours(chosen):
    """Batches as training gets them; ({key: tensor}, targets)."""
    from mmkeras import dataset, manifest, train

    rows = manifest.read(chosen.data)
    prepared = train.prepare(chosen, rows, log=lambda _: None)
    targets = prepared.taught("train")
    return dataset.shuffled(prepared.rows["train"], targets, batch_size=BATCH, seed=0)


def log_mel():
    """The layer of both loops of TensorFlow."""
    from mmkeras import layers

    return layers.LogMel(16_000)


def bare(path):
    """The same rows by TensorFlow's own decoders: no faults, no headers, no order."""
    import tensorflow as tf

    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    columns = [[row[n] for row in rows] for n in ("text", "image", "audio")]
    columns[1:] = [
        [f"{path.parent}/{each}" for each in column] for column in columns[1:]
    ]
    words = tf.keras.layers.TextVectorization(output_sequence_length=16)
    words.adapt(columns[0])
    spectra = log_mel()

    def decode(text, image, audio):
        pixels = tf.io.decode_jpeg(tf.io.read_file(image), channels=3)
        pixels = tf.image.resize(pixels, (224, 224), antialias=True) / 255
        sound, _ = tf.audio.decode_wav(tf.io.read_file(audio), 1, 32_000)
        return text, pixels, sound[:, 0]

    rows = tf.data.Dataset.from_tensor_slices(tuple(columns)).repeat()
    rows = rows.map(decode, tf.data.AUTOTUNE).batch(BATCH)
    rows = rows.map(
        lambda text, image, audio: (words(text), image, spectra(audio)),
        tf.data.AUTOTUNE,
    )
    return rows.prefetch(2)


def read(path, cache_mb=0):
    """`ours`, with the log-mel that a model computes first."""
    import tensorflow as tf

    spectra = log_mel()

    def heard(inputs, targets):
        return {**inputs, "audio": spectra(inputs["audio"])}, targets

    return ours(recipe(path, cache_mb)).map(heard, tf.data.AUTOTUNE).prefetch(2)


def turn(batches):
    """Rows a second of a turn of an iterator: (of the clock, of a core)."""
    for _ in range(AHEAD):
        next(batches)
    began = time.perf_counter(), time.process_time()
    for _ in range(COUNTED):
        next(batches)
    ended = time.perf_counter(), time.process_time()
    spent = [end - begin for begin, end in zip(began, ended, strict=True)]
    return [COUNTED * BATCH / each for each in spent]


def turns(ways, count):
    """The median of `count` turns of each way, one way after the other.

    Args:
        ways: {name: function that makes a turn, as `turn`}.
        count: turns of each; one more comes first and does not count.

    Returns:
        {name: (rows a second of the clock, of a core)}.
    """
    made = [{name: way() for name, way in ways.items()} for _ in range(1 + count)]
    return {
        name: [
            statistics.median(column)
            for column in zip(*(each[name] for each in made[1:]), strict=True)
        ]
        for name in ways
    }


def told(what, found):
    """Prints a table; the ways of mmkeras are compared with the others.

    Args:
        what: "rows", or "clips".
        found: {name: how many a second, (of the clock, of a core)}.
    """
    print(f"| | {what} a second | {what} a second of a core |\n| --- | --- | --- |")
    for name, pair in found.items():
        print(f"| {name} | {pair[0]:.0f} | {pair[1]:.0f} |")
    mine = [name for name in found if name.startswith("mmkeras")]
    for one, other in itertools.product(mine, found):
        if other not in mine:
            clock, cores = np.divide(found[one], found[other])
            print(f"| {one} / {other} | {clock:.2f} | {cores:.2f} |")


def rows(options):
    """The first table."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        media(Path(folder))
        path, ways = manifest_of(Path(folder), 4000), {}
        if options.torch:
            ways["PyTorch"] = torch(stack, options.torch, path)
        else:
            print("PyTorch is left out: name an interpreter with --torch PYTHON")
        ways["bare TensorFlow"] = functools.partial(turn, iter(bare(path)))
        ways["mmkeras"] = functools.partial(turn, iter(read(path)))
        fewer = manifest_of(Path(folder), HELD)
        held = functools.partial(turn, iter(read(fewer, cache_mb=2048)))
        ways["mmkeras, rows held"] = held
        told("rows", turns(ways, options.turns))


def torch(stack, python, path):
    """A function that makes a turn of PyTorch's DataLoader, in a process of its own."""
    from mmkeras.layers.sound import mel_filters

    np.save(path.parent / "filters.npy", mel_filters(16_000, 512, 40))
    script = Path(__file__).with_name("torch_rows.py")
    command = [python, script, path, str(BATCH), str(AHEAD), str(COUNTED)]
    pipe = subprocess.PIPE
    process = stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe))
    stack.callback(process.stdin.close)

    def one():
        process.stdin.write(b"turn\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        return json.loads(answer) if answer else sys.exit("PyTorch's process ended")

    return one


def clips(folder, rate_hz=44_100, seconds=3, count=60):
    """Stereo sounds as WAV files; their paths."""
    import soundfile

    rng, paths = np.random.default_rng(0), []
    for number in range(count):
        samples = rng.integers(-9000, 9000, (rate_hz * seconds, 2)).astype("int16")
        paths.append(f"{folder}/{number}.wav")
        soundfile.write(paths[-1], samples, rate_hz)
    return paths


def heard(paths):
    """Batches of log-mel spectrograms of these sounds, without end."""
    import tensorflow as tf

    from mmkeras import dataset, modalities

    decoder, spectra = modalities.Audio("it", clip_seconds=3.0), log_mel()
    names = tf.data.Dataset.from_tensor_slices(paths).repeat().batch(BATCH)
    return names.map(
        dataset.reading.as_written(lambda some: dataset.read(decoder, some)),
        tf.data.AUTOTUNE,
    ).map(lambda row, _: spectra(row["it"]), tf.data.AUTOTUNE)


def librosas(paths):
    """The same by librosa's loop, a batch at a time."""
    import librosa

    def one(path):
        wave, rate_hz = librosa.load(path, sr=16_000, mono=True)
        power = librosa.feature.melspectrogram(
            y=wave,
            sr=rate_hz,
            n_fft=512,
            win_length=400,
            hop_length=160,
            n_mels=40,
            htk=True,
            norm=None,
            pad_mode="constant",
        )
        return librosa.power_to_db(power, top_db=None)

    names = itertools.cycle(paths)
    while True:
        yield [one(path) for path in itertools.islice(names, BATCH)]


def sounds(options):
    """The second table."""
    with tempfile.TemporaryDirectory() as folder:
        paths = clips(folder)
        loops = {"librosa": librosas(paths), "mmkeras": iter(heard(paths))}
        ways = {name: functools.partial(turn, each) for name, each in loops.items()}
        told("clips", turns(ways, options.turns))


def memory_mb():
    """The most that this process has held; not, as getrusage tells, its parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def one(options):
    """What one process measures; JSON."""
    empty = memory_mb()
    import mmkeras.train  # noqa: F401

    imported, began = memory_mb(), (time.perf_counter(), time.process_time())
    iterator = iter(ours(recipe(Path(options.manifest))))
    next(iterator)
    ended = time.perf_counter(), time.process_time()
    first = [end - begin for begin, end in zip(began, ended, strict=True)]
    for _ in range(5):
        next(iterator)
    start = time.process_time()
    for _ in range(20):
        next(iterator)
    each = (time.process_time() - start) / 20
    held = memory_mb()
    print(json.dumps([*first, held - empty, held - imported, 1000 * each]))


def million(_):
    """The third table."""
    with tempfile.TemporaryDirectory() as folder:
        media(Path(folder))
        print("| rows | seconds to the first batch | of cores |", end="")
        print(" MB above an empty process | above TensorFlow | ms of cores a batch |")
        print("| --- | --- | --- | --- | --- | --- |")
        for count in (10_000, 1_000_000):
            path = manifest_of(Path(folder), count)
            command = [sys.executable, __file__, "one", str(path)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            found = json.loads(done.stdout.splitlines()[-1])
            cells = [f"{each:.1f}" for each in found[:2]]
            cells += [f"{each:.0f}" for each in found[2:]]
            print(f"| {count:,} |", " | ".join(cells), "|", flush=True)


def main():
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = parser.add_subparsers(required=True)
    part = parts.add_parser("rows")
    part.add_argument("--turns", type=int, default=5)
    part.add_argument("--torch", metavar="PYTHON", help="an interpreter with PyTorch")
    part.set_defaults(run=rows)
    part = parts.add_parser("sounds")
    part.add_argument("--turns", type=int, default=5)
    part.set_defaults(run=sounds)
    parts.add_parser("million").set_defaults(run=million)
    part = parts.add_parser("one")
    part.add_argument("manifest")
    part.set_defaults(run=one)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
