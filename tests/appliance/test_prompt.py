"""Claims about the two prompts."""

from appliance.core.prompt import IMAGE, render_prompt, split_prompt

NAMES = ("melanoma", "normal chest")


def test_the_prompt_that_lists_labels_differs_from_the_trained_one_by_the_list_alone() -> None:
    told = " The label is one of: melanoma, normal chest."
    assert told in render_prompt(NAMES)
    assert render_prompt(NAMES).replace(told, "") == render_prompt()


def test_the_picture_comes_before_the_request() -> None:
    for listed in ((), NAMES):
        before, after = split_prompt(listed)
        assert before.endswith(IMAGE)
        assert before + after == render_prompt(listed)
        assert "JSON" in after and "JSON" not in before
