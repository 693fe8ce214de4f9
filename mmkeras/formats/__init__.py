"""A run in other formats: a plain `.keras`, ONNX, LiteRT, OpenVINO.

They take what the decoders give, as `serve_tensors` of the SavedModel does (pixels,
samples, word ids), and give its numbers: strings and the bytes of files are
TensorFlow's alone. Each is made, loaded and asked real rows in a process of its own,
and compared with the trained model, or refused with the reason.

Files: `graph` the network as a function that holds its weights, one file for each
format, `making` one format from run to figures, `writing` the folder `formats`.
"""

from mmkeras.formats.writing import FORMATS, FormatError, check, write

__all__ = ["FORMATS", "FormatError", "check", "write"]
