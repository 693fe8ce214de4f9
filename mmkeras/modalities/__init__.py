"""Bytes or strings -> tensors, in the graph: the same code trains and serves.

Every decoder has `name`, `is_file`, `signature`, `specs`, `geometry`, `resources`,
`decode`, `attempt` and `attempt_batch`; to add a modality, write a class with these
and one line below.
"""

from mmkeras.modalities.audio import Audio
from mmkeras.modalities.image import Image
from mmkeras.modalities.text import Text

MODALITIES = {"text": Text, "image": Image, "audio": Audio}


def make(inputs):
    """The decoder of every input.

    Args:
        inputs: the resolved `data.inputs` of a recipe, {column: {kind, options}}.

    Returns:
        {column: decoder}.
    """
    made = {}
    for name, choice in inputs.items():
        options = {key: value for key, value in choice.items() if key != "kind"}
        made[name] = MODALITIES[choice["kind"]](name, **options)
    return made
