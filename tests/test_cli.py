import builtins
import json
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

import mmkeras
from mmkeras import cli, verbs

VERBS_FOLDER = Path(cli.__file__).parent / "verbs"


def process(*arguments):
    """`mmkeras ARGUMENTS` as a process of its own; also what it imported of weight."""
    code = (
        "import atexit, sys; from mmkeras import cli; "
        "atexit.register(lambda: print([m for m in ('tensorflow', 'keras', 'pandas') "
        "if m in sys.modules], file=sys.stderr)); sys.exit(cli.main(sys.argv[1:]))"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True
    )


@pytest.fixture
def verb(monkeypatch):
    """A function that puts a verb `stub` in place, and runs it."""

    def call(run, *arguments):
        stub = types.ModuleType("mmkeras.verbs.stub", "A verb.")
        stub.arguments = lambda parser: parser.add_argument("--name", default="x")
        stub.run = run
        monkeypatch.setitem(cli.VERBS, "stub", "a verb")
        monkeypatch.setitem(sys.modules, "mmkeras.verbs.stub", stub)
        return cli.main(["stub", *arguments])

    return call


def raiser(error):
    def run(options, extra):
        raise error

    return run


def test_the_verbs_are_the_files():
    files = {path.stem for path in VERBS_FOLDER.glob("*.py")} - {"__init__"}
    assert {name.replace("-", "_") for name in cli.VERBS} == files


def test_help_lists_all_verbs_at_once():
    began = time.perf_counter()
    done = process("--help")
    assert time.perf_counter() - began < 5  # 0.2 s on an idle core
    assert (done.returncode, done.stderr.strip()) == (0, "[]")
    for name, what in cli.VERBS.items():
        assert f"  {name} " in done.stdout
        assert what in done.stdout


@pytest.mark.parametrize("name", cli.VERBS)
def test_every_verb_has_help_with_the_common_options(name, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([name, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: mmkeras {name} ")
    assert "--json" in text and "--debug" in text


def test_help_of_a_verb_imports_nothing_heavy():
    assert process("train", "--help").stderr.strip() == "[]"


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.strip() == mmkeras.__version__


def test_no_arguments_show_the_help_and_are_a_usage_error(capsys):
    assert cli.main([]) == cli.USAGE
    shown = capsys.readouterr()
    assert shown.out == "" and "quickstart" in shown.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["chek"], "no verb `chek`. Verbs: quickstart, digits, new, check, "),
        (["chek"], "(did you mean `check`?)"),
        (["zzz"], "no verb `zzz`. Verbs: "),
        (["--jsn"], "mmkeras: error: "),
        (["--", "check"], "mmkeras: error: "),
        (["check"], "the following arguments are required: RECIPE|MANIFEST"),
        (["evaluate", "x", "--split", "tset"], "invalid choice: 'tset'"),
    ],
)
def test_usage_errors(arguments, expected, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == cli.USAGE
    shown = capsys.readouterr()
    assert expected in shown.err
    assert shown.out == ""


def test_an_unknown_option_is_named(capsys):
    assert cli.main(["check", "rows.csv", "--jsn"]) == cli.USAGE
    expected = "mmkeras check: unknown arguments: --jsn. See --help\n"
    assert capsys.readouterr().err == expected


def test_a_second_key_behind_one_set_is_told(capsys):
    keys = ["train.epochs=3", "fusion.units=8"]
    assert cli.main(["train", "any.yaml", "--set", *keys]) == cli.USAGE
    expected = (
        "unknown arguments: fusion.units=8. See --help; each key of the recipe has a "
        "--set of its own: --set fusion.units=8\n"
    )
    assert capsys.readouterr().err.endswith(expected)


def errors():
    from mmkeras import config, manifest

    yield config.RecipeError("told"), 2
    yield verbs.UsageError("told"), 2
    yield FileExistsError("told"), 2
    yield FileNotFoundError("told"), 3
    yield ImportError("told"), 3
    yield ModuleNotFoundError("told"), 3
    yield manifest.ManifestError("told"), 4
    # `export.ProofError` imports TensorFlow: by name, as the command line does.
    yield type("ProofError", (RuntimeError,), {})("told"), 4


@pytest.mark.parametrize(
    ("error", "code"), errors(), ids=lambda value: type(value).__name__
)
def test_the_class_of_an_error_is_its_exit_code(verb, capsys, error, code):
    assert verb(raiser(error)) == code
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "mmkeras stub: told\n")


