"""The sections of a recipe and their keys, each with its rule, default and meaning."""

import re
from typing import Annotated, Literal

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from mmkeras.families import (
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)


def _long(choice):
    """`lstm` -> `{kind: lstm}`."""
    return {"kind": choice} if isinstance(choice, str) else choice


# A member of a family: its kind, or a mapping of its kind and options.
Choice = Annotated[
    dict,
    BeforeValidator(_long),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}]}),
]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Data(_Section):
    """Where the rows are, and which column holds what."""

    manifest: str = Field(
        description="path of the CSV or Parquet file, from where the command runs"
    )
    inputs: dict[str, Choice] = Field(
        description="column -> modality (text, image, audio, tabular) and how it is "
        "decoded; an input that lists columns reads those instead",
    )
    targets: dict[str, Choice] = Field(description="column -> task")
    id: str = Field("id", description="column that names a row; line number without it")
    split: str = Field("split", description="column of train, valid, test")
    shares: tuple[Fraction, Fraction, Fraction] = Field(
        (0.8, 0.1, 0.1),
        description="train, valid, test shares where there is no split column",
    )
    group: str | None = Field(
        None,
        description="column of speaker, patient, dialogue: all its rows come into one "
        "split where splits are drawn",
    )
    clean: tuple[Literal["empty", "duplicates"], ...] = Field(
        (),
        description="rows left out: those that lack an input, those that are there "
        "already",
    )
    weight: str | None = Field(
        None,
        description="column of what a train row counts in the loss, 0 or more; 1 where "
        "empty",
    )
    separator: str = Field(",", description="of cells, one character")
    encoding: str = Field("utf-8", description="of the CSV; a BOM is skipped")
    on_bad_row: Literal["drop", "refuse"] = Field(
        "drop", description="train without the bad rows, counted, or not at all"
    )
    cache_mb: NonNegativeInt = Field(
        2048,
        description="megabytes that decoded rows may take in memory; above it they "
        "are decoded anew each epoch",
    )
    open_first: bool = Field(
        True,
        description="open every file before training; false: not where decoded rows do "
        "not fit in memory, and a bad file stops the run that comes to it",
    )
    features_mb: NonNegativeInt = Field(
        4096,
        description="megabytes of disk for what frozen backbones give, computed once "
        "a file; 0: nothing is kept, the backbones run in every step",
    )

    @pydantic.field_validator("group")
    @classmethod
    def _no_target(cls, value, info):
        if value in info.data.get("targets", ()):
            raise ValueError("a target: each of its labels would be in one split only")
        return value

    @pydantic.field_validator("separator")
    @classmethod
    def _one_character(cls, value):
        if len(value) != 1 or value in '"\r\n':
            raise ValueError('expected one character, as ";" or "\\t"')
        return value

    @pydantic.field_validator("shares")
    @classmethod
    def _whole(cls, value):
        if abs(sum(value) - 1) > 1e-6:
            raise ValueError(f"the three shares must add up to 1, not {sum(value):g}")
        return value


class Augment(_Section, frozen=True):
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


