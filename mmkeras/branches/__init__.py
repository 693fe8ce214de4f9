"""One modality -> corridor: {"tokens": (batch, steps, dim), "mask": (batch, steps)}."""

from mmkeras.branches.audio import AUDIO
from mmkeras.branches.image import IMAGE
from mmkeras.branches.tabular import TABULAR
from mmkeras.branches.text import TEXT

BRANCHES = {"text": TEXT, "image": IMAGE, "audio": AUDIO, "tabular": TABULAR}
