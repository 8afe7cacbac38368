"""Errors of a command as one line for a person, without a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

import click


@contextmanager
def plain_errors(*others: type[Exception]) -> Iterator[None]:
    """What a person can mend: errors of the appliance, recipes, data sets, evaluations, `others`.

    Raises: click.ClickException in their place, which ends with 1; click.UsageError, with 2, for
    a recipe.
    """
    from appliance.errors import ApplianceError
    from training.datasets import DatasetError
    from training.evaluation.answered import EvaluationError
    from training.recipe import RecipeError

    kinds: tuple[type[Exception], ...] = (DatasetError, EvaluationError, *others)
    try:
        yield
    except ApplianceError as exc:
        raise click.ClickException(f"{exc.message}; {exc.hint}") from exc
    except RecipeError as exc:
        raise click.UsageError(str(exc)) from exc
    except kinds as exc:
        raise click.ClickException(str(exc)) from exc
