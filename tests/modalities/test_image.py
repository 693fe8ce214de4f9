"""Images: every format against Pillow, every fault by its message."""

import base64
import csv
import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image as Pillow
from PIL import ImageOps

from mmkeras.modalities import image_header
from mmkeras.modalities.image import Image, antialiased

BROKEN = Path(__file__).parents[3] / "shared" / "data" / "broken"
SIDE = 24
DECODER = Image("photo", size=SIDE)
ATTEMPT = tf.function(DECODER.attempt, input_signature=[tf.TensorSpec((), tf.string)])

rng = np.random.default_rng(0)
COLOUR = Pillow.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8))
GREY = COLOUR.convert("L")
ALPHA = COLOUR.copy()
ALPHA.putalpha(Pillow.fromarray(rng.integers(0, 256, (SIDE, SIDE), np.uint8)))
DEEP = rng.integers(0, 65536, (SIDE, SIDE), np.uint16)


def encoded(picture, kind, **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


FILES = {
    "jpeg": encoded(COLOUR, "JPEG"),
    "jpeg_progressive": encoded(COLOUR, "JPEG", progressive=True),
    "jpeg_grey": encoded(GREY, "JPEG"),
    "jpeg_cmyk": encoded(COLOUR.convert("CMYK"), "JPEG"),
    "png": encoded(COLOUR, "PNG"),
    "png_grey": encoded(GREY, "PNG"),
    "png_1_bit": encoded(COLOUR.convert("1"), "PNG"),
    "png_alpha": encoded(ALPHA, "PNG"),
    "png_grey_alpha": encoded(ALPHA.convert("LA"), "PNG"),
    "png_palette": encoded(COLOUR.quantize(16), "PNG"),
    "png_palette_transparent": encoded(COLOUR.quantize(16), "PNG", transparency=3),
    "gif": encoded(COLOUR.quantize(64), "GIF"),
    "gif_animated": encoded(
        COLOUR, "GIF", save_all=True, append_images=[COLOUR.rotate(90)]
    ),
    "bmp": encoded(COLOUR, "BMP"),
    "bmp_grey": encoded(GREY, "BMP"),
    "bmp_palette": encoded(COLOUR.quantize(256), "BMP"),
    "webp": encoded(COLOUR, "WEBP"),
    "webp_lossless": encoded(COLOUR, "WEBP", lossless=True),
    "webp_alpha": encoded(ALPHA, "WEBP", lossless=True),
}


def reference(raw):
    """(SIDE, SIDE, 3) floats in [0, 1] by Pillow, flattened over white."""
    picture = ImageOps.exif_transpose(Pillow.open(io.BytesIO(raw)))
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Pillow.new("RGBA", picture.size, (255, 255, 255, 255))
        picture = Pillow.alpha_composite(white, picture)
    return np.asarray(picture.convert("RGB"), np.float32) / 255


def fault(raw):
    row, sentence = ATTEMPT(raw)
    if sentence != b"":
        assert not row["photo_present"].numpy()
        assert not row["photo"].numpy().any()
    return sentence.numpy().decode("utf-8")


@pytest.mark.parametrize("name", FILES)
def test_every_format_is_what_pillow_sees(name):
    if "webp" in name and not hasattr(tf.io, "decode_webp"):
        pytest.skip("this TensorFlow decodes no WebP")
    row, sentence = ATTEMPT(FILES[name])
    assert sentence.numpy() == b"" and row["photo_present"].numpy()
    # Half a step of 8 bits where Pillow rounds its mixture with white.
    np.testing.assert_allclose(row["photo"], reference(FILES[name]), atol=0.51 / 255)


def test_sixteen_bits_are_scaled_not_clipped():
    row, _ = ATTEMPT(encoded(Pillow.fromarray(DEEP), "PNG"))
    expected = np.repeat(DEEP[..., None] / 65535, 3, axis=2)
    np.testing.assert_allclose(row["photo"], expected, atol=1e-6)


@pytest.mark.parametrize("byte_order", ["II", "MM"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation, byte_order):
    little = byte_order == "II"
    entry = struct.pack(
        ("<" if little else ">") + "HHIHH", 0x0112, 3, 1, orientation, 0
    )
    tiff = (b"II*\0\x08\0\0\0\x01\0" if little else b"MM\0*\0\0\0\x08\0\x01") + entry
    plain = Image("photo", size=SIDE, resize="fit")
    wide = COLOUR.resize((SIDE, SIDE // 2))
    raw = encoded(wide, "JPEG", quality=95, exif=b"Exif\0\0" + tiff + b"\0\0\0\0")
    upright = reference(raw)
    height, width = upright.shape[:2]
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    pixels = plain.decode(tf.constant(raw))["photo"].numpy()
    inside = pixels[top : top + height, left : left + width]
    np.testing.assert_allclose(inside, upright, atol=1e-4)
    assert pixels.sum() == pytest.approx(inside.sum(), rel=1e-5)


def test_broken_exif_is_ignored():
    for tail in (b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*"):
        length = struct.pack(">H", 2 + len(tail))
        raw = FILES["jpeg"][:2] + b"\xff\xe1" + length + tail + FILES["jpeg"][2:]
        assert fault(raw) == ""


@pytest.mark.parametrize(
    "before",
    [b"", b"\xff\xfe\0\x05abc", b"\xff\xe2\0\x04ab\xff\xfe\0\x02"],
    ids="nothing comment two".split(),
)
@pytest.mark.parametrize("start", [2, 20], ids="bare jfif".split())
def test_what_stands_before_the_picture_does_not_hide_how_it_lies(start, before):
    raw, lies = FILES["jpeg"], Pillow.Exif()
    assert raw[2:6] == b"\xff\xe0\0\x10", "Pillow begins with JFIF's segment"
    lies[0x0112] = 6
    exif = lies.tobytes()
    exif = b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif
    plain, turned = (raw[:start] + before + more + raw[20:] for more in (b"", exif))
    # Known from the first bytes, as of most files; else the segments are walked.
    assert image_header.read(plain)["is_plain"].numpy() == (before == b"")
    assert not image_header.read(turned)["is_plain"].numpy()
    upright = np.rot90(ATTEMPT(plain)[0]["photo"].numpy(), -1)
    np.testing.assert_array_equal(ATTEMPT(turned)[0]["photo"], upright)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(1, 1), (5, 90), (24, 24), (31, 17), (300, 200)])
def test_scaling_is_that_of_tensorflow_bit_for_bit(shape, channels):
    draw = np.random.default_rng(1).integers
    for pixels in (
        draw(0, 256, (*shape, channels), np.uint8),
        draw(0, 65536, (*shape, channels), np.uint16),
        draw(0, 256, (*shape, channels)).astype("float32"),
    ):
        for sides in ((24, 24), (1, 7), (64, 33)):
            wanted = tf.image.resize(pixels, sides, antialias=True)
            np.testing.assert_array_equal(
                antialiased(tf.constant(pixels), sides), wanted
            )


@pytest.mark.parametrize(
    ("size", "resize", "filled"),
    [
        ((48, 24), "stretch", (24, 24)),
        ((48, 24), "fit", (12, 24)),
        ((24, 48), "fit", (24, 12)),
        ((48, 24), "fill", (24, 24)),
        ((3, 1000), "fit", (24, 1)),
        ((1, 1), "fit", (24, 24)),
    ],
)
def test_resize_modes_fill_what_they_promise(size, resize, filled):
    raw = encoded(Pillow.new("RGB", size, (255, 255, 255)), "PNG")
    pixels = Image("p", size=SIDE, resize=resize).decode(tf.constant(raw))["p"].numpy()
    lit = pixels[..., 0] > 0.99
    assert (lit.any(1).sum(), lit.any(0).sum()) == filled
    assert lit.sum() == filled[0] * filled[1]


def test_fill_keeps_the_centre():
    colours = [(255, 0, 0)] * 12 + [(0, 255, 0)] * 24 + [(0, 0, 255)] * 12
    wide = Pillow.fromarray(np.array([colours] * 24, np.uint8))
    raw = tf.constant(encoded(wide, "PNG"))
    pixels = Image("p", size=SIDE, resize="fill").decode(raw)["p"].numpy()
    np.testing.assert_allclose(pixels, np.broadcast_to([0, 1, 0], pixels.shape))


def test_shrinking_averages():
    """A checkerboard becomes grey: without antialiasing it would become black."""
    board = np.indices((96, 96)).sum(0) % 2 * 255
    raw = tf.constant(encoded(Pillow.fromarray(board.astype(np.uint8)), "PNG"))
    pixels = DECODER.decode(raw)["photo"].numpy()
    np.testing.assert_allclose(pixels[2:-2, 2:-2], 0.5, atol=0.02)


PNG = FILES["png"]
WEBP = b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0"
CLAIMS = {
    "png": PNG[:16] + struct.pack(">II", 60_000, 60_000) + PNG[24:],
    "gif": b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + FILES["gif"][10:],
    "bmp": FILES["bmp"][:18] + struct.pack("<ii", 60_000, -60_000) + FILES["bmp"][26:],
    "webp": WEBP + b"\0\0\0\0" + (59_999).to_bytes(3, "little") * 2 + b"\0" * 40,
}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_giant_is_refused_by_its_header(name):
    assert fault(CLAIMS[name]) == (
        f"image of 60000 x 60000 pixels is over the limit of "
        f"{image_header.MAX_PIXELS} pixels"
    )


def test_a_giant_jpeg_is_refused_by_its_header():
    raw = FILES["jpeg"]
    frame = raw.index(b"\xff\xc0") + 5
    giant = raw[:frame] + struct.pack(">HH", 60_000, 50_000) + raw[frame + 4 :]
    assert fault(giant).startswith("image of 50000 x 60000 pixels is over the limit")


def os2(raw):
    return raw[:14] + struct.pack("<I", 12) + raw[18:]


FAULTS = [
    (
        b"hello world",
        "not a JPEG, PNG, GIF, BMP or WebP image (begins with 'hello wo')",
    ),
    *(
        (
            text,
            "not a JPEG, PNG, GIF, BMP or WebP image (begins with "
            f"""'{text[:8].decode()}'; as base64: over REST send {{"b64": "..."}})""",
        )
        for text in (
            base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(40)),
            base64.b64encode(PNG),
            base64.b64encode(FILES["gif"]),
            base64.b64encode(FILES["webp"]),
            b"data:image/png;base64,iVBORw0KGgo",
        )
    ),
    (
        b"\xff",
        "not a JPEG, PNG, GIF, BMP or WebP image (begins with '.')",
    ),
    (FILES["jpeg"][: len(FILES["jpeg"]) // 2], "JPEG data is truncated or corrupt"),
    (FILES["jpeg"][:60], "JPEG data is truncated or corrupt"),
    (FILES["jpeg_progressive"][:-100], "JPEG data is truncated or corrupt"),
    (PNG[: len(PNG) // 2], "PNG data is truncated or corrupt"),
    (PNG[:20] + b"\0\0\0\0" + PNG[24:], "image of 24 x 0 pixels is empty"),
    (FILES["gif"][:200], "GIF data is truncated or corrupt"),
    (FILES["bmp"][:200], "BMP data is truncated or corrupt"),
    (FILES["webp"][:200], "WebP data is truncated or corrupt"),
    (
        encoded(COLOUR.convert("1"), "BMP"),
        "BMP with pixels of 1 bits is not supported (8, 24, 32 are)",
    ),
    (os2(FILES["bmp"]), "BMP header of OS/2 1.x is not supported"),
    (
        FILES["bmp"][:30] + b"\x01" + FILES["bmp"][31:],
        "BMP compression 1 is not supported (plain BMP is)",
    ),
    (
        encoded(COLOUR, "WEBP", save_all=True, append_images=[GREY]),
        "animated WebP is not supported",
    ),
]


@pytest.mark.parametrize(
    ("raw", "sentence"), FAULTS, ids=[sentence for _, sentence in FAULTS]
)
def test_every_fault_says_what_is_wrong(raw, sentence):
    assert fault(raw) == sentence
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        DECODER.decode(tf.constant(raw))
    assert error.value.message.startswith(sentence)


def test_a_fault_raises_inside_a_pipeline():
    rows = tf.data.Dataset.from_tensors(b"hello world").map(DECODER.decode)
    with pytest.raises(tf.errors.InvalidArgumentError, match="not a JPEG, PNG"):
        next(iter(rows))


def test_empty_is_missing():
    assert fault(b"") == ""
    row = DECODER.decode(tf.constant(b""))
    assert not row["photo_present"].numpy() and not row["photo"].numpy().any()


def test_one_bad_file_leaves_the_others_of_its_batch():
    raws = tf.constant([FILES["png"], b"", FILES["jpeg"][:400], FILES["png_alpha"]])
    batch = tf.function(DECODER.attempt_batch)
    rows, faults = batch(raws)
    assert rows["photo_present"].numpy().tolist() == [True, False, False, True]
    assert faults.numpy().tolist() == [
        b"",
        b"",
        b"JPEG data is truncated or corrupt",
        b"",
    ]
    for index in (0, 1, 3):
        pipeline = tf.data.Dataset.from_tensors(raws[index]).map(DECODER.decode)
        # Eager, in a pipeline, in a graph: not one bit of difference.
        for row in (DECODER.decode(raws[index]), next(iter(pipeline))):
            np.testing.assert_array_equal(rows["photo"][index], row["photo"])
    # Without the bad file the batch is decoded at once, and is the same.
    healthy, faults = batch(tf.gather(raws, [0, 1, 3]))
    assert faults.numpy().tolist() == [b""] * 3
    np.testing.assert_array_equal(healthy["photo"], rows["photo"].numpy()[[0, 1, 3]])
    none, faults = batch(tf.constant([], tf.string))
    assert none["photo"].shape == (0, SIDE, SIDE, 3) and faults.shape == (0,)


def test_every_file_of_a_mixed_batch_is_told_as_alone():
    """Of each its own format, size and fault."""
    good, bad = [*FILES.values()], [raw for raw, _ in FAULTS]
    rows, faults = tf.function(DECODER.attempt_batch)(tf.constant(bad + good))
    told = [each.decode() for each in faults.numpy()]
    assert told == [sentence for _, sentence in FAULTS] + [""] * len(good)
    for index, raw in enumerate(good, start=len(bad)):
        np.testing.assert_array_equal(rows["photo"][index], ATTEMPT(raw)[0]["photo"])


def test_specs_are_what_comes_out():
    made = tf.data.Dataset.from_tensors(FILES["png"]).map(DECODER.decode)
    assert made.element_spec == DECODER.specs
    assert DECODER.geometry == {"size": SIDE}


LOADER = """
import sys
import numpy as np
import tensorflow as tf
served = tf.saved_model.load(sys.argv[1])
raws = np.load(sys.argv[2], allow_pickle=True)["raws"].tolist()
rows, faults = served.run(tf.constant(raws))
np.savez(sys.argv[3], photo=rows["photo"], faults=faults.numpy().astype(bytes))
"""


def test_saved_model_answers_in_a_fresh_process(tmp_path):
    module = tf.Module()
    module.run = tf.function(
        DECODER.attempt_batch,
        input_signature=[tf.TensorSpec([None], tf.string, name="photo_bytes")],
    )
    tf.saved_model.save(module, str(tmp_path / "model"))
    raws = [*FILES.values(), b"hello", FILES["jpeg"][:300]]
    np.savez(tmp_path / "raws.npz", raws=np.array(raws, object))
    paths = [tmp_path / "model", tmp_path / "raws.npz", tmp_path / "out.npz"]
    subprocess.run([sys.executable, "-c", LOADER, *map(str, paths)], check=True)
    rows, faults = module.run(tf.constant(raws))
    answer = np.load(paths[2])
    np.testing.assert_array_equal(answer["photo"], rows["photo"])
    assert answer["faults"].tolist() == faults.numpy().tolist()


@pytest.mark.skipif(not BROKEN.exists(), reason="no data folder beside the checkout")
def test_files_that_arrive_in_practice():
    with open(BROKEN / "manifest.csv", encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["firm"] == "yes"]
    seen = 0
    for row in rows:
        path = BROKEN / row["image"]
        if row["case"].startswith("path") or not row["image"] or not path.is_file():
            continue
        raw = path.read_bytes()
        about_image = "jpeg" in row["case"] or "image" in row["case"]
        if row["expect"] == "accept" or not about_image:
            assert fault(raw) == "", row["case"]
            assert np.isfinite(ATTEMPT(raw)[0]["photo"]).all()
        elif raw:  # an empty file is the manifest's to refuse
            assert fault(raw) != "", row["case"]
        seen += 1
    assert seen > 20
