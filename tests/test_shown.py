"""What README and docs show is run: every command, every block of Python and YAML.

What cannot run here, or is run by another test, is listed below, each with its reason.
"""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml
from PIL import Image

from mmkeras import cli, client, config

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [
    (page.name, language, content)
    for page in PAGES
    for language, content in BLOCK.findall(page.read_text(encoding="utf-8"))
]

# Lines, by how they begin.
CANNOT = {
    "git clone ": "the clone is the one that runs this",
    "pip install ": "the network; the environment has the extras",
    "make quickstart": "it makes an environment; .ci/run runs it",
    "docker ": "there is no Docker",
    "python -m pytest -m docker": "there is no Docker",
    "export TF_CONFIG=": "two machines, host1 and host2",
    "mmkeras train pets.yaml --run /shared/": "two machines, and a disk they share",
    "TPU_NAME=": "a TPU",
    "python tests/benchmarks/": "minutes long, and of no use on a busy machine",
    "mmkeras export runs/three_modalities": "a run of the line above it",
}
# Whole blocks, by how they begin.
BLOCKS_LEFT_OUT = {
    "#!/bin/bash\n#SBATCH": "Slurm",
    "apiVersion: batch/v1": "Kubernetes",
    "Done in 97 s": "what a command prints",
    "fusion: 12.4 s": "what a command prints",
    "format                    file": "what a command prints",
    "name: tickets\ndata:\n  manifest: tickets.csv\n  inputs: {text: {kind: text": (
        "weights of bert_base_multi and of ImageNet, from the network"
    ),
}
ELSEWHERE = {
    "mmkeras launch ": "tests/verbs/test_launch.py",
    "mmkeras data-worker ": "tests/dataset/test_service.py",
    "mmkeras train pets.yaml --set train.data_service": "tests/dataset/test_service.py",
    "mmkeras tune ": "tests/verbs/test_tune.py",
    "mmkeras serve ": "tests/serving/test_server.py",
    "mmkeras digits ": "tests/verbs/test_digits.py",
    "mmkeras train pipelines/recipes/": "tests/test_recipes.py",
    "mmkeras export runs/pets served --format": "tests/formats/test_formats.py",
    "mmkeras predict http://": "tests/verbs/test_predict.py",
    "mmkeras train pets.yaml --set data.folds": "tests/train/test_folds.py",
    "mmkeras evaluate runs/pets_folds": "tests/train/test_folds.py",
    "mmkeras train pets.yaml --set train.trackers": "tests/train/test_tracking.py",
}
# Lines that do less than another one that is run.
AGAIN = {
    "mmkeras check pets.yaml": "mmkeras check pets.yaml --html check.html",
    "mmkeras train runs/pets/recipe.yaml": "mmkeras train pets.yaml",
    "mmkeras train pets.yaml --set data.manifest=small/manifest.csv": (
        "mmkeras train pets.yaml"
    ),
    "mmkeras evaluate runs/pets": (
        "mmkeras evaluate runs/pets --slice camera --robustness"
    ),
    "mmkeras evaluate runs/pets --robustness": (
        "mmkeras evaluate runs/pets --slice camera --robustness"
    ),
    "mmkeras evaluate runs/pets --slice camera --slice age": (
        "mmkeras evaluate runs/pets --slice camera --robustness"
    ),
    "mmkeras evaluate runs/a runs/b runs/c": (
        "mmkeras evaluate runs/a runs/b --ensemble runs/mean"
    ),
}
BEFORE = tuple(
    f"mmkeras {verb} " for verb in ("new", "check", "prepare", "show", "train")
)
AFTER = tuple(
    f"mmkeras {verb} " for verb in ("evaluate", "explain", "export", "predict", "ask")
)
# A gate that says no is what these commands are for.
GATES = ("--require-fusion-gain", "--strict")
RECIPE = """\
name: pets
data:
  manifest: pets.csv
  inputs: {text: {kind: text, length: 8}, image: {kind: image, size: 16}}
  targets: {label: classification}
branches: {text: {kind: bag, units: 8}, image: {filters: 4, num_blocks: 2, units: 8}}
fusion: {units: 8, hidden: 8}
train: {epochs: 1, baselines: false}
"""


def left_out(shown):
    """Whether a block or a line is listed as not run here."""
    return shown.startswith((*CANNOT, *BLOCKS_LEFT_OUT, *ELSEWHERE))


