"""What an answer is worth: the fourth reference system's table (S4 in the project's research).

+1 for a right answer, to which come 0.5 where the treatment fits, and 2, 1.5 or 1 for an error
caught, by its severity. An error missed costs 3, 2 or 1.5; a false alarm 2; what is no answer at
all costs what the wrong one would.

The table pays more for the word ERROR than for CORRECT: whoever does not look earns most by saying
ERROR of everything. In a pair, which is one wording with two pictures and two answers, both answers
are therefore made to weigh the same: what one word wins on one picture it loses on the other.
"""

from collections.abc import Mapping

from appliance.core.treatment import Severity
from training.treatment.asking import Answer

RIGHT, FITS = 1.0, 0.5
CAUGHT: Mapping[Severity, float] = {"critical": 2.0, "high": 1.5, "moderate": 1.0}
MISSED: Mapping[Severity, float] = {"critical": -3.0, "high": -2.0, "moderate": -1.5}
FALSE_ALARM = -2.0


def reward(said: Answer | None, answer: Answer, severity: Severity) -> float:
    """`answer` is the right one, `severity` that of the harm; None: it said neither word."""
    if answer == "ERROR":
        return RIGHT + CAUGHT[severity] if said == "ERROR" else MISSED[severity]
    return RIGHT + FITS if said == "CORRECT" else FALSE_ALARM


def pair_worth(severities: Mapping[Answer, Severity]) -> float:
    """What each of the two answers to a pair wins when right and loses when wrong: half of what
    lies between the table's right and wrong, averaged over the two. `severities`: of the harm, by
    the right answer."""
    between = 0.0
    for answer, severity in severities.items():
        between += reward(answer, answer, severity) - reward(None, answer, severity)
    return between / 4
