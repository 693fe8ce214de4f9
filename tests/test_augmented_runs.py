"""What `augment` changes of a run: its train rows, and nothing else."""

import numpy as np
import pytest
import tensorflow as tf

from mmkeras import branches, config, dataset, modalities, model, tasks, train
from mmkeras.config import RecipeError
from mmkeras.train import keeping
from tests.conftest import tiny


@pytest.fixture(scope="module")
def few(rows):
    return rows.head(32)


ALL = [
    "augment.mixup=0.4",
    "augment.audio_time_mask=0.2",
    "augment.audio_frequency_mask=0.2",
    "augment.audio_shift=0.1",
    "augment.image_randaugment=1",
    "augment.word_swap=0.1",
    "train.baselines=false",
    "train.batch_size=8",
]


@pytest.mark.nightly
def test_a_fit_is_repeated_and_goes_on_bit_for_bit(digits_csv, few, tmp_path):
    recipe = tiny(digits_csv, *ALL, "train.epochs=2", "train.checkpoint_steps=1")
    silent = lambda _: None  # noqa: E731
    whole = train.fit(recipe, few, folder=tmp_path / "whole", log=silent)

    def stop(self, epoch, step):
        kept(self, epoch, step)
        if (epoch, step) == (1, 1):
            raise KeyboardInterrupt

    kept = keeping.Keeper._keep
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keeping.Keeper, "_keep", stop)
        with pytest.raises(KeyboardInterrupt):
            train.fit(recipe, few, folder=tmp_path / "cut", log=silent)
    again = train.fit(recipe, few, folder=tmp_path / "cut", log=silent, resume=True)
    pairs = zip(whole.model.weights, again.model.weights, strict=True)
    for one, other in pairs:
        if one.name != "seed_generator_state":
            np.testing.assert_array_equal(one, other, err_msg=one.path)
    history = [run.history_csv.read_text() for run in (whole, again)]
    assert history[0] == history[1]
    # The rows that judge, and the served graph, are as they were.
    prepared = train.prepare(recipe, few, log=silent)
    plain = train.prepare(tiny(digits_csv), few, log=silent)
    for key, array in prepared.rows["valid"].arrays.items():
        np.testing.assert_array_equal(array, plain.rows["valid"].arrays[key])
    held = next(
        iter(dataset.labelled(prepared.rows["valid"], prepared.taught("valid"), 8))
    )
    told = [whole.model(held[0], training=False)["label"] for _ in range(2)]
    np.testing.assert_array_equal(*told)
    served = tf.function(lambda given: whole.model(given, training=False))
    graph = served.get_concrete_function(held[0]).graph.as_graph_def()
    names = {node.op for node in graph.node} | {
        node.op for each in graph.library.function for node in each.node_def
    }
    assert not [name for name in names if "Random" in name or "Stateless" in name]


def test_masks_of_a_spectrum_are_in_the_branch_and_only_in_training(digits_csv, rng):
    def masks(*overrides):
        recipe = tiny(digits_csv, *overrides)
        decoders = modalities.make(recipe.data.inputs, recipe.branches)
        made = tasks.make(recipe.data.targets, {"label": ["a", "b"]})
        network = model.build(recipe, {"audio": decoders["audio"]}, made)
        layers = network._flatten_layers()
        return [each for each in layers if type(each).__name__ == "SpecMask"]

    assert masks() == []
    (layer,) = masks("augment.audio_time_mask=0.2", "augment.audio_frequency_mask=0.4")
    assert (layer.time, layer.frequency) == (0.2, 0.4)

    wave = rng.normal(0, 0.1, (8, 2400)).astype("float32")
    given = {
        "it": wave,
        "it_samples": np.full(8, 2400, "int32"),
        "it_present": np.ones(8, bool),
    }
    for kind in ("cnn", "gru", "conformer"):
        sizes = {"rate_hz": 8000, "clip_samples": 2400, "units": 8, "dropout": 0.0}
        branch = branches.BRANCHES["audio"][kind]("it", (0.2, 0.4), **sizes)
        tokens = [branch(given, training=each)["tokens"] for each in (False, True)]
        plain = branches.BRANCHES["audio"][kind]("it", **sizes)
        for one, other in zip(
            plain.trainable_weights, branch.trainable_weights, strict=True
        ):
            one.assign(other)
        np.testing.assert_array_equal(tokens[0], plain(given)["tokens"])
        np.testing.assert_array_equal(plain(given, training=True)["tokens"], tokens[0])
        assert np.abs(tokens[1] - tokens[0]).max() > 1e-3


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"augment": {"mixup": 0.2}},
            "augment.mixup: half of one word and half of anot",
        ),
        (
            {"augment": {"image_flip": True}},
            "augment.image_flip: True, but no input is of kind image",
        ),
        (
            {"augment": {"audio_snr_db": 0}},
            "augment.audio_snr_db: 0, but no input is of kind audio",
        ),
        (
            {"augment": {"image_randaugment_magnitude": 0.5}},
            "no changes are drawn: set image_randaugment, as 2, too",
        ),
        ({"augment": {"image_hue": 0.7}}, "less than or equal to 0.5, got 0.7"),
    ],
)
def test_what_cannot_be_is_refused(change, expected):
    data = {
        "manifest": "a.csv",
        "inputs": {"words": "text"},
        "targets": {"y": "classification"},
    }
    with pytest.raises(RecipeError) as told:
        config.parse({"name": "n", "data": data, **change})
    assert expected in str(told.value)


def test_identities_and_backbones_are_refused():
    data = {
        "manifest": "a.csv",
        "inputs": {"voice": "audio"},
        "targets": {"who": "verification"},
    }
    tree = {"name": "n", "data": data, "branches": {"voice": "kerashub"}}
    with pytest.raises(RecipeError) as told:
        config.parse(tree | {"augment": {"mixup": 0.2, "audio_time_mask": 0.1}})
    assert "a mix of two identities is none: set it to 0" in str(told.value)
    assert "`voice` is a pretrained backbone that makes its own spectrogram" in str(
        told.value
    )