def shell_lines():
    """(page, line without its comment) of every command shown."""
    return [
        (page, re.sub(r"\s+#.*", "", line))
        for page, language, content in BLOCKS
        if language == "" and not content.startswith(tuple(BLOCKS_LEFT_OUT))
        for line in content.splitlines()
    ]


def lines(*beginnings):
    """The shell lines that begin so and are run, each once, in order."""
    every = dict.fromkeys(line for _, line in shell_lines())
    run = [each for each in every if each not in AGAIN and not left_out(each)]
    return [each for each in run if each.startswith(beginnings)]


def of_language(language):
    return [
        pytest.param(content, id=f"{page}-{at}")
        for at, (page, name, content) in enumerate(BLOCKS)
        if name == language and not left_out(content)
    ]


def mmkeras(line, capsys):
    """Runs `mmkeras ...` in this process."""
    code = cli.main(shlex.split(line)[1:])
    told = capsys.readouterr()
    allowed = {0, cli.REFUSED} if any(each in line for each in GATES) else {0}
    assert code in allowed, f"{line}: exit code {code}\n{told.err[-2000:]}"
    return told.out


@pytest.fixture(scope="module")
def pets(digits_csv, tmp_path_factory):
    """A folder with `pets.csv`, its media, `pets.yaml` and what commands name."""
    folder = tmp_path_factory.mktemp("shown") / "pets"
    shutil.copytree(digits_csv.parent, folder)
    frame = pd.read_csv(folder / "manifest.csv", dtype=str, keep_default_na=False)
    # The recipe below has no sounds: a row of a sound alone would be refused.
    frame = frame[(frame[["text", "image"]] != "").any(axis=1)].reset_index(drop=True)
    whole = (frame[["text", "image", "audio"]] != "").all(axis=1)
    cat = frame[whole & (frame["split"] == "test")].index[0]
    frame.loc[cat, "id"] = "cat-001"
    number = pd.Series(range(len(frame)))
    frame["camera"] = number.mod(2).map({0: "old", 1: "new"})
    frame["age"] = number.mod(3).astype(str)
    frame["source"] = number.mod(5).map(lambda at: "web" if at == 0 else "field")
    frame.to_csv(folder / "pets.csv", index=False)
    frame.loc[:15, ["text", "image", "audio"]].to_csv(folder / "new.csv", index=False)
    Image.open(folder / frame["image"][cat]).convert("RGB").save(folder / "cat.jpg")
    shutil.copy(folder / frame["audio"][cat], folder / "meow.wav")
    for at, row in frame[whole].head(24).reset_index().iterrows():
        place = folder / "photos" / ("cat", "dog")[at % 2]
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / row["image"], place / f"{at:03}.png")
        shutil.copy(folder / row["audio"], place / f"{at:03}.wav")
        (place / f"{at:03}.txt").write_text(row["text"], encoding="utf-8")
    (folder / "pets.yaml").write_text(RECIPE)
    shipped = folder / "pipelines" / "recipes"
    shipped.mkdir(parents=True)
    tree = yaml.safe_load(RECIPE)
    for section in (tree["data"]["inputs"], tree["branches"]):
        del section["image"]
    (shipped / "digits.yaml").write_text(yaml.safe_dump(tree))
    return folder


@pytest.fixture(scope="module")
def judged(pets, trained, exported, digits_csv, tmp_path_factory):
    """A folder like `pets` with trained runs and an export."""
    folder = tmp_path_factory.mktemp("judged") / "pets"
    shutil.copytree(pets, folder, ignore=shutil.ignore_patterns("runs", "small"))
    for name in ("pets", "a", "b", "c"):
        run = folder / "runs" / name
        shutil.copytree(trained.folder, run)
        told = (run / "recipe.yaml").read_text(encoding="utf-8")
        told = told.replace(str(digits_csv), str(folder / "pets.csv"))
        (run / "recipe.yaml").write_text(told, encoding="utf-8")
    shutil.copytree(exported[0].parent, folder / "served")
    return folder


@pytest.fixture
def patient(monkeypatch):
    """A busy machine's first answer takes longer than a client waits by itself."""
    given = client.Client.__init__.__kwdefaults__
    monkeypatch.setitem(given, "timeout_seconds", 300.0)


@pytest.fixture(scope="module")
def port(judged):
    """Of a server of `judged`'s export; str."""
    from mmkeras.serving import models, server

    versions = models.Versions(judged / "served", name="pets", log=lambda _: None)
    with server.Server(versions, port=0, grpc_port=None) as running:
        yield running.url.rpartition(":")[2]


