"""Training methods, a file each, and the table of them.

A new method is a file here and a line in the table. The file has the class of its recipes, whose `method` names it,
and `build(recipe)`, which makes a `Task`. Recipes are read without PyTorch, so that only `build` imports it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast, get_args

from pocketsam.training.config import Recipe
from pocketsam.utils.tables import load

if TYPE_CHECKING:
    from pocketsam.training.task import Task

_TABLE = (
    "supervised:SupervisedRecipe",
    "supervised:CoupledRecipe",
    "adversarial:AdversarialRecipe",
    "decoupled:DecoupledRecipe",
    "full_stage:FullStageRecipe",
    "sami:SamiRecipe",
    "sami:MaeRecipe",
    "classification:ClassificationRecipe",
    "detection:DetectionRecipe",
    "semantic:SemanticRecipe",
    "saliency:SaliencyRecipe",
)
"""FILE:CLASS of the recipes of a method, or of several that share a class."""


@dataclass(frozen=True)
class TaskEntry:
    """A training method: its name in recipes, what its recipes hold, and the module whose `build` makes the task."""

    method: str
    config: type[Recipe]
    module: str


def _entries(line: str) -> Iterator[TaskEntry]:
    """The methods that a line of the table stands for."""
    config: type[Recipe] = load(__name__, line)
    module = f"{__name__}.{line.partition(':')[0]}"
    for method in get_args(config.model_fields["method"].annotation):
        yield TaskEntry(method, config, module)


TASKS = {entry.method: entry for line in _TABLE for entry in _entries(line)}
"""By the name of the method."""


def build_task(recipe: Recipe) -> "Task":
    """What the recipe trains. Raises InputError or ModelError where its data or its first weights cannot be used."""
    build = import_module(TASKS[recipe.method].module).build
    return cast("Task", build(recipe))
