import base64
import csv
import html.parser
import json
import re
import shutil
import struct

import numpy as np
import pytest
from sklearn import metrics as reference

from mmkeras import dataset, evaluate
from mmkeras.manifest import ManifestError
from mmkeras.run import open_folder, read_rows

KEYS = ["rows", "accuracy", "macro_f1", "log_loss", "per_class", "confusion"]
FIGURES = ["baselines.png", "confusion_label.png", "curves.png", "drops.png"]
FIGURES += ["reliability_label.png"]
KEYS += ["intervals", "resampling", "baselines", "gain", "subsets"]


@pytest.fixture
def copied(trained, tmp_path):
    """A copy of the shared run, to write into."""
    shutil.copytree(trained.folder, tmp_path / "run")
    return open_folder(tmp_path / "run")


@pytest.fixture(scope="module")
def outputs(trained, rows):
    """{model: probabilities of the test rows}, straight from Keras."""
    test = rows.split("test")
    loaded, _ = dataset.load(test, trained.decoders)
    models = {name: trained.baseline(name) for name in trained.decoders}
    found = {}
    for name, model in {**models, "fusion": trained.model}.items():
        batches = dataset.ordered(loaded.only(set(model.input)), len(test), 7)
        found[name] = model.predict(batches, verbose=0)["label"]
    return found


@pytest.fixture(scope="module")
def true(trained, rows):
    """Positions of the test rows' labels."""
    labels = trained.labels["label"]
    return [labels.index(label) for label in rows.split("test").frame["label"]]


class Constant:
    """A model that gives every row the same."""

    def __init__(self, value, classes=10):
        self.value, self.classes = value, classes
        self.input = {"text": None, "text_present": None}
        self.output, self.layers = {"label": None}, []

    def predict(self, batches, verbose):
        count = sum(len(next(iter(batch.values()))) for batch in batches)
        return {"label": np.full((count, self.classes), self.value)}

    def predict_on_batch(self, batch):
        return self.predict([batch], verbose=0)

    def count_params(self):
        return 0


