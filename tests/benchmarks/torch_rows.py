"""Rows a second of a PyTorch DataLoader: what `data.py rows --torch PYTHON` starts.

    PYTHON tests/benchmarks/torch_rows.py MANIFEST BATCH AHEAD COUNTED

Two workers read a text, a picture (Pillow) and a sound (soundfile, log-mel with the
filters in `filters.npy` beside the manifest) as one would write it by hand. Each line
of input makes a turn of so many batches, and prints JSON: rows a second of the clock
and of a core, workers' cores counted too.
"""

import csv
import json
import multiprocessing
import sys
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from PIL import Image

WORKERS = 2


class Rows(torch.utils.data.Dataset):
    """Texts as word numbers, pictures and log-mel spectrograms of a manifest."""

    def __init__(self, path):
        with open(path, newline="") as file:
            self.rows = list(csv.DictReader(file))
        self.folder = Path(path).parent
        words = sorted({word for row in self.rows for word in row["text"].split()})
        self.numbers = {word: number + 2 for number, word in enumerate(words)}
        self.filters = torch.from_numpy(np.load(self.folder / "filters.npy"))
        self.window = torch.hann_window(400)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, at):
        row = self.rows[at]
        text = [self.numbers[word] for word in row["text"].split()][:16]
        text = torch.tensor(text + [0] * (16 - len(text)))
        picture = Image.open(self.folder / row["image"]).convert("RGB")
        pixels = np.asarray(picture.resize((224, 224), Image.BILINEAR), np.float32)
        wave, _ = soundfile.read(self.folder / row["audio"], dtype="float32")
        return text, torch.from_numpy(pixels / 255), self.log_mel(wave), row["label"]

    def log_mel(self, wave):
        """(samples,) -> (frames, mels), dB, as `mmkeras.layers.LogMel`."""
        spectrum = torch.stft(
            torch.from_numpy(wave),
            n_fft=512,
            hop_length=160,
            win_length=400,
            window=self.window,
            pad_mode="constant",
            return_complex=True,
        )
        power = (spectrum.real**2 + spectrum.imag**2).T @ self.filters
        return 10 * torch.log10(torch.clamp(power, min=1e-10))


def endless(loader):
    """Its batches, epoch after epoch."""
    while True:
        yield from loader


def cores():
    """Seconds of cores of this process and of the workers, which are its children."""
    ticks = 0
    for process in ["self", *(each.pid for each in multiprocessing.active_children())]:
        told = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(told[11]) + int(told[12])
    return ticks / 100


def main():
    """Measures."""
    batch, ahead, counted = map(int, sys.argv[2:])
    loader = torch.utils.data.DataLoader(
        Rows(sys.argv[1]),
        batch_size=batch,
        shuffle=True,
        num_workers=WORKERS,
        persistent_workers=True,
        worker_init_fn=lambda _: torch.set_num_threads(1),
    )
    batches = endless(loader)
    for _ in sys.stdin:
        for _ in range(ahead):
            next(batches)
        began = time.perf_counter(), cores()
        for _ in range(counted):
            next(batches)
        ended = time.perf_counter(), cores()
        spent = [end - begin for begin, end in zip(began, ended, strict=True)]
        print(json.dumps([counted * batch / each for each in spent]), flush=True)


if __name__ == "__main__":
    main()
