import pytest

from mmkeras import config, space

DIGITS = config.shipped("digits.yaml")


def test_choices_and_ranges_are_read():
    found = space.read(
        DIGITS,
        [],
        [
            "fusion.kind=[concat, gated]",
            "augment.image_flip={choice: [true, false]}",
            "train.learning_rate={log: [1e-4, 1e-2]}",
            "fusion.units={between: [16, 64]}",
        ],
    )
    assert found["fusion.kind"].choices == ['"concat"', '"gated"']
    assert found["augment.image_flip"].choices == ["true", "false"]
    rate, units = found["train.learning_rate"], found["fusion.units"]
    assert (rate.low, rate.high, rate.scale, rate.whole) == (1e-4, 1e-2, "log", False)
    assert (units.low, units.high, units.whole) == (16, 64, True)


def test_a_choice_may_be_a_mapping_that_the_recipe_takes():
    given = ["fusion=[{kind: concat, units: 32}, late]"]
    plan = space.Plan(DIGITS, (), space.read(DIGITS, [], given))
    fused = [
        plan.told({"fusion": text}).fusion for text in plan.space["fusion"].choices
    ]
    assert [(each["kind"], each["units"]) for each in fused] == [
        ("concat", 32),
        ("late", 64),
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], "nothing to search: name a key, as --over 'fusion.kind=[concat, late]'"),
        (["train.lr=[1]"], "unknown key `train.lr` for `train`. Keys: epochs, "),
        (["fusion.kind=[concat, gatd]"], 'fusion.kind="gatd": fusion: no kind `gatd`'),
        (["fusion.units={log: [0, 8]}"], "log takes numbers above 0, not 0"),
        (["fusion.units={log: [8, 2]}"], "two numbers, the smaller first"),
        (["fusion.units={lgo: [1, 8]}"], "no scale `lgo`. Scales: between, log (did"),
        (["fusion.units=32"], "expected a list of choices, as [16, 32], or a range"),
        (["fusion.units=[8, 8]"], "a choice stands twice"),
        (["fusion.units=[8]", "fusion.units=[9]"], "fusion.units=[9]: stands twice"),
        (["fusion.dropout={between: [0.5, 3]}"], "fusion.dropout=3: fusion: `dropout"),
    ],
)
def test_faults_are_told_before_anything_is_trained(given, expected):
    with pytest.raises(config.RecipeError) as caught:
        space.read(DIGITS, [], given)
    assert expected in str(caught.value)


def test_all_faults_are_told_at_once():
    with pytest.raises(config.RecipeError) as caught:
        space.read(DIGITS, [], ["train.lr=[1]", "fusion.kind=[nope]"])
    assert "`train.lr`" in str(caught.value) and "`nope`" in str(caught.value)


def test_overrides_hold_for_every_trial_and_values_win():
    plan = space.Plan(DIGITS, ("fusion.kind=late", "train.epochs=7"), {})
    recipe = plan.told({"fusion.kind": '"gated"'}, "train.seed=3")
    assert (recipe.fusion["kind"], recipe.train.epochs) == ("gated", 7)
    assert recipe.train.seed == 3
    assert plan._replace(quick=True).told({}).train.epochs == 1