def test_whatever_is_shown_is_run_or_listed():
    assert {language for _, language, _ in BLOCKS} == {"", "python", "yaml", "csv"}
    for page, line in shell_lines():
        run = line.startswith((*BEFORE, *AFTER, "curl "))
        assert run or left_out(line), f"{page}: no test runs {line}"


def test_what_is_listed_is_shown_and_run_where_it_is_told():
    shown = [content for *_, content in BLOCKS]
    shown += [line for content in shown for line in content.splitlines()]
    for beginning in (*CANNOT, *BLOCKS_LEFT_OUT, *ELSEWHERE):
        assert any(each.startswith(beginning) for each in shown), beginning
    for line, more in AGAIN.items():
        assert any(each.startswith(line) for each in shown), line
        assert any(each.startswith(more) for each in shown), more
    for path in ELSEWHERE.values():
        assert (ROOT / path).is_file(), path


def test_the_csv_shown_is_read(tmp_path):
    (content,) = [content for _, language, content in BLOCKS if language == "csv"]
    for name in re.findall(r"\w+/\d+\.\w+", content):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"something")
    (tmp_path / "pets.csv").write_text(content, encoding="utf-8")
    from mmkeras import manifest

    recipe = config.parse(yaml.safe_load(RECIPE))
    data = recipe.data.model_copy(update={"manifest": str(tmp_path / "pets.csv")})
    rows = manifest.read(data, targets_required=False)
    assert rows.ids == ["cat-001", "dog-014"] and not rows.rejected


@pytest.mark.slow
def test_commands_from_rows_to_a_run(pets, monkeypatch, capsys):
    monkeypatch.chdir(pets)
    for line in lines(*BEFORE):
        mmkeras(line, capsys)
        shutil.rmtree(pets / "pets", ignore_errors=True)  # `new` thrice by one name
    assert (pets / "small" / "manifest.csv").is_file()
    assert (pets / "runs" / "pets" / "report.html").is_file()


@pytest.mark.slow
def test_commands_from_a_run_to_answers(judged, port, monkeypatch, capsys):
    monkeypatch.chdir(judged)
    for line in lines(*AFTER):
        patience = " --timeout-seconds 300" if " ask " in line else ""
        mmkeras(line.replace("8501", port) + patience, capsys)
    assert (judged / "runs" / "mean" / "metrics.json").is_file()
    assert (judged / "runs" / "pets" / "explanations" / "cat-001.html").is_file()


@pytest.mark.slow
def test_curl_asks_as_shown(judged, port):
    for tool in ("curl", "base64"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    asked = lines("curl ")
    assert len(asked) > 3
    for line in asked:
        done = subprocess.run(
            ["bash", "-c", line.replace("8501", port)],
            cwd=judged,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        answer = yaml.safe_load(done.stdout)
        told = {"predictions", "outputs", "results", "metadata"}
        assert told & set(answer), answer


@pytest.mark.slow
@pytest.mark.parametrize("content", of_language("python"))
def test_python_runs_as_shown(content, judged, port, patient, monkeypatch):
    monkeypatch.chdir(judged)
    exec(compile(content.replace("8501", port), "a block", "exec"), {})


@pytest.mark.slow
@pytest.mark.parametrize("content", of_language("yaml"))
def test_recipes_shown_give_a_model(content, pets, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    recipe = config.parse(yaml.safe_load(content))
    write_rows(recipe, pets, tmp_path / recipe.data.manifest)
    for _, language, shown in BLOCKS:
        if language == "python" and shown.startswith("# my_branches.py"):
            Path("my_branches.py").write_text(shown, encoding="utf-8")
    Path("recipe.yaml").write_text(content, encoding="utf-8")
    told = mmkeras("mmkeras show recipe.yaml", capsys)
    for name in recipe.data.inputs:
        assert name in told


def write_rows(recipe, pets, path):
    """A CSV of 30 rows with every column that a recipe names."""
    shutil.copy(pets / "cat.jpg", path.parent)
    shutil.copy(pets / "meow.wav", path.parent)
    frame = pd.DataFrame({"split": (["train"] * 20 + ["valid"] * 5 + ["test"] * 5)})
    frame["label"] = [("cat", "dog")[at % 2] for at in range(len(frame))]
    for name, options in recipe.data.inputs.items():
        given = {"image": "cat.jpg", "audio": "meow.wav"}.get(options["kind"], "7")
        listed = ("columns", "numbers", "categories")
        columns = [each for key in listed for each in options.get(key) or ()]
        for column in columns or [name]:
            frame[column] = given
    frame.to_csv(path, index=False)