class Train(_Section):
    """How the model is fitted."""

    epochs: PositiveInt = Field(12, description="most epochs")
    batch_size: PositiveInt = Field(
        32, description="rows a step, of all devices together; see batch_size_per"
    )
    batch_size_per: Literal["step", "replica"] = Field(
        "step",
        description="what batch_size counts: the rows of a step, or of each device in "
        "it, so that more devices make larger steps",
    )
    strategy: Literal["auto", "one", "mirrored", "multiworker", "tpu"] = Field(
        "auto",
        description="devices: one; mirrored: all GPUs of a machine; multiworker: all "
        "processes of TF_CONFIG; tpu; auto: whichever is there",
    )
    optimizer: Literal[
        "adam",
        "adamw",
        "sgd",
        "rmsprop",
        "nadam",
        "adamax",
        "lamb",
        "lion",
        "adafactor",
        "adagrad",
        "adadelta",
        "ftrl",
    ] = "adam"
    learning_rate: PositiveFloat = 0.001
    schedule: Literal["constant", "cosine"] = Field(
        "constant", description="cosine: falls to zero over all epochs"
    )
    momentum: Fraction = Field(0.0, description="of sgd and rmsprop")
    weight_decay: PositiveFloat | None = Field(
        None,
        description="share of a weight, times the rate, taken away each step; what the "
        "optimizer has by default where not given",
    )
    plateau: NonNegativeInt = Field(
        0,
        description="epochs without a better validation loss after which the learning "
        "rate is halved; 0: never",
    )
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = Field(
        "float32",
        description="mixed: layers compute in half precision, weights, spectrograms "
        "and heads stay float32; with float16 the loss is scaled",
    )
    accumulation_steps: PositiveInt = Field(
        1, description="steps whose mean gradient makes one update"
    )
    ema_momentum: Fraction | None = Field(
        None,
        gt=0,
        description="the moving average of the weights is validated and saved in their "
        "place; share of the old average kept in each step",
    )
    steps_per_execution: PositiveInt = Field(
        1, description="steps that TensorFlow makes in one call"
    )
    patience: NonNegativeInt = Field(
        5, description="epochs without a better validation loss before the end; 0: all"
    )
    seed: NonNegativeInt = Field(
        0, lt=2**31, description="of splits, weights, order and augmentation"
    )
    learning_rates: dict[str, PositiveFloat] = Field(
        default_factory=dict,
        description="input -> what the learning rate is multiplied with for its "
        "branch; for the backbone alone where it is pretrained",
    )
    loss_weights: Literal["uncertainty"] | dict[str, PositiveFloat] = Field(
        default_factory=dict,
        description="target -> what its loss is multiplied with, 1 where not named; "
        "`uncertainty`: learned with the model",
    )
    class_weight: Literal["none", "balanced"] = Field(
        "none",
        description="balanced: all classes count the same together, however many train "
        "rows they have",
    )
    frozen_epochs: NonNegativeInt = Field(
        0,
        description="first epochs in which pretrained backbones stay frozen that are "
        "trained thereafter",
    )
    balance: Literal["none", "blending"] = Field(
        "none",
        description="blending: a head of its own for each input while training, their "
        "losses weighed by how well each still generalises",
    )
    jit_compile: bool = Field(False, description="compile the step with XLA")
    deterministic: bool = Field(
        False,
        description="only operations that give the same bits each time, on a GPU too; "
        "slower, and one that cannot is an error",
    )
    checkpoint_steps: NonNegativeInt = Field(
        0,
        description="steps between checkpoints inside an epoch; 0: only at its end",
    )
    clip_norm: PositiveFloat | None = Field(
        None, description="gradients longer than this, all together, are cut to it"
    )
    warmup_epochs: NonNegativeInt = Field(
        0, description="first epochs in which the learning rate rises from zero"
    )
    max_steps: PositiveInt | None = Field(
        None, description="steps after which a fit ends, whatever the epoch"
    )
    time_limit_minutes: PositiveFloat | None = Field(
        None,
        description="minutes after which a fit ends, those before --resume included; "
        "the baselines have as many each",
    )
    profile_steps: tuple[PositiveInt, PositiveInt] | None = Field(
        None,
        description="first and last step that TensorBoard's profiler watches, counted "
        "from the begin of the fit; written into the run's logs",
    )
    baselines: bool = Field(
        True, description="also train each modality alone, for comparison"
    )

    def conflicts(self):
        """Sentences on keys that do not go together."""
        found, group = [], self.steps_per_execution
        if self.momentum and self.optimizer not in ("sgd", "rmsprop"):
            found.append(
                f"train.momentum: {self.momentum:g} is of sgd and rmsprop; "
                f"{self.optimizer} takes none: drop it"
            )
        if self.plateau and (self.schedule != "constant" or self.warmup_epochs):
            found.append(
                "train.plateau: the rate follows train.schedule or train.warmup_epochs "
                "already: drop one"
            )
        for name in ("checkpoint_steps", "max_steps"):
            if (getattr(self, name) or 0) % group:
                found.append(
                    f"train.{name}: {getattr(self, name)} is no multiple of "
                    f"train.steps_per_execution, {group}, between which nothing is "
                    "seen: make it one"
                )
        if self.profile_steps and self.profile_steps[0] > self.profile_steps[1]:
            found.append(
                f"train.profile_steps: the first step, {self.profile_steps[0]}, comes "
                f"after the last, {self.profile_steps[1]}"
            )
        return found


class Recipe(_Section):
    """One system from manifest to model."""

    schema_: Literal[1] = Field(
        1, alias="schema", description="of the recipe itself: which keys it may have"
    )
    name: str = Field(description="of the run's folder, unless --run says another")
    data: Data = Field(description="where the rows are; see below")
    branches: dict[str, Choice] = Field(
        default_factory=dict, description="input -> branch and its options"
    )
    fusion: Choice = Field(
        default_factory=dict, description="how the branches are brought together"
    )
    augment: Augment = Field(
        default_factory=Augment, description="random changes of train rows; see below"
    )
    train: Train = Field(default_factory=Train, description="the fit; see below")

    @pydantic.field_validator("name")
    @classmethod
    def _folder(cls, value):
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", value):
            raise ValueError("expected ASCII letters, digits, `_`, `.` and `-`")
        return value
