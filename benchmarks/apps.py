"""Applications, measured. Run: python benchmarks/apps.py val-000.tar --only edges

Writes a section of docs/apps.md for each application, and its pictures into docs/pictures/apps/. Sections that are
not measured stay as they are. A new application is a function here and a line in SECTIONS.
"""

import json
import os
import re
import resource
import statistics
import sys
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import run
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Annotated

import cv2
import matplotlib
import numpy as np
import typer
from coco_set import main as coco_set
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track

from pocketsam import Segmenter
from pocketsam.apps.cutout import cut_out, salient_alpha
from pocketsam.apps.detectors import Found
from pocketsam.apps.mapping import PromptMapping
from pocketsam.apps.saliency import open_encoder
from pocketsam.apps.saliency_head import SaliencyHead
from pocketsam.apps.text import TextSegmenter
from pocketsam.apps.tracking import track as track_objects
from pocketsam.apps.transmission import codecs
from pocketsam.apps.transmission.channel import Channel
from pocketsam.apps.transmission.quality import ms_ssim, psnr, ssim
from pocketsam.apps.transmission.semantic import TransmissionSettings, receive, send
from pocketsam.data.sa1b import Shards
from pocketsam.data.sample import Sample
from pocketsam.errors import InputError
from pocketsam.evaluation.job import Run, evaluate
from pocketsam.evaluation.metrics import iou
from pocketsam.evaluation.protocols import PROTOCOLS
from pocketsam.evaluation.results import Table
from pocketsam.predict.drawing import draw_masks, draw_prompts
from pocketsam.predict.formats.pictures import encode_image
from pocketsam.predict.image import load_image
from pocketsam.predict.objects import ObjectPrompt
from pocketsam.robustness.pictures import Tile, sheet
from pocketsam.utils.boxes import tight_box

matplotlib.use("Agg")
from matplotlib import pyplot as plt

ROOT = Path(__file__).parent.parent
PAGE, PICTURES = ROOT / "docs" / "apps.md", ROOT / "docs" / "pictures" / "apps"
SALIENT, DRAWN = "ecssd", "bsds-test"
"""The sources of photos whose mask is the salient object, and of those with regions of several annotators."""
CLIP = "camel"
"""And of the frames of a clip, in the training shards beside."""
RUNS = 7
QUALITIES = (30, 50, 70, 80, 90, 95)
UNIFORM = (1, 3, 6, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90, 97)
LOSSES, SEEDS = (0.0, 0.05, 0.1, 0.2, 0.3), range(5)

Photos = list[tuple[NDArray[np.uint8], NDArray[np.bool_]]]


def main(
    data: Annotated[Path, typer.Argument(help="A shard with photos of the sources ecssd and bsds-test.")],
    only: Annotated[list[str] | None, typer.Option(help="A section; may be repeated.")] = None,
    photos: Annotated[int, typer.Option(help="Of semantic communication: measured photos.", min=1)] = 20,
    page: Annotated[Path, typer.Option(help="The page whose sections are written.")] = PAGE,
) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name in only or list(SECTIONS):
        if name not in SECTIONS:
            raise typer.BadParameter(f"there is no section {name!r}; give {', '.join(SECTIONS)}")
        title, measure = SECTIONS[name]
        write_section(page, title, measure(data, photos))
        print(f"{page}: {title}")


def cutouts(data: Path, photos: int) -> str:
    """The measures of saliency, the time of the command, and the sample photos cut out."""
    report = evaluated("saliency", data, {"source": [SALIENT]})
    head, segmenter = SaliencyHead(), open_encoder()
    tiles = []
    for path in sorted((ROOT / "samples").glob("*.jpg")):
        picture = Image.fromarray(cut_out(segmenter.open(path), head))
        tiles.append(
            Tile(
                path.stem, np.asarray(Image.alpha_composite(chequered(picture.size), picture).convert("RGB"))
            )
        )
    (PICTURES / "cutouts.jpg").write_bytes(sheet(tiles, columns=6, side=230))
    return f"""EfficientSAM (arXiv 2312.00863) finds salient objects by a network of its own, and prompts the
model with points in them. Here a head of {size_of_head()} kB works on the embedding that prompts use, too ([how
to](how-to/cut-out.md)). It was trained on the
841 photos of the source ecssd in the training shards, by `make train-saliency`; the encoder was frozen. The mask
of each photo is its salient object. The 50 photos measured here were watched while its size and the number of steps
were chosen.

`pocketsam evaluate saliency {data.name} --source {SALIENT}`

{report}
"IoU by boxes" and "IoU by points" are of the masks that the model gives for the box of each salient region, and
for 3 random points in each, as in the paper. With several objects beside
each other, these tell them apart (`--instances`); the head alone is better where the object is one.

A sample photo of 533 × 400 pixels, from the start of the process to the file written, on
{len(os.sched_getaffinity(0))} processor core(s): {time_of_cutout()}; the median of {RUNS} runs of
`pocketsam cutout samples/tshirt.jpg`.

![the six sample photos, cut out](pictures/apps/cutouts.jpg)
"""