def test_every_error_with_an_exit_code_is_there():
    """A class that is renamed must not lose its code."""
    sources = [path.read_text("utf-8") for path in VERBS_FOLDER.parent.rglob("*.py")]
    for name in cli.EXIT_CODES:
        assert hasattr(builtins, name) or any(
            f"class {name}(" in source for source in sources
        ), name


def test_an_interrupt_is_130(verb, capsys):
    assert verb(raiser(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "mmkeras stub: interrupted\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RuntimeError("first\nsecond"), "RuntimeError: first (--debug shows where)"),
        (ValueError("\n\n first\n"), "ValueError: first (--debug shows where)"),
        (KeyError(), "KeyError: no message (--debug shows where)"),
        (PermissionError(13, "Permission denied", "a"), "PermissionError: [Errno 13]"),
    ],
)
def test_an_unexpected_error_is_one_line_and_1(verb, capsys, error, line):
    assert verb(raiser(error)) == cli.FAILED
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"mmkeras stub: {line}")
    assert shown.err.count("\n") == 1


def test_debug_raises_again(verb):
    with pytest.raises(RuntimeError, match="deep"):
        verb(raiser(RuntimeError("deep")), "--debug")


def test_json_is_one_document_and_text_is_not_printed(verb, capsys):
    content = {"label": "три", "scores": [0.5, None]}
    answer = verbs.Answer(content, "for people", 4)

    def run(options, extra):
        verbs.log("working")
        return answer

    assert verb(run, "--json") == 4
    shown = capsys.readouterr()
    assert json.loads(shown.out) == content and "три" in shown.out
    assert shown.err == "working\n"
    assert verb(run) == 4
    assert capsys.readouterr().out == "for people\n"


def test_options_and_what_is_left_reach_the_verb(verb):
    seen = {}

    def run(options, extra):
        seen.update(name=options.name, extra=extra)
        return verbs.Answer({}, "")

    assert verb(run, "--name", "seven", "--image", "7.png") == 0
    assert seen == {"name": "seven", "extra": ["--image", "7.png"]}


def test_a_reader_that_stops_reading_sees_no_traceback(tmp_path):
    rows = "".join(f"w{n},\n" for n in range(20_000))
    (tmp_path / "rows.csv").write_text("text,label\n" + rows)
    mmkeras_head = (
        f"'{sys.executable}' -m mmkeras.cli check '{tmp_path}/rows.csv' | head -n 1"
    )
    done = subprocess.run(mmkeras_head, shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("input ") and done.stdout.count("\n") == 1
    assert "BrokenPipe" not in done.stderr and "Traceback" not in done.stderr


def test_rows_that_judge_nothing_are_refused_before_training(tmp_path, capsys):
    """And the check tells them."""
    (tmp_path / "rows.csv").write_text("text,label\na b,x\nc d,y\ne f,x\n")
    recipe = "name: it\ndata:\n  manifest: rows.csv\n  inputs: {text: text}\n"
    recipe += "  targets: {label: classification}\n"
    (tmp_path / "it.yaml").write_text(recipe, encoding="utf-8")
    options = [str(tmp_path / "it.yaml"), "--set", f"data.manifest={tmp_path}/rows.csv"]
    assert cli.main(["train", *options, "--run", str(tmp_path / "run")]) == cli.REFUSED
    told = capsys.readouterr().err
    assert "rows.csv has no usable row in the splits valid and test" in told
    assert "column `split`" in told and not (tmp_path / "run").exists()
    assert cli.main(["check", *options]) == 0
    assert "no usable row is in the splits valid and test" in capsys.readouterr().out
