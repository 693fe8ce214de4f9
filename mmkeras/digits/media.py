"""The digits' texts, pictures and sounds, and the files they are written to."""

import string
import struct
import wave
import zlib

import numpy as np

RATE_HZ = 8_000
# ITU-T Q.23 keypad, 123 / 456 / 789 / 0: digit -> (row, column) frequency.
ROWS_HZ, COLUMNS_HZ = (697, 770, 852), (1209, 1336, 1477)
TONES_HZ = {n + 1: (ROWS_HZ[n // 3], COLUMNS_HZ[n % 3]) for n in range(9)}
TONES_HZ[0] = (941, 1336)
# (32, 8), linear between pixel centres. The weights are eighths, so that products with
# it are exact and the same bytes on every machine.
ENLARGE = np.stack(
    [np.interp((np.arange(32) + 0.5) / 4 - 0.5, range(8), row) for row in np.eye(8)], 1
)

TYPOS = 0.3  # share of the noisy texts
IMAGE_NOISE = {"clean": (4, 12), "noisy": (15, 50), "spoilt": (120, 160)}  # grey levels
IMAGE_PATCH = {"clean": (0, 0), "noisy": (0, 9), "spoilt": (20, 26)}  # pixels
AUDIO_SNR_DB = {"clean": (20, 30), "noisy": (-3, 15), "spoilt": (-45, -30)}

ENGLISH = "zero one two three four five six seven eight nine".split()
CHINESE = "零一二三四五六七八九"
ENGLISH_PHRASES = ("{}", "the digit {}", "digit {}", "this is {}", "it says {}")
CHINESE_PHRASES = ("{}", "数字{}", "这是{}", "这个数字是{}", "上面写着{}")
VAGUE = ("a digit", "some number", "I cannot read it", "一个数字", "某个数", "看不清")
UNREADABLE = "口日田由甲申困回"  # look like characters, name no digit
LETTERS = string.ascii_lowercase


def name_digit(digit, quality, rng):
    """A short text that names a digit, in English or Chinese, each half the time.

    `noisy` makes a typing error in some of them (`TYPOS`); `spoilt` names no digit,
    because the text is vague or the name unreadable; `missing` is "".
    """
    if quality == "missing":
        return ""
    if quality == "spoilt" and rng.random() < 0.5:
        return str(rng.choice(VAGUE))
    english = rng.random() < 0.5
    phrase = str(rng.choice(ENGLISH_PHRASES if english else CHINESE_PHRASES))
    if quality == "spoilt":
        # Three to five letters, as the names have: the length must not tell.
        letters = rng.choice(list(LETTERS if english else UNREADABLE), 5)
        return phrase.format("".join(letters[: rng.integers(3, 6) if english else 1]))
    text = phrase.format((ENGLISH if english else CHINESE)[digit])
    return typo(text, rng) if quality == "noisy" and rng.random() < TYPOS else text


def typo(text, rng):
    """The text with one character doubled, dropped, or swapped with the next.

    Chinese is only ever doubled: there a dropped character could be the digit.
    """
    at = int(rng.integers(max(1, len(text) - 1)))
    before, letter, after = text[:at], text[at], text[at + 1 :]
    if not text.isascii():
        return before + letter + letter + after
    wrong = (letter + letter + after, after, after[:1] + letter + after[1:])
    return before + wrong[rng.integers(3)]


def draw_picture(source, quality, rng):
    """A source digit, enlarged four times, with a blank patch and Gaussian noise.

    `source` is (8, 8) in 0..16, quality clean, noisy or spoilt. Gives (32, 32) uint8,
    white on black.
    """
    pixels = ENLARGE @ source @ ENLARGE.T * (255 / 16)
    patch = rng.integers(*IMAGE_PATCH[quality], endpoint=True)
    top, left = rng.integers(0, 32 - patch, size=2, endpoint=True)
    pixels[top : top + patch, left : left + patch] = 0
    noise = rng.uniform(*IMAGE_NOISE[quality])
    pixels += noise * rng.standard_normal(pixels.shape)
    return pixels.round().clip(0, 255).astype(np.uint8)


def play_tone(digit, quality, rng):
    """A key press somewhere in a clip of 0.25 to 0.5 s, in white noise.

    The two sines of ITU-T Q.23 are equally loud and last 0.12 to 0.2 s. The ratio of
    signal to noise (`AUDIO_SNR_DB`) is that of their power while they sound to that
    of the noise from 0 to 4 kHz. The clip's peak is 0.2 to 0.9 of full scale. Gives
    ((samples,) int16 at 8 kHz, that ratio in dB).
    """
    clip_samples = int(rng.uniform(0.25, 0.5) * RATE_HZ)
    tone_samples = int(rng.uniform(0.12, 0.2) * RATE_HZ)
    seconds = np.arange(tone_samples) / RATE_HZ
    low_hz, high_hz = TONES_HZ[digit]
    low_phase, high_phase = rng.uniform(0, 2 * np.pi, size=2)
    tone = np.sin(2 * np.pi * low_hz * seconds + low_phase)
    tone += np.sin(2 * np.pi * high_hz * seconds + high_phase)  # power 1/2 + 1/2
    # Rises and falls within 5 ms: an abrupt edge would click at every frequency.
    tone *= np.minimum(1, np.minimum(seconds, seconds[::-1]) / 0.005)
    snr_db = rng.uniform(*AUDIO_SNR_DB[quality])
    clip = 10 ** (-snr_db / 20) * rng.standard_normal(clip_samples)
    start = rng.integers(0, clip_samples - tone_samples, endpoint=True)
    clip[start : start + tone_samples] += tone
    clip *= rng.uniform(0.2, 0.9) / np.abs(clip).max()
    return (clip * 32767).round().astype(np.int16), snr_db


def png(pixels):
    """The PNG (ISO/IEC 15948) of 8-bit grey pixels, (height, width) uint8.

    Stored, not deflated: zlibs differ in the bytes they give, and noise is no
    smaller deflated.
    """
    height, width = pixels.shape
    lines = np.pad(pixels, ((0, 0), (1, 0))).tobytes()  # filter 0 before each line
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines, level=0)), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks:
        png += struct.pack(">I", len(data)) + name + data
        png += struct.pack(">I", zlib.crc32(name + data))
    return png


def write_wav(path, samples):
    """Writes a WAV of (samples,) int16, mono, 8 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))  # mono, two bytes a sample
        file.writeframes(samples.astype("<i2").tobytes())
