"""Training methods, a file each, and the table of them.

A new method is a file here, with a `build` that makes a `Task` of a recipe, and an entry in the table. What its
recipes have beside the common fields is a class in `config.py`.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from pocketsam.training.config import (
    CoupledRecipe,
    DecoupledRecipe,
    FullStageRecipe,
    Recipe,
    SupervisedRecipe,
)

if TYPE_CHECKING:
    from pocketsam.training.task import Task


@dataclass(frozen=True)
class TaskEntry:
    """A training method: its name in recipes, what its recipes hold, and the module whose `build` makes the task."""

    method: str
    config: type[Recipe]
    module: str


_TABLE = (
    TaskEntry("supervised", SupervisedRecipe, "pocketsam.training.tasks.supervised"),
    TaskEntry("coupled", CoupledRecipe, "pocketsam.training.tasks.supervised"),
    TaskEntry("semi-coupled", CoupledRecipe, "pocketsam.training.tasks.supervised"),
    TaskEntry("decoupled", DecoupledRecipe, "pocketsam.training.tasks.decoupled"),
    TaskEntry("full-stage", FullStageRecipe, "pocketsam.training.tasks.full_stage"),
)
TASKS = {entry.method: entry for entry in _TABLE}
"""By the name of the method."""


def build_task(recipe: Recipe) -> "Task":
    """What the recipe trains. Raises InputError or ModelError where its data or its first weights cannot be used."""
    build = import_module(TASKS[recipe.method].module).build
    return cast("Task", build(recipe))