def transmission(data: Path, photos: int) -> str:
    """Quality inside and outside the regions against bits, beside uniform quality; and losses."""
    chosen = salient_photos(data, photos)
    uniform = [uniform_points(image, mask) for image, mask in track(chosen, "uniform")]
    sent = {
        quality: [semantic_point(*photo, quality) for photo in track(chosen, f"quality {quality}")]
        for quality in QUALITIES
    }
    lines, gains = [], []
    for quality, points in sent.items():
        beside = [at_equal_bits(curve, point) for curve, point in zip(uniform, points, strict=True)]
        ours, theirs = np.mean(points, axis=0), np.mean(beside, axis=0)
        gain = np.array(points)[:, 1] - np.array(beside)[:, 1]
        gains.append(f"{(gain >= 3).mean():.0%}")
        pairs = [
            f"{a:.{digits}f} / {b:.{digits}f}"
            for a, b, digits in zip(ours[1:], theirs[1:], (1, 1, 3, 3, 3, 3), strict=True)
        ]
        lines.append([str(quality), f"{ours[0]:.2f}", *pairs, f"{gain.mean():+.1f}", gains[-1]])
    headings = [
        "quality",
        "bits a pixel",
        "PSNR in, dB",
        "PSNR out, dB",
        "SSIM in",
        "SSIM out",
        "MS-SSIM in",
        "MS-SSIM out",
    ]
    table = Table(
        "Semantic / uniform, at equal bits", [*headings, "PSNR in: gain, dB", "photos with ≥ 3 dB"], lines
    )
    draw_curves(sent, uniform)
    share = np.mean([mask.mean() for _, mask in chosen])
    return f"""[Semantic communication](how-to/transmit.md) (arXiv 2306.02094): the
salient object is sent well, the rest poorly. The first {len(chosen)} photos of the source {SALIENT};
the regions are what the saliency head finds, on average {share:.0%} of a photo. WebP, `--background 10`, tiles of
128 pixels; bits are those of the whole container with the mask's run
lengths. Beside it, the whole photo as one WebP file, whose quality is chosen so that it has as many bits
(interpolated between {len(UNIFORM)} qualities).

{table.markdown()}
![PSNR inside and outside the regions against bits](pictures/apps/transmission.png)

The gain is large where the regions are small or the background is detailed. Where regions cover half of the
photo, there is none: the bits have nowhere else to come from.

{losses_table(chosen).markdown()}
Packets are lost independently of each other; mean of {len(SEEDS)} runs of each photo. "Twice" sends mask and
regions twice (`--copies 2`), and counts the bits of both. "Uniform" is the whole photo in tiles of the same size,
at a quality
that gives as many bits as "once".

![a sample photo as it was sent, with no loss and with 20 % of the packets lost](pictures/apps/transmission.jpg)
"""


def edges(data: Path, photos: int) -> str:
    """The benchmark's figures, and some edge maps beside the annotators' boundaries."""
    report = evaluated("edges", data, {"source": [DRAWN], "thresholds": 20})
    return f"""SAM's test of its everything mode (arXiv 2304.02643, section 7.2): the outlines of the masks of a
16 × 16 grid of points are an edge map, measured as in BSDS500.

`pocketsam evaluate edges {data.name} --source {DRAWN} --thresholds 20`

{report}
The ground truth is not the benchmark's own: the shard holds the regions of the coarsest and of the finest
annotator of each photo, not of all five or so, and has {DRAWN}'s photos in part.
An edge that only another annotator drew counts as wrong. The figures must not be compared with published ones.
The tolerance is the benchmark's, 0.75 % of the diagonal; pixels are matched one to one.
"""


