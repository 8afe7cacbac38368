"""From a decision to the words looked up in the guidelines."""

from appliance.core.decision import Decision


def guideline_queries(decision: Decision) -> tuple[str, ...]:
    """One query for each label the decision holds; none when it abstains.

    Asks what to do about the label. The caption's findings are left out: their words drew
    passages of look-alike diseases (over the sample guideline's 20 labels the first passage was
    of another label for 1 of 20 with them, for none without).
    """
    return tuple(f"{label}: management and referral" for label in decision.labels)
