"""What a fusion reads: weights of the very pass that answers, and nothing unseen."""

import functools

import keras
import numpy as np
import pytest

from mmkeras import explain
from mmkeras.explain import attention, places
from mmkeras.explain.opened import Opened

INPUTS = {
    "text": {"kind": "text", "length": 6},
    "photo": {"kind": "image", "size": 16},
    "sound": {"kind": "audio", "rate_hz": 8000, "clip_seconds": 0.4},
}
BRANCHES = {"sound": {"units": 16}, "photo": {"filters": 4, "units": 16}}
KINDS = {name: one["kind"] for name, one in INPUTS.items()}
TOKENS = ("attention", "cross_attention", "bottleneck")


@pytest.fixture(scope="module")
def ask(untrained, png, wav, tmp_path_factory):
    """Function (fusion, **changed bytes) -> the opened network, its run."""
    folder = tmp_path_factory.mktemp("runs")
    made = functools.cache(
        lambda kind: untrained(folder, INPUTS, BRANCHES, fusion=kind)
    )

    def asked(kind, **changed):
        columns = {"text": [b"one seven one"], "photo_bytes": [png(16)]}
        columns |= {"sound_bytes": [wav()], **changed}
        given, error = explain._decoded(made(kind), columns)
        assert not error
        return Opened(made(kind).model, given), made(kind)

    return asked


def read(one, run):
    found = attention.of_fusion(one, run.decoders, KINDS)
    assert found["read"][:3] == list(INPUTS)
    return found["readings"]


@pytest.mark.parametrize("kind", ["weighted", "gated", *TOKENS])
def test_each_row_of_weights_adds_up_to_one(ask, kind):
    readings = read(*ask(kind))
    for one in readings:
        assert sum(one["inputs"].values()) == pytest.approx(1, abs=1e-5)
        assert min(one["inputs"].values()) >= 0
        if kind in TOKENS:
            np.testing.assert_allclose(one["scores"].sum(axis=1), 1, atol=1e-5)
            assert one["scores"].shape == (len(one["asking"]), len(one["tokens"]))
            total = sum(token["weight"] for token in one["tokens"])
            assert total == pytest.approx(1, abs=1e-5)
    who = [one["who"] for one in readings]
    inputs = list(INPUTS)
    expected = {
        "weighted": ["fused vector"],
        "gated": ["fused vector"],
        "attention": ["8 queries"],
        "cross_attention": inputs,
        # Nothing reads the latents after the second round.
        "bottleneck": [*inputs, "4 latents", *inputs],
    }
    assert who == expected[kind]


def test_the_weights_are_those_of_the_layer_called_by_hand(ask):
    one, run = ask("attention")
    (found,) = read(one, run)
    corridors, _ = one.fused()
    fuse = one.layer("fusion")
    tokens, mask = fuse.all_tokens(corridors)
    _, scores = fuse.attend(
        fuse.queries[None],
        tokens,
        attention_mask=mask[:, None, :],
        return_attention_scores=True,
    )
    scores, seen = np.asarray(scores[0]).mean(axis=0), np.asarray(mask[0])
    np.testing.assert_allclose(found["scores"], scores[:, seen], atol=1e-6)
    assert np.all(scores[:, ~seen] == 0), "padding"
    start = corridors["photo"]["mask"].shape[1]
    share = scores[:, start:][:, : corridors["sound"]["mask"].shape[1]].sum(axis=1)
    assert found["inputs"]["sound"] == pytest.approx(share.mean(), abs=1e-6)


def test_who_asks_whom_is_told_right(ask):
    one, run = ask("cross_attention")
    found = {each["who"]: each for each in read(one, run)}
    fuse = one.layer("fusion")
    corridors, _ = one.fused()
    block = fuse.blocks["text_0"]
    streams = {
        name: projection(corridors[name]["tokens"])
        for name, projection in fuse.projections.items()
    }
    marks = dict(zip(streams, np.asarray(fuse.marks), strict=True))
    others = [name for name in fuse.projections if name != "text"]
    context = keras.ops.concatenate(
        [streams[name] + marks[name] for name in others], axis=1
    )
    mask = keras.ops.concatenate([corridors[name]["mask"] for name in others], axis=1)
    _, scores = block.attend(
        block.norm(streams["text"]),
        block.norm(context),
        attention_mask=mask[:, None, :],
        return_attention_scores=True,
    )
    rows, columns = (np.asarray(m[0]) for m in (corridors["text"]["mask"], mask))
    by_hand = np.asarray(scores[0]).mean(axis=0)[rows][:, columns]
    np.testing.assert_allclose(found["text"]["scores"], by_hand, atol=1e-6)
    assert list(found["text"]["inputs"]) == others
    assert found["text"]["asking"] == ["one", "seven", "one"]