def strict_json(path):
    """JSON as the standard has it: NaN and Infinity are errors."""

    def refuse(word):
        raise ValueError(f"{word} is not JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def test_metrics_have_their_keys(trained, rows):
    metrics = strict_json(trained.metrics_json)
    assert list(metrics) == ["valid", "test"]
    for split, judged in metrics.items():
        assert [key for key in judged if key in KEYS] == KEYS
        numbers = {key for key, value in judged.items() if isinstance(value, float)}
        assert set(judged["intervals"]) == numbers | {"per_class"}
        assert "roc_auc" in numbers
        for key, (low, high) in judged["intervals"]["per_class"].items():
            label, score = key.rsplit(".", 1)
            assert 0 <= low <= judged["per_class"][label][score] <= high <= 1
        assert judged["rows"] == len(rows.split(split))
        assert list(judged["baselines"]) == ["text", "image", "audio", "late_fusion"]
        for scores in judged["baselines"].values():
            assert list(scores)[:3] == ["accuracy", "macro_f1", "log_loss"]
            assert set(scores) == numbers | {"intervals"}
            assert list(scores["intervals"]) == ["accuracy"]


@pytest.mark.parametrize("name", ["text", "image", "audio", "late_fusion", "fusion"])
def test_numbers_are_those_of_scikit_learn(trained, outputs, true, name):
    """Late fusion is the mean of the probabilities of the single models."""
    judged = strict_json(trained.metrics_json)["test"]
    given = judged if name == "fusion" else judged["baselines"][name]
    singles = [outputs[single] for single in trained.decoders]
    shares = outputs.get(name, np.mean(singles, axis=0)).astype("float64")
    shares /= shares.sum(axis=1, keepdims=True)
    called = shares.argmax(axis=1)
    wanted = {
        "accuracy": reference.accuracy_score(true, called),
        "macro_f1": reference.f1_score(true, called, average="macro"),
        "log_loss": reference.log_loss(true, shares, labels=range(10)),
    }
    for key, value in wanted.items():
        assert given[key] == pytest.approx(value, abs=1e-6), key
    if name == "fusion":
        matrix = reference.confusion_matrix(true, called, labels=range(10))
        assert judged["confusion"] == matrix.tolist()
        counted = [one["rows"] for one in judged["per_class"].values()]
        assert counted == np.bincount(true, minlength=10).tolist()


def scored(fusion, late=0.5, **singles):
    baselines = {name: {"accuracy": value} for name, value in singles.items()}
    return {
        "accuracy": fusion,
        "baselines": {**baselines, "late_fusion": {"accuracy": late}},
    }


def test_verdict_on_a_gain():
    assert evaluate.verdict(scored(0.925, text=0.7, image=0.8)) == (
        "Fusion helped: 92.5 % against 80.0 % of image alone, +12.5 points."
    )


def test_verdict_without_a_gain_says_what_to_try():
    hint = "Try another fusion.kind, or augment.modality_dropout."
    worse = evaluate.verdict(scored(0.7, text=0.75, image=0.6))
    assert worse == (
        "Fusion did not help: 70.0 % against 75.0 % of text alone, -5.0 points. " + hint
    )
    same = evaluate.verdict(scored(0.75, text=0.75, image=0.6))
    assert same.startswith("Fusion did not help") and "+0.0 points" in same


def test_verdict_does_not_hide_that_the_mean_is_better():
    told = evaluate.verdict(scored(0.8, late=0.85, text=0.75))
    assert told == (
        "Fusion helped: 80.0 % against 75.0 % of text alone, +5.0 points. "
        "The mean of the single models does better: 85.0 %."
    )


def test_verdict_without_baselines_is_empty():
    assert evaluate.verdict({"accuracy": 0.9}) == ""


def test_two_targets_have_a_verdict_each(two_targets):
    run, rows = two_targets
    metrics = evaluate.report(run, rows, ("test",))["test"]
    assert {"label.accuracy", "parity.accuracy", "parity.confusion"} <= set(metrics)
    told = evaluate.verdict(metrics)
    told = re.findall(r"(label|parity): Fusion .*? points \(95 % interval", told)
    assert told == ["label", "parity"]
    assert {"label.gain", "parity.gain"} <= set(metrics)
    assert "label.accuracy" in metrics["intervals"]
    figures = {path.name for path in run.figures.glob("*.png")}
    for target in ("label", "parity"):
        assert {f"confusion_{target}.png", f"baselines_{target}.png"} <= figures


class Balance(html.parser.HTMLParser):
    """Every element that is opened is closed, in order; collects what is loaded."""

    EMPTY = ("meta", "img", "br")

    def __init__(self):
        super().__init__()
        self.open, self.faults, self.sources, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.sources += [v for k, v in attrs if k in ("src", "href", "srcset")]
        if tag == "script":
            self.faults.append(tag)
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data):
        if "style" not in self.open and data.strip():
            self.text.append(data.strip())


def parsed(path):
    page = Balance()
    page.feed(path.read_text(encoding="utf-8"))
    assert (page.open, page.faults) == ([], [])
    return page


def test_the_report_is_one_file_with_the_verdict_first(trained):
    page = parsed(trained.report_html)
    assert all(source.startswith("data:") for source in page.sources)
    for name in FIGURES:
        data = base64.b64encode((trained.figures / name).read_bytes()).decode()
        assert page.sources.count(f"data:image/png;base64,{data}") == 1, name
    assert not re.search(r"url\(|@import", trained.report_html.read_text("utf-8"))
    title, name, verdict = page.text[:3]
    assert (title, name) == ("tiny: report", "tiny")
    metrics = strict_json(trained.metrics_json)
    assert verdict == evaluate.verdict(metrics["test"])
    shown = " ".join(page.text)
    assert f"{metrics['test']['accuracy']:.4f}" in shown
    assert "300 rows read, 300 used (210 train, 45 valid, 45 test), 0 refused" in shown