def mapped(data: Path, photos: int) -> str:
    """Prompts mapped onto everything mode's masks, against prompts; and both for a click on sample photos."""
    report = evaluated("mapped", data, {}, limit=photos)
    with TemporaryDirectory() as folder:
        coco_set([data], Path(folder), limit=2 * photos)
        boxes = {"detections": Path(folder) / "detections.json", "mapped": True}
        precision = evaluated("boxes", Path(folder) / "instances.json", boxes)
    segmenter, tiles = Segmenter(), []
    prompts = {
        "sneakers": ObjectPrompt(box=(20, 130, 342, 371)),
        "cap": ObjectPrompt(((200, 150), (20, 20)), (1, 0)),
    }
    for name, prompt in prompts.items():
        photo = segmenter.open(ROOT / "samples" / f"{name}.jpg")
        found, own = photo.everything(), photo.segment_objects([prompt])
        canvas = draw_masks(photo.image, PromptMapping(found.rle, found.size).of_objects([prompt]))
        draw_prompts(canvas, own.prompts, np.zeros(1, np.intp))
        tiles += [
            Tile("everything mode", found.overlay()),
            Tile("mapped onto it", canvas),
            Tile("own prompts", own.overlay()),
        ]
    (PICTURES / "mapped.jpg").write_bytes(sheet(tiles, columns=3, side=330))
    return f"""FastSAM (arXiv 2306.12156) knows no prompts: it finds all masks first, and prompts choose among them.
MobileSAM (arXiv 2306.14289, Table 7) shows what that costs, with a foreground and a background point 100 to 500
pixels apart: FastSAM's masks have a mean IoU of 27 to 41 % with those of SAM. Here everything mode of `pocket` is in
FastSAM's place, and `pocket` with prompts in SAM's; the lines below compare both with the ground truth, too.

`pocketsam evaluate mapped {data.name} --limit {photos}`

{report}
The random pairs of the first line fall anywhere in the photo, one pair of each distance a photo, so its means are
of few
prompts. In the other lines the first point is on a ground-truth mask and the second one is not. Photos have at most
512 pixels on the long side.

TinySAM (arXiv 2312.13789, Table 1) has FastSAM beside models with prompts, by the AP of masks for a detector's boxes.
Here the boxes are the true ones, moved at random, and some of them twice:

`python benchmarks/coco_set.py {data.name} -o coco --limit {2 * photos}`,
`pocketsam evaluate boxes coco/instances.json --detections coco/detections.json --mapped`

{precision}
With `--fastsam FILE.onnx` the masks of a FastSAM or YOLOv8-seg model are mapped; none was at hand here. That such
files are decoded as ultralytics decodes them is tested on recorded outputs.

For a single prompt, mapping may be the better of the two, though not on the average:

![all masks, what a box and two points choose among them, and what they give as prompts](pictures/apps/mapped.jpg)
"""


def text(data: Path, photos: int) -> str:
    """A sample photo with boxes as a detector would give them."""
    boxes = [Found("left shoe", 0.81, (20, 130, 342, 371)), Found("right shoe", 0.78, (195, 0, 413, 193))]

    class Drawn:
        def detect(self, image: NDArray[np.uint8], names: Sequence[str], file_name: str) -> list[Found]:
            return boxes

    opener = TextSegmenter(Segmenter(), Drawn(), ["left shoe", "right shoe"])
    masks = opener.open(ROOT / "samples" / "sneakers.jpg").segment_objects([])
    (PICTURES / "text.jpg").write_bytes(encode_image(masks.overlay(), ".jpg"))
    return """Grounded-SAM (arXiv 2401.14159): a detector finds boxes by names, and the boxes are prompts.

```
pip install '.[text]'
pocketsam segment photo.jpg --text "red car" --text dog
pocketsam segment photo.jpg --text "red car" --detector google/owlv2-base-patch16-ensemble --min-score 0.2
pocketsam segment photos/ --text cap --detector boxes.json -o masks.json
```

A detector is one of these:

- a zero-shot detector of transformers, by its name on the Hugging Face hub or its folder (Grounding DINO, OWL-ViT,
  OWLv2; safetensors only);
- `FILE.onnx`, a YOLO-World or other YOLO network that was exported without NMS. It finds the names that it was
  exported with (YOLO-World's `set_classes`), and needs no PyTorch;
- `FILE.json`, boxes that any other detector has found:
  `{"photo.jpg": [{"name": "cap", "score": 0.9, "box": [20, 40, 300, 280]}]}`.

Of two masks whose boxes have an IoU above 0.7, the one with the higher score stays. The names are the classes in
every format that holds classes; the score is `detector_score` in COCO and GeoJSON files, and is drawn on overlays.
The other formats have predicted IoU as their score.

No accuracy is given here: published detectors were not at hand. A tiny OWL-ViT with random weights, of the real
architecture, is tested. In the picture, boxes drawn by hand stand for a detector's.

![a photo with two named masks](pictures/apps/text.jpg)
"""


