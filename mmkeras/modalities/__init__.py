"""Bytes or strings -> tensors, in the graph: the same code trains and serves.

Every decoder has `name`, `is_file`, `signatures` (the served strings that it takes),
`specs`, `geometry`, `resources`, `packages`, `decode`, `attempt` and `attempt_batch`,
those which learn something of the train split `learn`, `save` and `load`, and those
which find fault with strings that are no files `faults`; to add a modality, write a
class with these and one line below. Raw strings are (batch,), or (batch, columns) where
a decoder takes several; its faults have the same shape.
"""

import functools

from mmkeras.modalities import compressed
from mmkeras.modalities.audio import Audio
from mmkeras.modalities.hub import HubTexts
from mmkeras.modalities.image import Image
from mmkeras.modalities.subwords import Subwords
from mmkeras.modalities.tabular import Tabular
from mmkeras.modalities.text import Text

MODALITIES = {"text": Text, "image": Image, "audio": Audio, "tabular": Tabular}

# What a text branch reads where that is not words of the train split.
READERS = {
    "chars": lambda branch: functools.partial(Text, by="characters"),
    "vectors": lambda branch: functools.partial(Text, vectors_file=branch["file"]),
    "kerashub": lambda branch: functools.partial(Subwords, preset=branch["preset"]),
    "hub": lambda branch: functools.partial(
        HubTexts, preprocessor=branch["preprocessor"]
    ),
}


def make(inputs, branches, *, portable=False):
    """The decoder of every input.

    Args:
        inputs: the resolved `data.inputs` of a recipe, {column: {kind, options}}.
        branches: its resolved `branches`, {column: {kind, options}}.
        portable: read files by TensorFlow's operations alone, as another process can.

    Returns:
        {input: decoder}.
    """
    made = {}
    for name, choice in inputs.items():
        options = {key: value for key, value in choice.items() if key != "kind"}
        owner = branches[name].get("same_as", name)
        decoder, branch = MODALITIES[choice["kind"]], branches[owner]
        if choice["kind"] == "text" and branch["kind"] in READERS:
            decoder = READERS[branch["kind"]](branch)
        made[name] = decoder(name, **options)
        if portable and hasattr(made[name], "unpacked"):
            made[name].unpacked = compressed.portable
    return made


def learn(decoders, branches, cells):
    """Lets decoders learn of the train split; texts that share a branch, together.

    A word then has one id in all of them, as the branch has one vector for it.

    Args:
        decoders: {input: decoder}, of those that learn.
        branches: the resolved `branches` of a recipe.
        cells: function input -> its cells of the train split.
    """
    for name, decoder in decoders.items():
        owner = branches[name].get("same_as", name)
        sharing = [each for each in decoders if branches[each].get("same_as") == owner]
        if not (sharing and isinstance(decoder, Text)):
            decoder.learn(cells(name))
        elif owner == name:
            counts = [decoders[each].count(cells(each)) for each in sharing]
            decoder.learn(cells(name), counts)
            for each in sharing:
                decoders[each].vocabulary = decoder.vocabulary
