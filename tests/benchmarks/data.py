"""What reading rows costs: against bare TensorFlow, and for a million rows.

    python tests/benchmarks/data.py rows --rows 2000
    python tests/benchmarks/data.py million

`rows`: rows per second of a text, a JPEG of 300 x 300 pixels scaled to 224 and a WAV of
2 s, as training decodes them and as a loop that only decodes with TensorFlow's own
operations, one after the other in one process, without memory between them.
`million`: seconds from the manifest's path to the first batch and memory above an empty
process, and milliseconds of cores a batch, of 10,000 and of 1,000,000 rows; each in a
process of its own. A row is a text and one of 200 pictures and sounds.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np

FILES, BATCH = 200, 32


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


def recipe(path):
    """Text, picture and sound."""
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
        "cache_mb": 0,
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

    def decode(text, image, audio):
        pixels = tf.io.decode_jpeg(tf.io.read_file(image), channels=3)
        pixels = tf.image.resize(pixels, (224, 224), antialias=True) / 255
        sound, _ = tf.audio.decode_wav(tf.io.read_file(audio), 1, 32_000)
        return text, pixels, sound[:, 0]

    rows = tf.data.Dataset.from_tensor_slices(tuple(columns)).repeat()
    rows = rows.map(decode, tf.data.AUTOTUNE).batch(BATCH)
    rows = rows.map(lambda text, *others: (words(text), *others))
    return rows.prefetch(2)


def speed(batches, count):
    """Rows a second, after ten batches to begin with; (of the clock, of cores)."""
    iterator = iter(batches)
    for _ in range(10):
        next(iterator)
    began = time.perf_counter(), time.process_time()
    for _ in range(count // BATCH):
        next(iterator)
    ended = time.perf_counter(), time.process_time()
    return [count / (end - begin) for begin, end in zip(began, ended, strict=True)]


def rows(options):
    """The first table."""
    with tempfile.TemporaryDirectory() as folder:
        media(Path(folder))
        path = manifest_of(Path(folder), 4000)
        theirs = speed(bare(path), options.rows)
        mine = speed(ours(recipe(path)), options.rows)
        again = speed(bare(path), options.rows)
    theirs = [max(pair) for pair in zip(theirs, again, strict=True)]
    print("| | rows a second | rows a second of a core |\n| --- | --- | --- |")
    print(f"| TensorFlow's decoders alone | {theirs[0]:.0f} | {theirs[1]:.0f} |")
    print(f"| as training reads them | {mine[0]:.0f} | {mine[1]:.0f} |")
    ratios = [one / other for one, other in zip(mine, theirs, strict=True)]
    print(f"| ratio | {ratios[0]:.2f} | {ratios[1]:.2f} |")


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
    """The second table."""
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
    part.add_argument("--rows", type=int, default=2000)
    part.set_defaults(run=rows)
    parts.add_parser("million").set_defaults(run=million)
    part = parts.add_parser("one")
    part.add_argument("manifest")
    part.set_defaults(run=one)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