def test_the_card_tells_numbers_inputs_and_rows(trained):
    text = trained.card.read_text(encoding="utf-8")
    metrics = strict_json(trained.metrics_json)
    assert text.startswith("---\nlibrary_name: keras\n") and "\n# tiny\n" in text
    assert evaluate.verdict(metrics["test"]) in text
    assert f"| test | 45 | accuracy {metrics['test']['accuracy']:.3f}, " in text
    assert "`text` (text), `image` (image), `audio` (audio)" in text
    assert "`label` (classification, 10 labels)" in text and "300 rows read" in text
    assert f"{trained.model.count_params():,}" in text
    assert "$" not in text


def test_the_card_has_a_table_of_trainable_parameters(trained):
    text = trained.card.read_text(encoding="utf-8")
    table = text.split("| part | kind | gives | parameters | trainable |\n")[1]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.split("\n\n")[0].splitlines()[1:]
    ]
    *parts, (title, _, _, total, trainable) = cells
    assert title == "all" and total == f"{trained.model.count_params():,}"
    weights = [np.prod(each.shape) for each in trained.model.trainable_weights]
    assert trainable == f"{sum(weights):,}" != total
    for column, whole in ((3, total), (4, trainable)):
        added = sum(int(line[column].replace(",", "")) for line in parts)
        assert f"{added:,}" == whole
    names = [line[0] for line in parts]
    assert {"text branch", "image branch", "fusion", "label head"} <= set(names)
    assert "(model.svg)" in text and trained.diagram.is_file()


def test_a_run_without_a_diagram_is_still_judged(copied, rows):
    copied.diagram.unlink()
    copied.parameters_json.unlink()
    evaluate.report(copied, rows, ("test",), log=print)
    assert 'class="sketch"' not in copied.report_html.read_text(encoding="utf-8")
    text = copied.card.read_text(encoding="utf-8")
    assert f"- **Parameters**: {copied.model.count_params():,}." in text
    assert "(model.svg)" not in text and "| part |" not in text


def test_figures_are_pictures_of_a_sensible_size(trained):
    names = sorted(path.name for path in trained.figures.iterdir())
    assert names == FIGURES
    for name in names:
        content = (trained.figures / name).read_bytes()
        width, height = struct.unpack(">II", content[16:24])
        assert 300 < width < 1600 and 200 < height < 1600, name
        assert len(content) < 200_000


@pytest.fixture
def others(rows, trained, tmp_path):
    """Six rows of another manifest: one broken picture, one empty sound, one label."""
    folder = tmp_path / "elsewhere"
    complete = rows.frame[(rows.frame["image"] != "") & (rows.frame["audio"] != "")]
    lines = complete.head(6)[["text", "image", "audio", "label"]].to_dict("records")
    for at, line in enumerate(lines):
        for name in ("image", "audio"):
            target = folder / line[name]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(rows.path.parent / line[name], target)
        if at == 1:
            (folder / line["image"]).write_bytes(b"\x89PNG\r\n\x1a\nbroken")
        if at == 3:
            (folder / line["audio"]).write_bytes(b"")
        if at == 5:
            line["label"] = "eleven"
    path = folder / "others.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    return path


