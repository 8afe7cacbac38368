"""From a caption to the words looked up in the guidelines."""

from appliance.core.caption import Caption
from appliance.core.decision import Decision


def guideline_queries(caption: Caption, decision: Decision) -> tuple[str, ...]:
    """One query for each label the decision holds; none when it abstains.

    The likeliest label brings its findings; a further label of a set is asked by its name.
    """
    return tuple(
        f"{label}: {caption.key_findings}. {caption.clinical_significance}"
        if label == caption.label
        else f"{label}: management and referral"
        for label in decision.labels
    )