def tracking(data: Path, photos: int) -> str:
    """J&F on the frames of DAVIS's camel that the training shards have, and a sheet of them."""
    samples = [
        shards.read(i)
        for path in sorted(data.parent.glob("train-*.tar"))
        for shards in [Shards(path)]
        for i in range(len(shards))
        if shards.source(i) == CLIP
    ]
    samples.sort(key=lambda one: frame_number(one, data.parent))
    truths = [sample.mask(0) for sample in samples]
    segmenter = Segmenter()
    with TemporaryDirectory() as folder:
        frames = [Path(folder) / f"{i:03}.png" for i in range(len(samples))]
        for frame, sample in zip(frames, samples, strict=True):
            Image.fromarray(sample.image).save(frame)
        prompt = ObjectPrompt(box=tuple(tight_box(truths[0]).astype(float)))
        tracked = list(track_objects(segmenter, frames, [prompt]))
    by_truth = [
        segmenter.open(sample.image).segment(boxes=tight_box(truth)).binary[0]
        for sample, truth in zip(samples, truths, strict=True)
    ]
    followed = [frame.masks.binary[0] for frame in tracked]
    lines = []
    for name, masks in {
        "tracked from a box on the first frame": followed,
        "the first frame's mask, left where it is": [followed[0]] * len(samples),
        "the ground truth's box on every frame": by_truth,
    }.items():
        j = np.mean([iou(mask, true) for mask, true in zip(masks[1:], truths[1:], strict=True)])
        f = np.mean([boundary_f(mask, true) for mask, true in zip(masks[1:], truths[1:], strict=True)])
        lines.append([name, *(f"{100 * value:.1f}" for value in (j, f, (j + f) / 2))])
    draw_tracking(segmenter)
    lost = sum(not frame.found[0] for frame in tracked)
    table = Table(f"{len(samples) - 1} frames after the first, %", ["", "J", "F", "J&F"], lines)
    return f"""The mask of each frame prompts the next: the point deepest in it, the box of the connected part
around that point, enlarged by 5 % on each side, and the mask itself. There is no memory of earlier frames.

`pocketsam track FRAMES --box 156,51,425,258`

{table.markdown()}
The clip is DAVIS's camel, as far as there are frames with ground truth: {len(samples)} frames, every sixth of the
film. They are in the training shards, so `pocket` knows them, and the figures are no forecast for other films. J is
the
mean IoU, F the F-measure of the outlines (Perazzi et al. 2016: pixels within 0.8 % of the diagonal match). The
object counted as lost in {lost} frames.

What to expect: objects that stay near their place and keep their look from frame to frame are followed. What leaves
the
picture, is hidden or jumps farther than its own size is lost, and an error in one frame is carried into the next: a
second camel passes here, and what touches the object easily becomes part of its mask.

The picture is of another clip, which is made of one photo: the camera turns past a shoe and comes closer.

![frames of a clip with the mask and the prompts that gave it](pictures/apps/tracking.jpg)
"""


def draw_tracking(segmenter: Segmenter) -> None:
    """A sheet of frames that are cut out of a sample photo."""
    photo = Image.open(ROOT / "samples" / "sneakers.jpg").convert("RGB")
    with TemporaryDirectory() as folder:
        frames = []
        for i in range(8):
            width = photo.width * (1 - 0.03 * i)
            height = width * photo.height / photo.width
            top, left = photo.height - height, 5 * i
            frames.append(Path(folder) / f"{i}.png")
            photo.resize((400, 375), box=(left, top, left + width - 40, top + height)).save(frames[-1])
        prompt = ObjectPrompt(box=(20, 122, 345, 350))
        tracked = list(track_objects(segmenter, frames, [prompt]))
    tiles = [Tile(f"frame {int(one.path.stem) + 1}", one.masks.overlay()) for one in tracked]
    (PICTURES / "tracking.jpg").write_bytes(sheet(tiles, columns=4, side=300))


def frame_number(sample: Sample, folder: Path) -> int:
    """The number of a frame in its film, which only the shard's json holds."""
    for path in folder.glob("train-*.tar"):
        with tarfile.open(path) as shard:
            if (member := f"{Path(sample.name).stem}.json") in shard.getnames():
                return int(json.load(shard.extractfile(member))["image"]["source_name"])
    raise InputError(f"{sample.name}: is in no shard")