def test_latents_are_the_mean_of_what_they_hear(ask):
    one, run = ask("bottleneck")
    latents = next(each for each in read(one, run) if each["who"] == "4 latents")
    readers = [reader for reader in one.layer("fusion").readers() if reader.turn == 0]
    corridors, scores = one.fused([reader.attend for reader in readers])
    for reader, heads in zip(readers, scores, strict=True):
        own = heads.mean(axis=0)[-4:, :-4].sum(axis=1).mean()
        name = reader.asked[0]
        assert latents["inputs"][name] == pytest.approx(own / 3, abs=1e-6)


def test_gates_are_those_of_the_layer(ask):
    one, run = ask("gated")
    fuse = one.layer("fusion")
    fuse.gate.kernel.assign(
        np.random.default_rng(0).normal(size=fuse.gate.kernel.shape)
    )
    corridors, _ = one.fused()
    expected = {name: float(gate[0]) for name, gate in fuse.gates(corridors).items()}
    (found,) = read(one, run)
    assert found["inputs"] == expected and len(set(expected.values())) == 3


@pytest.mark.parametrize("kind", TOKENS)
def test_of_what_is_missing_only_its_learned_token_is_read(ask, kind):
    for one in read(*ask(kind, sound_bytes=[b""])):
        labels = [each["token"] for each in one["tokens"] if each["input"] == "sound"]
        assert labels == ["missing"] * bool(labels)
        assert one["who"] != "sound" or one["asking"] == ["missing"]
        assert "missing" not in [
            each["token"] for each in one["tokens"] if each["input"] != "sound"
        ]


@pytest.mark.parametrize("kind", ["concat", "low_rank", "late"])
def test_fusions_without_weights_say_nothing(ask, kind):
    one, run = ask(kind)
    assert attention.of_fusion(one, run.decoders, KINDS) is None


def test_tokens_are_called_what_they_stand_for(ask):
    (found,) = read(*ask("attention"))
    labels = {name: [] for name in INPUTS}
    for token in found["tokens"]:
        labels[token["input"]].append(token["token"])
    assert labels["text"] == ["one", "seven", "one"]
    # 16 pixels, three blocks: 2 x 2 places, from the top left.
    assert labels["photo"] == ["1,1", "1,2", "2,1", "2,2"]
    # 0.25 s of 0.4 s; three convolutions halve frames of 10 ms.
    assert labels["sound"] == ["0.00 s", "0.08 s", "0.16 s", "0.24 s"]


def test_what_cannot_be_told_is_numbered(ask):
    one, run = ask("attention")
    for name, kind in KINDS.items():
        told = places.PLACES[kind](one, run.decoders[name], 7)
        assert told == [f"#{at}" for at in range(1, 8)]
    grid = places.PLACES["image"](one, run.decoders["photo"], 5)
    assert grid == ["class", "1,1", "1,2", "2,1", "2,2"]


@pytest.fixture(scope="module")
def written(ask, png, wav):
    """(an explanation, its page, its picture)."""
    _, run = ask("cross_attention")
    columns = {"text": [b"a <b>"], "photo_bytes": [png(16)], "sound_bytes": [wav()]}
    found = explain.raw(run, columns)
    return found, *explain.write(run, found)


def test_the_page_in_a_browser(written, look):
    seen = look(written[1], 390, dark=True)
    assert seen["faults"] == [] and all(seen["pictures"])
    # Twice what is read of the photo, all tokens, the photo twice, the sound.
    assert len(seen["pictures"]) == 2 + 1 + 2 + 1
    assert seen["seconds"] == [pytest.approx(0.25, abs=0.01)]
    assert seen["window"] == 390 and seen["wide"] <= 390
    assert seen["paper"] == "rgb(20, 25, 31)"


def test_the_page_and_the_picture_show_it(written):
    found, page, picture = written
    text = page.read_text(encoding="utf-8")
    assert text.count("What the fusion reads") == 1
    (reading,) = [one for one in found.fusion[0]["readings"] if one["who"] == "text"]
    assert "<td style" in text and f"{100 * reading['inputs']['photo']:.1f} %" in text
    assert text.count("photo as ") == 2 * 2, "an alt and a caption each who asks it"
    assert picture.is_file()
    plain = found.numbers()["fusion"][0]["readings"][0]
    assert "scores" not in plain and {"who", "inputs", "tokens"} <= set(plain)