def test_another_manifest_is_judged_beside_the_run(copied, others):
    """Rows that cannot be judged are named; the run's own numbers stay."""
    before = copied.metrics_json.read_text(), copied.report_html.read_text()
    said = []
    rows = read_rows(copied, others)
    assert rows.rejected[0].reason.startswith("the label `eleven`")
    metrics = evaluate.report(copied, rows, ("test",), log=said.append)
    assert metrics["test"]["rows"] == 3
    assert len(said) == 1 and said[0].startswith("left out 2 rows that cannot be read:")
    assert "line 3, row `3`, `image`: " in said[0]
    assert "line 5, row `5`, `audio`: the file is empty" in said[0]
    assert "eleven" not in said[0]
    there = evaluate.place(copied, rows)
    assert there.folder == copied.folder / "judged" / "others"
    assert strict_json(there.metrics_json) == metrics
    text = there.report_html.read_text(encoding="utf-8")
    counted = "others.csv: 6 rows read, 3 used (0 train, 0 valid, 3 test), 3 refused."
    assert counted in text
    assert (copied.metrics_json.read_text(), copied.report_html.read_text()) == before


def test_no_readable_row_is_an_error(copied, others):
    rows = read_rows(copied, others)
    broken = rows.reject({line: ("", "") for line in rows.frame.index if line != 3})
    with pytest.raises(ManifestError, match="others.csv has no usable row in the spl"):
        evaluate.report(copied, broken, ("test",), log=lambda line: None)


def test_a_split_without_rows_is_an_error(trained, rows):
    none = rows.split("train")
    with pytest.raises(ManifestError, match="no usable row in the splits valid, test$"):
        evaluate.report(trained, none)
    assert evaluate.judge(trained, rows.split("nothing")) is None


def test_one_split_judged_anew_leaves_the_other(copied, rows):
    before = strict_json(copied.metrics_json)
    copied.__dict__["model"] = Constant(0.1)
    copied.baseline = lambda name: None
    evaluate.report(copied, rows, ("valid",))
    after = strict_json(copied.metrics_json)
    assert after["test"] == before["test"] and "baselines" not in after["valid"]
    assert after["valid"]["log_loss"] == pytest.approx(np.log(10))


def test_a_model_that_diverged_is_an_error_not_nan(copied, rows):
    before = copied.metrics_json.read_text()
    copied.__dict__["model"] = Constant(np.nan)
    with pytest.raises(ValueError, match=r"not finite.*Lower train.learning_rate, it"):
        evaluate.report(copied, rows)
    assert copied.metrics_json.read_text() == before


def test_a_baseline_that_diverged_is_left_out(copied, rows):
    copied.__dict__["model"] = Constant(0.1)
    models = {"text": Constant(np.nan), "image": Constant(0.1)}
    copied.baseline = models.get
    said = []
    metrics = evaluate.report(copied, rows, ("test",), log=said.append)
    assert said == ["left out the baseline text: its outputs are not finite"]
    assert list(metrics["test"]["baselines"]) == ["image", "late_fusion"]
    strict_json(copied.metrics_json)


def test_labels_are_escaped(copied, rows):
    labels = ["<b>0 & co", *copied.labels["label"][1:]]
    copied.write_json(copied.labels_json, {"label": labels})
    frame = rows.frame.assign(label=rows.frame["label"].replace("0", labels[0]))
    run = open_folder(copied.folder)
    run.__dict__["model"] = Constant(0.1)
    run.baseline = lambda name: None
    object.__setattr__(changed := rows.split("test"), "frame", frame)
    evaluate.report(run, changed, ("test",))
    text = run.report_html.read_text(encoding="utf-8")
    assert "&lt;b&gt;0 &amp; co" in text and "<b>0" not in text
    parsed(run.report_html)


def test_rows_that_training_refused_are_counted(copied, rows):
    """The manifest alone does not know which files could not be decoded."""
    lines = rows.split("train").frame.index[:2]
    rows.reject({line: ("image", "broken") for line in lines}).write_rejected(
        copied.rejected_csv
    )
    copied.__dict__["model"] = Constant(0.1)
    copied.baseline = lambda name: None
    evaluate.report(copied, rows, ("test",))
    text = copied.report_html.read_text(encoding="utf-8")
    assert "300 rows read, 298 used (208 train, 45 valid, 45 test), 2 refused." in text
