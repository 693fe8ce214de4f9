"""Images: the bytes of one file -> pixels, in the graph, for training and serving."""

from typing import Literal

import tensorflow as tf
from pydantic import PositiveInt

from mmkeras.modalities import binary, image_header

# Rows of one batch decoded at the same time: enough for the cores of a small server.
PARALLEL_ROWS = 8


class Image:
    """JPEG, PNG, GIF (first frame), BMP or WebP files, told apart by their content.

    Transparency is flattened over white, 16 bits are scaled down, and a JPEG's Exif
    orientation is applied. A file that cannot be decoded whole is a fault, never a
    half grey picture.

    Args:
        name: the manifest's column and the model's input.
        size: height and width of the result, pixels.
        resize: what happens to the sides' ratio. "stretch" ignores it, "fit" keeps it
            and pads with black around the centre, "fill" keeps it and cuts off what
            lies outside the central square.
    """

    is_file = True
    resources = []

    def __init__(
        self,
        name,
        *,
        size: PositiveInt = 64,
        resize: Literal["stretch", "fit", "fill"] = "stretch",
    ):
        self.name = name
        self.size = size
        self.resize = resize
        self.signature = f"{name}_bytes"

    @property
    def specs(self):
        """{key: tf.TensorSpec} of one decoded row, without the batch dimension."""
        return {
            self.name: tf.TensorSpec((self.size, self.size, 3), tf.float32),
            f"{self.name}_present": tf.TensorSpec((), tf.bool),
        }

    @property
    def geometry(self):
        """What a branch must know: the side of the square, pixels."""
        return {"size": self.size}

    def decode(self, raw):
        """One file -> {name: pixels, name_present: bool}.

        Args:
            raw: scalar string, the whole file. Empty: missing.

        Returns:
            Dict as `specs`: pixels (size, size, 3) float32 in [0, 1], RGB.

        Raises:
            InvalidArgumentError: the bytes are not an image that can be decoded.
        """
        row, fault = self.attempt(raw)
        with tf.control_dependencies([binary.raise_fault(fault)]):
            return {key: tf.identity(value) for key, value in row.items()}

    def attempt(self, raw):
        """As `decode`, but never raises.

        Returns:
            (dict as `decode`, fault): a scalar string, "" where the file was decoded
            or missing; else the pixels are zeros and not present.
        """
        header = image_header.read(raw)
        exists = tf.strings.length(raw) > 0
        pixels, decoded = tf.cond(
            exists & (header["fault"] == ""),
            lambda: self._pixels(raw, header),
            lambda: (tf.zeros((self.size, self.size, 3)), tf.constant(False)),
        )
        fault = binary.first_fault(
            [
                (exists & (header["fault"] != ""), lambda: header["fault"]),
                (exists & ~decoded, lambda: _corrupt(header["format"])),
            ]
        )
        pixels = tf.ensure_shape(pixels, (self.size, self.size, 3))
        return {self.name: pixels, f"{self.name}_present": decoded}, fault

    def attempt_batch(self, raws):
        """(batch,) files -> (dict as `decode` with a batch axis, (batch,) faults)."""
        return tf.map_fn(
            self.attempt,
            raws,
            fn_output_signature=(self.specs, tf.TensorSpec((), tf.string)),
            parallel_iterations=PARALLEL_ROWS,
        )

    def _pixels(self, raw, header):
        """((size, size, 3) float32 in [0, 1], whether they could be decoded)."""
        is_deep = (header["format"] == image_header.PNG) & (header["depth"] == 16)
        is_bmp = header["format"] == image_header.BMP
        stored, decoded = _try(raw, is_deep)  # (height, width, channels, 1 or 2 bytes)
        eight = tf.cond(
            is_bmp,
            lambda: _bmp_colours(raw, stored[..., 0], header["depth"]),
            lambda: stored[..., 0],
        )
        # At once to the final size: a photo's floats would take twelve bytes a pixel.
        pixels = tf.cond(
            is_deep & decoded,
            lambda: self._resized(tf.bitcast(stored, tf.uint16), 65535.0),
            lambda: self._resized(eight, 255.0),
        )
        return self._framed(_upright(pixels, header["orientation"])), decoded

    def _resized(self, pixels, most):
        """(height, width, 1 to 4) integers up to `most` -> 1 or 3 channels in [0, 1]."""
        pixels.set_shape((None, None, None))
        if self.resize == "fill":
            pixels = _central_square(pixels)
        pixels = tf.cond(
            tf.shape(pixels)[2] % 2 == 0,
            lambda: self._scaled(_over_white(pixels, most)),
            lambda: self._scaled(pixels),
        )
        return tf.clip_by_value(pixels / most, 0.0, 1.0)

    def _framed(self, pixels):
        """(height, width, 1 or 3) -> (size, size, 3); grey becomes R = G = B."""
        shape = tf.concat([tf.shape(pixels)[:2], [3]], 0)
        pixels = tf.broadcast_to(pixels, shape)
        if self.resize == "fit":
            pixels = _padded(pixels, self.size)
        return tf.ensure_shape(pixels, (self.size, self.size, 3))

    def _scaled(self, pixels):
        sides = (self.size, self.size)
        if self.resize == "fit":
            sides = tf.shape(pixels)[:2]
            # In integers, rounded half up, at least one pixel.
            longest = tf.reduce_max(sides)
            sides = tf.maximum(1, (2 * sides * self.size + longest) // (2 * longest))
        return tf.image.resize(pixels, sides, antialias=True)


def _corrupt(number):
    name = tf.gather(image_header.FORMATS, number)
    return binary.sentence(name, " data is truncated or corrupt")


def _try(raw, is_deep):
    """A try in the graph: ((height, width, channels, 1 or 2 bytes) uint8, success).

    A core decoder raises on corrupt data, which would fail the whole batch; a dataset
    of one element can leave out what raised. Only the decoders are inside, because
    each dataset costs time in proportion to its operations.
    """
    tried = tf.data.Dataset.from_tensors((raw, is_deep)).map(
        lambda raw, is_deep: (_stored(raw, is_deep), True)
    )
    failed = tf.data.Dataset.from_tensors((tf.zeros((1, 1, 1, 1), tf.uint8), False))
    return tried.ignore_errors().concatenate(failed).take(1).get_single_element()


def _stored(raw, is_deep):
    """What is in the file, (height, width, channels, bytes) uint8; raises if corrupt."""
    # Not tf.io.decode_webp for WebP: a server that does not know that operation would
    # refuse the whole model. This one refuses only the file.
    stored = tf.cond(
        is_deep,
        lambda: tf.bitcast(tf.io.decode_png(raw, dtype=tf.uint16), tf.uint8),
        lambda: tf.io.decode_image(raw, expand_animations=False)[..., tf.newaxis],
    )
    return tf.ensure_shape(stored, (None, None, None, None))


def _bmp_colours(raw, pixels, depth):
    """(height, width, 3) uint8. The core decoder takes palette indices for grey."""
    pixels.set_shape((None, None, None))
    start = 14 + binary.little(binary.window(raw, 14, 4), 0, 4)
    palette = tf.reshape(binary.window(raw, start, 1024), (256, 4))[:, 2::-1]
    palette = tf.cast(palette, tf.uint8)  # (256, 3), stored as B, G, R, 0
    return tf.cond(
        depth == 8,
        lambda: tf.gather(palette, tf.cast(pixels[..., 0], tf.int32)),
        # The fourth byte of 32 bits is reserved, and zero in most files: no alpha.
        lambda: pixels[..., :3],
    )


def _central_square(pixels):
    height, width = tf.shape(pixels)[0], tf.shape(pixels)[1]
    side = tf.minimum(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]


def _over_white(pixels, most):
    """(height, width, colours + alpha) -> the same colours over white, float32."""
    pixels = tf.cast(pixels, tf.float32)
    alpha = pixels[..., -1:] / most
    return most + (pixels[..., :-1] - most) * alpha


def _upright(pixels, orientation):
    """Turns pixels as Exif orientation 1 to 8 asks (Exif 2.32, 4.6.4, tag 274)."""
    pixels = tf.cond(
        orientation >= 5, lambda: tf.transpose(pixels, (1, 0, 2)), lambda: pixels
    )
    upside_down = tf.reduce_any(orientation == [3, 4, 7, 8])
    mirrored = tf.reduce_any(orientation == [2, 3, 6, 7])
    pixels = tf.cond(upside_down, lambda: pixels[::-1], lambda: pixels)
    return tf.cond(mirrored, lambda: pixels[:, ::-1], lambda: pixels)


def _padded(pixels, size):
    height, width = tf.shape(pixels)[0], tf.shape(pixels)[1]
    return tf.image.pad_to_bounding_box(
        pixels, (size - height) // 2, (size - width) // 2, size, size
    )
