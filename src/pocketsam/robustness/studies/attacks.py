"""Attacks: how small a change of pixels takes a mask away, and what is left of that on other models and prompts?

Attack-SAM (Zhang et al. 2023, arXiv 2305.00866): the photo is changed by at most ε grey levels so that the mask of a
prompt disappears (removal), fills the photo (enlargement) or becomes another one (manipulation). One object of each
photo is attacked, by the seed's choice. All figures are of the photo in whole grey levels, as a PNG file holds it, on
the engine that is measured; the gradients come from PyTorch.

Measured are also: the same photo after defences (JPEG, resizing), with prompts for which it was not made, on other
models, and, to compare, the photo with random changes of ε.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pocketsam.data.sample import Dataset, Sample
from pocketsam.evaluation.metrics import iou
from pocketsam.evaluation.output import EXAMPLES
from pocketsam.evaluation.prompting import sample_points
from pocketsam.evaluation.protocol import OpenModel
from pocketsam.evaluation.results import Curves, Means, PhotoResult, Report, Row, Table, percent
from pocketsam.predict.prompts import Prompts
from pocketsam.robustness.attacks.case import Case, as_jpeg, resized, white_box
from pocketsam.robustness.others import Others, against_option, each_opened, surrogate_option, with_gradients
from pocketsam.robustness.pictures import Tile, sheet
from pocketsam.robustness.study import Study, with_prompt
from pocketsam.segmenter import Segmenter
from pocketsam.utils.options import counts, option, some_of
from pocketsam.utils.rle import encode

if TYPE_CHECKING:
    from pocketsam.robustness.attacks.network import WhiteBox
    from pocketsam.robustness.attacks.steps import Attack

METHODS = "fgsm", "bim", "pgd", "cw"
GOALS = "removal", "enlargement", "manipulation"
ATTACKED, SHARE, TARGET = "attacked", "share", "target"
DEFENCES = "JPEG", "resized"
OTHERS = "other click", "box", "random noise"
EVERYTHING = "everything"


def _names(default: tuple[str, ...], names: Sequence[str], help: str) -> Any:
    return field(
        default=default,
        metadata=option(type=str, help=f"{help}: {', '.join(names)}.", metavar="NAME,…", read=some_of(names)),
    )


def _numbers(default: tuple[int, ...], help: str) -> Any:
    return field(default=default, metadata=option(type=str, help=help, metavar="N,…", read=counts))


@dataclass(frozen=True)
class Attacks(Study):
    """against: the models that are measured with the same photos, by name. surrogate: opens the model with gradients.

    points: 0 attacks the prompt that is measured; more attack so many random points of the photo together instead.
    """

    methods: tuple[str, ...] = _names(("pgd",), METHODS, "The kinds of steps")
    goals: tuple[str, ...] = _names(("removal",), GOALS, "What the mask shall become")
    epsilons: tuple[int, ...] = _numbers((8,), "The largest changes of a pixel, in grey levels (1/255).")
    steps: tuple[int, ...] = _numbers((10,), "How many steps there are; fgsm takes one.")
    step_size: float = field(
        default=2.0, metadata=option(type=float, help="The length of a step, in grey levels.", metavar="X")
    )
    threshold: float = field(
        default=2.0,
        metadata=option(
            type=float,
            help="The logit beyond which a pixel of a mask is as wanted, and no longer attacked; 10 in the paper.",
            metavar="X",
        ),
    )
    points: int = field(
        default=0,
        metadata=option(
            type=int,
            help="Attack so many random points of the photo together, in place of the click that is measured"
            " (multi-point and any-point attacks); 0: the click itself.",
            metavar="K",
            minimum=0,
        ),
    )
    everything: bool = field(
        default=False,
        metadata=option(
            type=bool, help="Also measure the proposal of everything mode that overlaps the clean mask most."
        ),
    )
    surrogate: OpenModel | None = field(default=None, metadata=surrogate_option())
    against: Others | None = field(
        default=None, metadata=against_option("Also measure this model with the same photos (transfer)")
    )
    seed: int = field(
        default=0,
        metadata=option(type=int, help="Fixes objects, clicks and random starts.", metavar="N", minimum=0),
    )

    name: ClassVar[str] = "attacks"
    summary: ClassVar[str] = "adversarial photos: FGSM, BIM, PGD, C&W; transfer; defences (Attack-SAM)"
    description: ClassVar[str] = (
        "Changes the pixels of each photo by a few grey levels so that the mask of a click disappears, grows or"
        " becomes another, and compares the mask with that of the clean photo. The engine must compute gradients:"
        " give --engine torch, or another model as --surrogate."
    )
    follows: ClassVar[str] = "Attack-SAM (arXiv 2305.00866)"
    results: ClassVar[dict[str, str]] = {
        "attacked": "mean IoU in % of the masks of the attacked and of the clean photo",
        "share": "mean share of the photo that the mask covers, in %",
        "target": "for manipulation: mean IoU in % with the wanted mask",
        "JPEG, resized": "as attacked, after saving as JPEG (quality 75), or halving and doubling the size",
        "other click, box": "as attacked, for prompts of the same object for which the photo was not made",
        "everything": "as attacked, for the proposals of everything mode that overlap the clean mask most",
        "random noise": "as attacked, for random changes of ε instead of the attack",
    }

    @classmethod
    def build(
        cls, settings: Mapping[str, Any], dataset: Dataset, open_model: Callable[[str], OpenModel]
    ) -> "Attacks":
        """See `EvaluationProtocol.build`. Raises InputError without PyTorch."""
        return cls(**with_gradients(cls, settings, open_model))

    @property
    def attacks(self) -> "list[Attack]":
        """All attacks: FGSM takes one step, whatever the numbers of steps."""
        from pocketsam.robustness.attacks.steps import Attack

        made = (
            Attack(method, goal, epsilon, 1 if method == "fgsm" else steps, self.step_size, self.threshold)
            for goal, method, epsilon, steps in product(self.goals, self.methods, self.epsilons, self.steps)
        )
        return list(dict.fromkeys(made))

    def measure(self, segmenter: Segmenter, sample: Sample, photo: int) -> PhotoResult:
        """One object of a photo, attacked in all ways: a row each. Raises ModelError without gradients."""
        case = Case.of(sample, self.seed)
        box = white_box(segmenter, self.surrogate)
        others = each_opened(self.against)
        clean = {name: case.mask(one, sample.image) for name, one in {"": segmenter, **others}.items()}
        if not clean[""].any():
            return PhotoResult(photo, sample.name, sample.source)
        rows = []
        for attack in self.attacks:
            image = self._attacked(attack, box, case)
            scores = self._scores(attack, case, segmenter, image, clean[""])
            scores |= {name: iou(case.mask(one, image), clean[name]) for name, one in others.items()}
            record = {**vars(attack), "box": case.box.tolist(), "points": case.click.tolist()}
            rows.append(Row(case.number, int(clean[""].sum()), scores, record))
        return PhotoResult(photo, sample.name, sample.source, rows)

    def _attacked(self, attack: "Attack", box: "WhiteBox", case: Case) -> NDArray[np.uint8]:
        from pocketsam.robustness.attacks.steps import perturb

        size, name = case.sample.image.shape, case.sample.name
        height, width = size[:2]
        anywhere = sample_points((height, width), self.points, self.seed, name)[:, None]
        points = anywhere if self.points else case.click[None]
        prompts = Prompts.of(points=points, photo_size=(height, width))
        random = np.random.default_rng([self.seed, 3, *name.encode()])
        target = case.target if attack.goal == "manipulation" else None
        return perturb(attack, box, case.sample.image, prompts, random, target)

    def _scores(
        self,
        attack: "Attack",
        case: Case,
        segmenter: Segmenter,
        image: NDArray[np.uint8],
        clean: NDArray[np.bool_],
    ) -> dict[str, float | None]:
        """What became of the mask, here and with defences, other prompts and mere noise."""
        found = case.mask(segmenter, image)
        photo, before = segmenter.open(image), segmenter.open(case.sample.image)
        prompts: dict[str, dict[str, Any]] = {
            "other click": {"points": case.other_click},
            "box": {"boxes": case.box},
        }
        noise = case.noise(self.seed, attack.epsilon)
        proposals = [case.proposal(one, clean) for one in (photo, before)] if self.everything else None
        return {
            ATTACKED: iou(found, clean),
            SHARE: float(found.mean()),
            TARGET: iou(found, case.target) if attack.goal == "manipulation" else None,
            "JPEG": iou(case.mask(segmenter, as_jpeg(image)), clean),
            "resized": iou(case.mask(segmenter, resized(image)), clean),
            **{
                name: iou(photo.segment(**prompt).binary[0], before.segment(**prompt).binary[0])
                for name, prompt in prompts.items()
            },
            "random noise": iou(case.mask(segmenter, noise), clean),
            EVERYTHING: iou(*proposals) if proposals else None,
        }

    def summarise(self, results: Sequence[PhotoResult]) -> Report:
        """A line for each attack; curves over ε, and over steps, where there are several."""
        by_attack = {str(attack): with_prompt(results, **vars(attack)) for attack in self.attacks}
        everything = [EVERYTHING] if self.everything else []
        columns = [ATTACKED, SHARE, TARGET, *DEFENCES, *OTHERS, *everything, *(self.against or {})]
        means = {name: Means(part) for name, part in by_attack.items()}
        photos = sum(bool(result.rows) for result in results)
        numbers = {
            "photos": photos,
            "attacks": {name: {column: one[column] for column in columns} for name, one in means.items()},
        }
        lines = [[name, *(percent(one[column]) for column in columns)] for name, one in means.items()]
        title = f"one object in each of {photos} photos: mean IoU with the mask of the clean photo, %"
        if self.points:
            title += f"; attacked at {self.points} random points"
        curves = [self._curves(means, name) for name in ("epsilon", "steps") if self._varies(name)]
        return Report(numbers, [Table(title, ["attack", *columns], lines)], curves if photos else [])

    def _varies(self, name: str) -> bool:
        return len({getattr(attack, name) for attack in self.attacks if attack.method != "fgsm"}) > 1

    def _curves(self, means: Mapping[str, Means], over: str) -> Curves:
        """A line for each goal and method: the mean IoU by ε or by steps; of the other, the largest counts."""
        other = {"epsilon": "steps", "steps": "epsilon"}[over]
        lines: dict[str, list[tuple[float, float]]] = {}
        for attack in self.attacks:
            same = [one for one in self.attacks if (one.method, one.goal) == (attack.method, attack.goal)]
            if getattr(attack, other) == max(getattr(one, other) for one in same):
                value = 100 * (means[str(attack)][ATTACKED] or 0.0)
                x = float(getattr(attack, over))
                lines.setdefault(f"{attack.goal}, {attack.method}", []).append((x, value))
        label = {"epsilon": "ε, grey levels", "steps": "steps"}[over]
        return Curves("Attacked masks", label, "mean IoU with the clean mask, %", lines)

    def pictures(
        self, results: Sequence[PhotoResult], dataset: Dataset, open_model: OpenModel
    ) -> dict[str, bytes]:
        """A sheet of the first photo: clean, attacked in each way, and the change of pixels, made visible."""
        first = next(result.photo for result in results if result.rows)
        case, segmenter = Case.of(dataset.read(first).promptable(), self.seed), open_model()
        box, clean = white_box(segmenter, self.surrogate), case.sample.image
        click = [(float(x), float(y)) for x, y in case.click]
        tiles = [Tile("clean", clean, [encode(case.mask(segmenter, clean))], click)]
        for attack in self.attacks:
            image = self._attacked(attack, box, case)
            caption = str(attack).replace("ε", "eps")  # the font has no Greek
            tiles.append(Tile(caption, image, [encode(case.mask(segmenter, image))], click))
        change = (image.astype(int) - clean) * (127 // max(1, int(attack.epsilon))) + 128
        tiles.append(Tile("the last change, enlarged", np.clip(change, 0, 255).astype(np.uint8)))
        return {EXAMPLES: sheet(tiles, columns=4, side=260)}
