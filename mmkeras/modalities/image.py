"""Images: the bytes of one file -> pixels, in the graph, for training and serving."""

from typing import Literal

import tensorflow as tf
from pydantic import PositiveInt

from mmkeras.modalities import binary, image_data, image_header, trying

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
    resources, packages = [], ()

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
        self.signatures = (f"{name}_bytes",)

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

    def attempt(self, raw, careful=True):
        """As `decode`, but never raises.

        Args:
            raw: as of `decode`.
            careful: scalar bool; where False, corrupt data raises all the same.

        Returns:
            (dict as `decode`, fault): a scalar string, "" where the file was decoded
            or missing; else the pixels are zeros and not present.
        """
        header = image_header.read(raw)
        exists = tf.strings.length(raw) > 0
        pixels, decoding_fault = tf.cond(
            exists & (header["fault"] == ""),
            lambda: self._pixels(raw, header, tf.convert_to_tensor(careful)),
            lambda: (tf.zeros((self.size, self.size, 3)), tf.constant("")),
        )
        fault = tf.where(exists, tf.strings.join([header["fault"], decoding_fault]), "")
        row = {
            self.name: tf.ensure_shape(pixels, (self.size, self.size, 3)),
            f"{self.name}_present": exists & (fault == ""),
        }
        return row, fault

    def attempt_batch(self, raws):
        """(batch,) files -> (dict as `decode` with a batch axis, (batch,) faults)."""

        def decode(careful):
            return tf.map_fn(
                lambda raw: self.attempt(raw, careful),
                raws,
                fn_output_signature=(self.specs, tf.TensorSpec((), tf.string)),
                parallel_iterations=PARALLEL_ROWS,
            )

        return trying.boldly(decode)

    def _pixels(self, raw, header, careful):
        """((size, size, 3) float32 in [0, 1], fault)."""
        pixels, fault = tf.cond(
            header["format"] == image_header.JPEG,
            lambda: self._photo(raw, header, careful),
            lambda: self._other(raw, header, careful),
        )
        return self._framed(pixels), fault

    def _photo(self, raw, header, careful):
        """What a JPEG shows, scaled and upright, (height, width, 3), and its fault.

        The commonest kind by far, and each condition costs time: it has few.
        """
        stored, shape, decoded = image_data.stored_jpeg(raw, careful)
        pixels = self._scaled(self._cropped(stored), 255.0)
        pixels = tf.cond(
            header["is_plain"],
            lambda: pixels,
            lambda: _upright(pixels, image_header.orientation(raw)),
        )
        return pixels, image_header.jpeg_fault(shape, decoded)

    def _other(self, raw, header, careful):
        """As `_photo`, of the other formats: (height, width, 1 or 3), fault."""
        is_deep = (header["format"] == image_header.PNG) & (header["depth"] == 16)
        stored, decoded = image_data.stored(raw, is_deep, careful)
        eight = tf.cond(
            decoded & (header["format"] == image_header.BMP),
            lambda: image_data.bmp_colours(raw, stored[..., 0], header),
            lambda: stored[..., 0],
        )
        # At once to the final size: a photo's floats would take twelve bytes a pixel.
        pixels = tf.cond(
            is_deep & decoded,
            lambda: self._resized(tf.bitcast(stored, tf.uint16), 65535.0),
            lambda: self._resized(eight, 255.0),
        )
        fault = tf.cond(
            decoded,
            lambda: tf.constant(""),
            lambda: image_header.corrupt(header["format"]),
        )
        return pixels, fault

    def _resized(self, pixels, most):
        """(height, width, 1 to 4) integers -> (..., ..., 1 or 3) floats in [0, 1]."""
        pixels.set_shape((None, None, None))
        pixels = self._cropped(pixels)
        return tf.cond(
            tf.shape(pixels)[2] % 2 == 0,
            lambda: self._scaled(_over_white(pixels, most), most),
            lambda: self._scaled(pixels, most),
        )

    def _framed(self, pixels):
        """(height, width, 1 or 3) -> (size, size, 3); grey becomes R = G = B."""
        shape = tf.concat([tf.shape(pixels)[:2], [3]], 0)
        pixels = tf.broadcast_to(pixels, shape)
        if self.resize == "fit":
            pixels = _padded(pixels, self.size)
        return tf.ensure_shape(pixels, (self.size, self.size, 3))

    def _cropped(self, pixels):
        return _central_square(pixels) if self.resize == "fill" else pixels

    def _scaled(self, pixels, most):
        """Numbers in [0, most] -> floats in [0, 1] with the sides of the result."""
        sides = (self.size, self.size)
        if self.resize == "fit":
            sides = tf.shape(pixels)[:2]
            # In integers, rounded half up, at least one pixel.
            longest = tf.reduce_max(sides)
            sides = tf.maximum(1, (2 * sides * self.size + longest) // (2 * longest))
        pixels = antialiased(pixels, sides)
        # Not a division: graph optimisers turn one by a constant into this product, in
        # some contexts and not in others, and training and serving would differ. The
        # filter's weights are positive: rounding may lead over 1, nothing below 0.
        return tf.minimum(pixels * (1.0 / most), 1.0)


def antialiased(pixels, sides):
    """`tf.image.resize` with antialiasing, to the same bits in a quarter of the time.

    Its sums run over channels, and three make short loops. So all that stands in a row
    goes as channels of one column, and then, turned, all that stands in a column.

    Args:
        pixels: (height, width, channels) numbers.
        sides: height and width of the result.

    Returns:
        (*sides, channels) float32 in the range of `pixels`.
    """
    height, width, channels = tf.unstack(tf.shape(pixels))
    new_height, new_width = tf.unstack(tf.convert_to_tensor(sides))

    def along_first(columns, length):
        size = tf.stack([length, 1])
        return tf.image.resize(columns[:, tf.newaxis], size, antialias=True)[:, 0]

    rows = along_first(tf.reshape(pixels, (height, width * channels)), new_height)
    turned = tf.transpose(tf.reshape(rows, (new_height, width, channels)), (1, 0, 2))
    columns = tf.reshape(turned, (width, new_height * channels))
    columns = along_first(columns, new_width)
    columns = tf.reshape(columns, (new_width, new_height, channels))
    return tf.transpose(columns, (1, 0, 2))


def _central_square(pixels):
    height, width = tf.shape(pixels)[0], tf.shape(pixels)[1]
    side = tf.minimum(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]


def _over_white(pixels, most):
    """(height, width, colours + alpha) -> the same colours over white, float32."""
    pixels = tf.cast(pixels, tf.float32)
    alpha = pixels[..., -1:] * (1.0 / most)
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
