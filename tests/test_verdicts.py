"""A test is asked of a model only if its ceilings pass it."""

from pisa_kit.metrics.verdicts import DISAGREE, ask, asked, together

MEASURED = {"PSFT": "3 %", "codec": "17 %", "ideal": "1 %", "frozen": "90 %"}


def test_models_pass_or_fail_where_the_ceilings_pass():
    said = ask({"PSFT": False, "codec": True, "ideal": True, "frozen": False}, MEASURED, ("ideal", "codec"))
    assert said == {"PSFT": "fails", "codec": "passes", "ideal": "passes", "frozen": "fails"}
    assert all(map(asked, said.values()))


def test_a_test_that_a_ceiling_fails_is_not_asked_of_models():
    said = ask({"PSFT": True, "codec": False, "ideal": True, "frozen": False}, MEASURED, ("ideal", "codec"))
    assert said["PSFT"] == "cannot be asked here: codec alone gives 17 %" and not asked(said["PSFT"])
    assert said["codec"] == "fails" and said["ideal"] == "passes" and said["frozen"] == "fails"


def test_trainings_that_disagree_are_no_verdict():
    assert together(["fails", "passes", "fails"]) == DISAGREE and not asked(DISAGREE)
    assert together(["fails", "fails"]) == "fails" and together(["passes"]) == "passes"
    assert together(["cannot be asked here: a", "passes"]) == "cannot be asked here: a; passes"


def test_a_ceiling_that_was_not_measured_does_not_count():
    assert ask({"PSFT": True}, {"PSFT": ""}, ("codec",)) == {"PSFT": "passes"}
