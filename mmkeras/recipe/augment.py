"""The section `augment`, and what of it does not fit a recipe's inputs."""

import pydantic
from pydantic import Field

from mmkeras.families import (
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
)
from mmkeras.recipe.section import Section


class Augment(Section, frozen=True):
    """Random changes of training rows, seeded by (seed, epoch, row)."""

    modality_dropout: Fraction = Field(
        0.0, description="chance that a present modality of a row is hidden"
    )
    image_shift: Fraction = Field(
        0.0, description="largest shift of a picture, as a share of its size"
    )
    image_rotation_degrees: NonNegativeFloat = Field(
        0.0, le=180, description="largest turn of a picture, either way, degrees"
    )
    image_zoom: Fraction = Field(
        0.0, description="a picture is enlarged or made smaller by up to this share"
    )
    image_flip: bool = Field(False, description="half of the pictures are mirrored")
    image_crop: Fraction = Field(
        0.0,
        description="a random part becomes the whole; the part lacks up to this share "
        "of the area",
    )
    image_brightness: Fraction = Field(
        0.0, description="largest change of brightness, share of white"
    )
    image_contrast: Fraction = Field(
        0.0, description="differences from the mean grow or shrink by up to this share"
    )
    image_saturation: Fraction = Field(
        0.0, description="colours grow stronger or weaker by up to this share"
    )
    image_hue: Fraction = Field(
        0.0, le=0.5, description="largest turn on the circle of colours, in circles"
    )
    image_randaugment: NonNegativeInt = Field(
        0, description="RandAugment: changes drawn of fourteen for each picture"
    )
    image_randaugment_magnitude: Fraction = Field(
        0.3, description="how far they go, of the paper's range"
    )
    image_erase: Fraction = Field(
        0.0,
        description="a part of every other picture becomes noise, up to this share of "
        "its area",
    )
    audio_shift: Fraction = Field(
        0.0, description="largest shift of a sound in time, as a share of the clip"
    )
    audio_gain_db: NonNegativeFloat = Field(
        0.0, description="a sound is made louder or softer by up to so many dB"
    )
    audio_time_mask: Fraction = Field(
        0.0,
        description="SpecAugment: two stretches of a spectrogram are hidden, each up "
        "to this share of its frames",
    )
    audio_frequency_mask: Fraction = Field(
        0.0, description="the same across: up to this share of its bands"
    )
    audio_snr_db: float | None = Field(
        None,
        description="white noise is added at a signal-to-noise ratio drawn between so "
        "many dB and 30 more",
    )
    word_dropout: Fraction = Field(
        0.0, description="chance that a word becomes the unknown word"
    )
    word_swap: Fraction = Field(
        0.0, description="chance that two neighbouring words change places"
    )
    mixup: NonNegativeFloat = Field(
        0.0,
        description="alpha of the Beta distribution of the shares in which pictures, "
        "sounds, numbers and the answers of two rows are mixed",
    )

    @pydantic.field_validator("image_randaugment_magnitude")
    @classmethod
    def _of_something(cls, value, info):
        if value != 0.3 and not info.data.get("image_randaugment"):
            raise ValueError("no changes are drawn: set image_randaugment, as 2, too")
        return value


def augment_faults(inputs, targets, branches, chosen):
    """Faults of `augment` beside the rest of a recipe.

    Args:
        inputs: {input: its dict in `data.inputs`}.
        targets: {target: its dict in `data.targets`}.
        branches: {input: its choice in `branches`, as given}.
        chosen: the `augment` section as given.

    Returns:
        A list of sentences.
    """
    kinds = {choice.get("kind", "text") for choice in inputs.values()}
    off = Augment()
    faults = []
    for key, value in chosen.items():
        kind = {"word": "text"}.get(key.split("_")[0], key.split("_")[0])
        lacks = kind in ("text", "image", "audio") and kind not in kinds
        if lacks and getattr(off, key, value) != value:
            faults.append(f"augment.{key}: {value!r}, but no input is of kind {kind}")
    for key in ("audio_time_mask", "audio_frequency_mask"):
        for name, choice in branches.items() if chosen.get(key) else ():
            kind = choice if isinstance(choice, str) else choice.get("kind")
            if kind == "kerashub" and inputs.get(name, {}).get("kind") == "audio":
                faults.append(
                    f"augment.{key}: the branch of `{name}` is a pretrained backbone "
                    "that makes its own spectrogram. Set it to 0, or take another kind"
                )
    if chosen.get("mixup"):
        faults += _mixup_faults(kinds, targets)
    return faults


def _mixup_faults(kinds, targets):
    faults = []
    if kinds and not kinds & {"image", "audio", "tabular"}:
        faults.append(
            "augment.mixup: half of one word and half of another is no word. It mixes "
            "pictures, sounds and numbers, of which there is no input: set it to 0, or "
            "try augment.word_swap"
        )
    for name, choice in targets.items():
        if choice.get("kind") == "verification":
            faults.append(
                f"augment.mixup: `{name}` is verification, and a mix of two identities "
                "is none: set it to 0"
            )
    return faults
