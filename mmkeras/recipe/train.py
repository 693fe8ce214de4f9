"""The section `train`: how the model is fitted."""

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from mmkeras.families import (
    Fraction,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)
from mmkeras.recipe.section import Section

_ADDRESS = r"grpc://([^\s:/\[\]]+|\[[0-9A-Fa-f:]+\]):\d{1,5}"


def _rows(value):
    whole = isinstance(value, int) and not isinstance(value, bool)
    if value != "auto" and not (whole and value > 0):
        raise ValueError("expected a count of rows from 1, or auto")
    return value


def address(value):
    """`value`, which must be the address of a dispatcher or None.

    Raises:
        ValueError: it is neither.
    """
    if value is not None and not re.fullmatch(_ADDRESS, str(value)):
        raise ValueError("expected the address of a dispatcher, grpc://HOST:PORT")
    return value


_Rows = Annotated[PositiveInt | Literal["auto"], BeforeValidator(_rows)]


class Train(Section):
    """How the model is fitted."""

    epochs: PositiveInt = Field(12, description="most epochs")
    batch_size: _Rows = Field(
        32,
        description="rows a step, of all devices together, see batch_size_per; auto: "
        "the largest power of two that fits into memory_limit_gb",
    )
    memory_limit_gb: PositiveFloat | None = Field(
        None,
        description="with batch_size: auto, the most that training may hold, in "
        "gigabytes of 2^30 bytes",
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
    soup: NonNegativeInt = Field(
        0,
        description="last epochs, the mean of whose weights is saved where its "
        "validation loss is lower than the best epoch's; 0: none",
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
    oversample: Literal["none", "balanced"] = Field(
        "none",
        description="balanced: rows of rare classes come more often, so that an epoch "
        "has as many rows of each class as of the commonest",
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
    data_service: Annotated[str | None, BeforeValidator(address)] = Field(
        None,
        description="grpc://HOST:PORT of a dispatcher whose workers read and change "
        "the rows, see `mmkeras data-worker`; none: this process does",
    )
    profile_steps: tuple[PositiveInt, PositiveInt] | None = Field(
        None,
        description="first and last step that TensorBoard's profiler watches, counted "
        "from the begin of the fit; written into the run's logs",
    )
    trackers: tuple[Literal["mlflow", "wandb"], ...] = Field(
        (),
        description="who else is told of settings, epochs and scores; each needs the "
        "extra of its name",
    )
    baselines: bool = Field(
        True, description="also train each modality alone, for comparison"
    )

    def conflicts(self):
        """Sentences on keys that do not go together."""
        found, group = self._sizes(), self.steps_per_execution
        if self.momentum and self.optimizer not in ("sgd", "rmsprop"):
            found.append(
                f"train.momentum: {self.momentum:g} is of sgd and rmsprop; "
                f"{self.optimizer} takes none: drop it"
            )
        if self.soup == 1:
            found.append(
                "train.soup: 1 epoch has no mean: give the count of last epochs, 2 or "
                "more, or 0 for none"
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
        return found + self._service()

    def _service(self):
        """Sentences on keys that do not go with a data service."""
        told = f"train.data_service: {self.data_service} feeds one process, and "
        if self.data_service and self.strategy in ("multiworker", "tpu"):
            return [
                f"{told}train.strategy: {self.strategy} was not tried with it: drop one"
            ]
        if self.data_service and self.batch_size == "auto":
            return [
                f"{told}train.batch_size: auto measures in processes of its own: give "
                "a number"
            ]
        return []

    def _sizes(self):
        """Sentences on keys that do not go with a batch size."""
        limit, auto = self.memory_limit_gb, self.batch_size == "auto"
        if not auto and limit:
            return [
                f"train.memory_limit_gb: {limit:g} is of train.batch_size: auto, and "
                f"that is {self.batch_size}: drop one"
            ]
        found = []
        if auto and not limit:
            found.append(
                "train.batch_size: auto fits steps into a budget: set "
                "train.memory_limit_gb too, gigabytes that training may hold, as 4"
            )
        if auto and self.strategy == "multiworker":
            found.append(
                "train.batch_size: auto is measured by one process, and "
                "train.strategy: multiworker has several: give a number"
            )
        if auto and self.steps_per_execution > 1:
            found.append(
                "train.batch_size: auto may leave an epoch whose steps "
                f"train.steps_per_execution, {self.steps_per_execution}, does not "
                "divide: give a number"
            )
        return found