def boundary_f(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """DAVIS's F of two masks (H, W): how much of each outline lies within 0.8 % of the diagonal of the other."""
    radius = int(np.ceil(0.008 * np.hypot(*mask.shape)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    edges = [
        one.view(np.uint8) - cv2.erode(one.view(np.uint8), np.ones((3, 3), np.uint8)) for one in (mask, truth)
    ]
    near = [cv2.dilate(one, disc) for one in edges]
    precision, recall = (
        (one & other).sum() / max(1, one.sum()) for one, other in zip(edges, near[::-1], strict=True)
    )
    return float(2 * precision * recall / max(1e-9, precision + recall))


def evaluated(name: str, data: Path, given: dict[str, object], limit: int | None = None) -> str:
    """The first table of a protocol."""
    with TemporaryDirectory() as folder:
        how = Run(output=Path(folder) / "result", workers=0, limit=limit)
        outcome = evaluate(
            PROTOCOLS[name],
            given,
            how,
            [data],
            lambda done, total, means: print(done, total, means, end="\r"),
        )
        return outcome.report.tables[0].markdown()


def size_of_head() -> int:
    return round((ROOT / "src/pocketsam/weights/pocket/saliency.onnx").stat().st_size / 1000)


def time_of_cutout() -> str:
    """The time of whole processes, after one that does not count; of a busy machine only the processor's."""
    code, used, passed = "from pocketsam.__main__ import main; main()", [], []
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-c", code, "cutout", str(ROOT / "samples" / "tshirt.jpg"), "-o", folder]
        for _ in range(RUNS + 1):
            start, before = perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            run(command, check=True, capture_output=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            passed.append(perf_counter() - start)
            used.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    seconds, processor = statistics.median(passed[1:]), statistics.median(used[1:])
    if seconds > 1.3 * processor:
        return f"{processor:.2f} s of processor time (the machine was busy with other work, too)"
    return f"{seconds:.2f} s, {processor:.2f} s of processor time"


def chequered(size: tuple[int, int], side: int = 12) -> Image.Image:
    """The pattern that stands for transparency."""
    y, x = np.mgrid[: size[1], : size[0]] // side
    grey = np.where((x + y) % 2, 255, 215).astype(np.uint8)
    return Image.fromarray(np.dstack([grey, grey, grey, np.full_like(grey, 255)]))


def salient_photos(data: Path, count: int) -> Photos:
    """The first photos with a salient object that is found, and its mask as it is found."""
    shards, segmenter, head = Shards(data), open_encoder(), SaliencyHead()
    found: Photos = []
    for i in [i for i in range(len(shards)) if shards.source(i) == SALIENT]:
        if len(found) == count:
            break
        image = shards.read(i).image
        try:
            found.append((image, salient_alpha(segmenter.open(image), head) > 127))
        except InputError:
            continue
    return found


def measures(image: NDArray[np.uint8], received: NDArray[np.uint8], mask: NDArray[np.bool_]) -> list[float]:
    """PSNR, SSIM and MS-SSIM, each inside and outside."""
    return [measure(image, received, where) for measure in (psnr, ssim, ms_ssim) for where in (mask, ~mask)]


def semantic_point(image: NDArray[np.uint8], mask: NDArray[np.bool_], quality: int) -> list[float]:
    container = send(image, mask, TransmissionSettings(quality=quality))
    return [8 * container.bytes / mask.size, *measures(image, receive(container).image, mask)]


def uniform_points(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Bits a pixel, and the measures, of the whole photo at each quality."""
    codec, points = codecs.CODECS["webp"], []
    for quality in UNIFORM:
        content = codecs.encode(image, codec, quality)
        received = codecs.decode(content, codec, image.shape[:2])
        points.append([8 * len(content) / mask.size, *measures(image, received, mask)])
    return np.array(points)


def at_equal_bits(curve: NDArray[np.float64], point: list[float]) -> list[float]:
    """The uniform measures with the bits of a point; below the least, those of the least, which has more bits."""
    return [
        point[0],
        *(float(np.interp(point[0], curve[:, 0], curve[:, k])) for k in range(1, curve.shape[1])),
    ]


def draw_curves(sent: dict[int, list[list[float]]], uniform: list[NDArray[np.float64]]) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained", sharey=True)
    ours, theirs = np.array([np.mean(points, axis=0) for points in sent.values()]), np.mean(uniform, axis=0)
    for one, column, where in zip(axes, (1, 2), ("inside the regions", "outside"), strict=True):
        one.plot(theirs[:, 0], theirs[:, column], "s-", markersize=3, label="uniform quality")
        one.plot(ours[:, 0], ours[:, column], "o-", markersize=3, label="regions well, the rest poorly")
        one.set(title=f"PSNR {where}", xlabel="bits a pixel", xlim=(0, 1.1 * ours[:, 0].max()))
        one.grid(alpha=0.3)
    axes[0].set_ylabel("PSNR, dB")
    axes[0].legend(frameon=False)
    figure.savefig(PICTURES / "transmission.png", dpi=100)


def losses_table(photos: Photos) -> Table:
    """PSNR inside the regions when packets are lost; and a picture of one photo."""
    settings = TransmissionSettings()
    lines = {loss: [f"{loss:.0%}"] for loss in LOSSES}
    kinds: dict[str, list[tuple[object, Channel]]] = {"once": [], "twice": [], "uniform": []}
    bits = {name: [] for name in kinds}
    results: dict[str, dict[float, list[float]]] = {name: {loss: [] for loss in LOSSES} for name in kinds}
    for image, mask in track(photos, "losses"):
        once = send(image, mask, settings)
        containers = {"once": (once, 1), "twice": (once, 2), "uniform": (tiled(image, once.bytes), 1)}
        for name, (container, copies) in containers.items():
            bits[name].append(8 * Channel(0, copies).bytes(container) / mask.size)
            for loss in LOSSES:
                for seed in SEEDS if loss else range(1):
                    arrived = receive(Channel(loss, copies).transmit(container, seed))
                    results[name][loss].append(psnr(image, arrived.image, mask))
    draw_transmission(settings)
    for loss, line in lines.items():
        line += [f"{np.mean(results[name][loss]):.1f}" for name in kinds]
    headings = ["packets lost", *(f"{name} ({np.mean(bits[name]):.2f} bits a pixel)" for name in kinds)]
    return Table("PSNR inside the regions, dB, when packets are lost", headings, list(lines.values()))


def draw_transmission(settings: TransmissionSettings) -> None:
    """A sheet of a sample photo as it arrives, with and without losses."""
    image = load_image(ROOT / "samples" / "cap.jpg")
    mask = cut_out(open_encoder().open(image), SaliencyHead())[..., 3] > 127
    container = send(image, mask, settings)
    tiles = [
        Tile("the photo", image),
        Tile("received", receive(container).image),
        Tile("20 % lost", receive(Channel(0.2).transmit(container, 1)).image),
        Tile("20 % lost, twice", receive(Channel(0.2, 2).transmit(container, 1)).image),
        Tile("uniform, 20 % lost", receive(Channel(0.2).transmit(tiled(image, container.bytes), 1)).image),
    ]
    (PICTURES / "transmission.jpg").write_bytes(sheet(tiles, columns=5, side=300))


def tiled(image: NDArray[np.uint8], size: int) -> object:
    """A photo in tiles of one quality, the best one with no more bytes than `size`, or the worst there is."""
    nothing = np.zeros(image.shape[:2], np.bool_)
    best = send(image, nothing, TransmissionSettings(background=1, scale=1))
    for quality in UNIFORM[1:]:
        container = send(image, nothing, TransmissionSettings(background=quality, scale=1))
        if container.bytes > size:
            break
        best = container
    return best


def write_section(page: Path, title: str, text: str) -> None:
    """Replace a section of the page, or add it at its end."""
    content = page.read_text() if page.exists() else INTRODUCTION
    section = f"## {title}\n\n{text.strip()}\n"
    pattern = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
    if pattern.search(content):
        content = pattern.sub(lambda _: f"{section}\n", content)
    else:
        content = f"{content.rstrip()}\n\n{section}"
    page.write_text(f"{content.rstrip()}\n")


INTRODUCTION = """# Applications, measured

What people do with masks, measured on photos outside the training data, except the frames of *A clip*.
`python benchmarks/apps.py val-000.tar` writes this page; `--only NAME` writes one section.
"""
SECTIONS: dict[str, tuple[str, Callable[[Path, int], str]]] = {
    "cutout": ("Cut-outs without a prompt", cutouts),
    "transmission": ("Semantic communication", transmission),
    "edges": ("Zero-shot edges", edges),
    "mapped": ("Prompts mapped onto masks", mapped),
    "text": ("Text prompts", text),
    "tracking": ("A clip", tracking),
}
"""By the name that --only takes: a section's title, and what measures and writes it."""

if __name__ == "__main__":
    typer.run(main)
