import inspect

import pytest

from mmkeras import families
from mmkeras.families import OptionError, resolve

EVERY = [
    (family, kind) for family in families.FAMILIES for kind in families.kinds(family)
]


def message(family, choice):
    with pytest.raises(OptionError) as caught:
        resolve(family, choice)
    return str(caught.value)


@pytest.mark.parametrize(("family", "kind"), EVERY)
def test_every_kind_resolves_with_all_its_defaults(family, kind):
    options = resolve(family, kind)
    model = families.kinds(family)[kind]
    assert options.pop("kind") == kind
    assert options == {name: f.default for name, f in model.model_fields.items()}
    # Defaults must hold their own rules; pydantic does not look at them unasked.
    assert resolve(family, {"kind": kind, **options}) == {"kind": kind, **options}


@pytest.mark.parametrize(("family", "kind"), EVERY)
def test_every_kind_refuses_an_unknown_option(family, kind):
    text = message(family, {"kind": kind, "no_such_option": 1})
    known = families.kinds(family)[kind].model_fields
    assert text.startswith(f"unknown key `no_such_option` for `{kind}`. Keys: ")
    assert all(name in text for name in known)


def test_kinds_are_those_of_the_imported_dicts_with_their_signatures():
    """What is read from the source text is what Python sees after the import."""
    from mmkeras import branches, fusion, modalities, tasks

    imported = {
        "modalities": modalities.MODALITIES,
        "branches.text": branches.TEXT,
        "branches.image": branches.IMAGE,
        "branches.audio": branches.AUDIO,
        "branches.tabular": branches.TABULAR,
        "fusion": fusion.FUSIONS,
        "tasks": tasks.TASKS,
    }
    assert set(imported) == set(families.FAMILIES)
    for family, members in imported.items():
        assert list(families.kinds(family)) == list(members)
        for kind, member in members.items():
            signature = inspect.signature(
                member.__init__ if inspect.isclass(member) else member
            )
            defaults = {
                name: parameter.default
                for name, parameter in signature.parameters.items()
                if parameter.kind is parameter.KEYWORD_ONLY
                and parameter.default is not parameter.empty
            }
            assert resolve(family, kind) == {"kind": kind, **defaults}


def test_the_first_kind_is_the_default():
    assert resolve("branches.text", {})["kind"] == "lstm"
    assert resolve("branches.text", {"units": 7})["units"] == 7


def test_resolve_leaves_its_argument_alone():
    choice = {"kind": "gru", "units": 8}
    resolve("branches.audio", choice)
    assert choice == {"kind": "gru", "units": 8}


def test_an_unknown_kind_names_all_and_the_nearest():
    assert message("branches.text", "lsmt").startswith(
        "no kind `lsmt`. Kinds: lstm, transformer"
    )
    assert message("branches.text", "lsmt").endswith("(did you mean `lstm`?)")
    assert "did you mean" not in message("branches.text", "zzz")


@pytest.mark.parametrize("kind", [["lstm"], None, 3, {"a": 1}])
def test_a_kind_that_is_no_word_is_an_option_error(kind):
    assert f"no kind `{kind}`" in message("branches.text", {"kind": kind})


def test_unknown_options_and_wrong_values_are_all_told():
    text = message("branches.text", {"untis": 3, "dropout": 1.0, "embedding_dim": "x"})
    assert len(text.splitlines()) == 3
    assert "unknown key `untis` for `lstm`" in text
    assert "(did you mean `units`?)" in text
    assert "`dropout`: Input should be less than 1, got 1.0" in text
    assert "`embedding_dim`" in text and "got 'x'" in text


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("units", 0, "greater than 0, got 0"),
        ("units", -3, "greater than 0, got -3"),
        ("units", 2.5, "got 2.5"),
        ("units", None, "got None"),
        ("units", True, "expected a number, got True"),
        ("dropout", -0.1, "greater than or equal to 0, got -0.1"),
        ("dropout", float("nan"), "got nan"),
    ],
)
def test_a_value_out_of_range_is_told_with_the_value(option, value, expected):
    text = message("branches.text", {option: value})
    assert text.startswith(f"`{option}`: ")
    assert expected in text


def test_a_wrong_word_among_a_few_names_the_nearest():
    text = message("branches.audio", {"kind": "gru", "features": "logmel"})
    assert "'mfcc' or 'log_mel', got 'logmel' (did you mean `log_mel`?)" in text


def test_null_and_paths_are_weights():
    assert (
        resolve("branches.image", {"kind": "vgg16", "weights": None})["weights"] is None
    )
    named = resolve("branches.image", {"kind": "vgg16", "weights": "a/b.h5"})
    assert named["weights"] == "a/b.h5"


def test_columns_are_a_list_of_names():
    found = resolve("modalities", {"kind": "tabular", "numbers": ["age", "height"]})
    assert found["numbers"] == ("age", "height") and found["categories"] == ()
    assert "expected a list of columns, as [age], got 'age'" in message(
        "modalities", {"kind": "tabular", "numbers": "age"}
    )
    # YAML reads a bare `no` as False.
    text = message("modalities", {"kind": "text", "columns": ["a", False]})
    assert text == "`columns.1`: Input should be a valid string, got False"


def test_an_input_reads_the_columns_it_lists_else_that_of_its_name():
    listed = {"kind": "tabular", "numbers": ["a", "b"], "categories": ["c"]}
    assert families.columns_of("it", resolve("modalities", listed)) == ("a", "b", "c")
    assert families.columns_of("it", resolve("modalities", "text")) == ("it",)
    assert families.columns_of("it", {}) == ("it",)


def test_an_unknown_family_is_a_key_error():
    with pytest.raises(KeyError, match="no_such"):
        families.kinds("no_such")
