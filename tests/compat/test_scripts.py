"""Scripts in the manner of segment_anything's README and its two notebooks run with only their imports changed."""

import json

import numpy as np
import pytest
import torch
from pycocotools import mask as coco

README_PREDICTOR = """
from segment_anything import SamPredictor, sam_model_registry
sam = sam_model_registry["vit_t"](checkpoint=checkpoint)
predictor = SamPredictor(sam)
predictor.set_image(image)
masks, _, _ = predictor.predict(point_coords=points, point_labels=labels)
"""

README_GENERATOR = """
from segment_anything import SamAutomaticMaskGenerator, sam_model_registry
sam = sam_model_registry["default"](checkpoint=checkpoint)
mask_generator = SamAutomaticMaskGenerator(sam)
masks = mask_generator.generate(image)
"""

PREDICTOR_NOTEBOOK = """
import cv2
import numpy as np
import torch
from segment_anything import sam_model_registry, SamPredictor

image = cv2.imread(photo)
image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

device = "cpu"
sam = sam_model_registry["default"](checkpoint=checkpoint)
sam.to(device=device)
predictor = SamPredictor(sam)
predictor.set_image(image)

# one point, three masks
input_point = np.array([[180, 250]])
input_label = np.array([1])
three, scores, logits = predictor.predict(
    point_coords=input_point,
    point_labels=input_label,
    multimask_output=True,
)

# two points and the best mask so far
input_point = np.array([[180, 250], [300, 100]])
input_label = np.array([1, 0])
mask_input = logits[np.argmax(scores), :, :]
refined, _, _ = predictor.predict(
    point_coords=input_point,
    point_labels=input_label,
    mask_input=mask_input[None, :, :],
    multimask_output=False,
)

# a box, and a box with a point
input_box = np.array([20, 130, 342, 371])
boxed, _, _ = predictor.predict(
    point_coords=None,
    point_labels=None,
    box=input_box[None, :],
    multimask_output=False,
)
both, _, _ = predictor.predict(
    point_coords=np.array([[60, 300]]),
    point_labels=np.array([0]),
    box=input_box,
    multimask_output=False,
)

# several boxes at once
input_boxes = torch.tensor([
    [20, 130, 342, 371],
    [195, 0, 413, 193],
], device=predictor.device)
transformed_boxes = predictor.transform.apply_boxes_torch(input_boxes, image.shape[:2])
batch, quality, low_res = predictor.predict_torch(
    point_coords=None,
    point_labels=None,
    boxes=transformed_boxes,
    multimask_output=False,
)
on_canvas = [mask.cpu().numpy().reshape(*mask.shape[-2:], 1) for mask in batch]
"""

BATCHED_NOTEBOOK = """
import torch
from segment_anything import sam_model_registry
from segment_anything.utils.transforms import ResizeLongestSide

sam = sam_model_registry["default"](checkpoint=checkpoint).eval()
resize_transform = ResizeLongestSide(sam.image_encoder.img_size)

def prepare_image(image, transform, device):
    image = transform.apply_image(image)
    image = torch.as_tensor(image, device=device.device)
    return image.permute(2, 0, 1).contiguous()

boxes1 = torch.tensor([[20, 130, 342, 371], [195, 0, 413, 193]], device=sam.device)
points2 = torch.tensor([[[30.0, 40.0]], [[50.0, 60.0]], [[90.0, 20.0]]])
batched_input = [
    {
        "image": prepare_image(image1, resize_transform, sam),
        "boxes": resize_transform.apply_boxes_torch(boxes1, image1.shape[:2]),
        "original_size": image1.shape[:2],
    },
    {
        "image": prepare_image(image2, resize_transform, sam),
        "point_coords": resize_transform.apply_coords_torch(points2, image2.shape[:2]),
        "point_labels": torch.ones(3, 1),
        "original_size": image2.shape[:2],
    },
]
batched_output = sam(batched_input, multimask_output=True)
"""

GENERATOR_NOTEBOOK = """
from segment_anything import sam_model_registry, SamAutomaticMaskGenerator, SamPredictor

sam = sam_model_registry["default"](checkpoint=checkpoint)
sam.to(device="cpu")
mask_generator = SamAutomaticMaskGenerator(
    model=sam,
    points_per_side=4,
    pred_iou_thresh=0.75,
    stability_score_thresh=0.5,
    crop_n_layers=1,
    crop_n_points_downscale_factor=2,
    min_mask_region_area=20,  # needs OpenCV
    output_mode=output_mode,
)
masks = mask_generator.generate(image)

# largest first, painted over one another
sorted_anns = sorted(masks, key=(lambda x: x["area"]), reverse=True)
keys = masks[0].keys()
"""


def test_the_readme_with_the_model_in_the_package(run, image):
    points, labels = np.array([[180, 250]]), np.array([1])
    masks = run(README_PREDICTOR, image=image, checkpoint="pocket", points=points, labels=labels)["masks"]
    assert (masks.shape, masks.dtype) == ((3, *image.shape[:2]), bool)
    assert masks[:, 250, 180].any()


@pytest.mark.usefixtures("sam")
def test_the_readme_generator(run, image):
    masks = run(README_GENERATOR, image=image, checkpoint="pocket")["masks"]
    assert len(masks) > 1
    assert all(mask["predicted_iou"] > 0.88 for mask in masks)
    assert all(mask["segmentation"].shape == image.shape[:2] for mask in masks)


def test_the_predictor_notebook(run, samples, checkpoint):
    photo = samples / "sneakers.jpg"
    found = run(PREDICTOR_NOTEBOOK, photo=str(photo), checkpoint=str(checkpoint))
    size = found["image"].shape[:2]
    for name, masks in {"three": 3, "refined": 1, "boxed": 1, "both": 1}.items():
        assert (found[name].shape, found[name].dtype) == ((masks, *size), bool), name
    assert found["scores"].shape == (3,)
    assert found["logits"].shape == (3, 32, 32)
    assert isinstance(found["batch"], torch.Tensor)
    assert (found["batch"].shape, found["batch"].dtype) == ((2, 1, *size), torch.bool)
    assert (found["quality"].shape, found["quality"].dtype) == ((2, 1), torch.float32)
    assert (found["low_res"].shape, found["low_res"].dtype) == ((2, 1, 32, 32), torch.float32)
    np.testing.assert_array_equal(found["batch"][0].numpy(), found["boxed"])
    assert not (found["both"] == found["boxed"]).all()
    assert not (found["refined"][0] == found["three"][found["scores"].argmax()]).all()


def test_the_batched_part_of_the_notebook(run, image, checkpoint):
    small = np.ascontiguousarray(image[100:180, 50:170])
    found = run(BATCHED_NOTEBOOK, image1=image, image2=small, checkpoint=checkpoint)["batched_output"]
    assert [set(answer) for answer in found] == [{"masks", "iou_predictions", "low_res_logits"}] * 2
    assert [tuple(answer["masks"].shape) for answer in found] == [(2, 3, *image.shape[:2]), (3, 3, 80, 120)]
    assert found[0]["masks"].dtype == torch.bool
    assert tuple(found[1]["iou_predictions"].shape) == (3, 3)
    assert tuple(found[1]["low_res_logits"].shape) == (3, 3, 32, 32)


@pytest.mark.usefixtures("sam")
@pytest.mark.parametrize("output_mode", ["binary_mask", "uncompressed_rle", "coco_rle"])
def test_the_generator_notebook_in_every_output_mode(run, image, output_mode):
    found = run(GENERATOR_NOTEBOOK, image=image, checkpoint="pocket", output_mode=output_mode)
    height, width = image.shape[:2]
    assert len(found["masks"]) > 1
    assert list(found["keys"]) == [
        "segmentation",
        "area",
        "bbox",
        "predicted_iou",
        "point_coords",
        "stability_score",
        "crop_box",
    ]
    for record in found["masks"]:
        mask = as_mask(record["segmentation"], output_mode, height, width)
        ys, xs = np.nonzero(mask)
        assert type(record["area"]) is int
        assert record["area"] == mask.sum()
        assert record["bbox"] == [xs.min(), ys.min(), xs.max() - xs.min(), ys.max() - ys.min()]
        assert type(record["predicted_iou"]) is type(record["stability_score"]) is float
        ((x, y),) = record["point_coords"]
        x0, y0, w, h = record["crop_box"]
        assert x0 < x < x0 + w
        assert y0 < y < y0 + h
        if output_mode != "binary_mask":
            assert json.loads(json.dumps(record)) == record


def as_mask(segmentation, output_mode, height, width) -> np.ndarray:
    if output_mode == "binary_mask":
        assert segmentation.dtype == bool
        return segmentation
    assert segmentation["size"] == [height, width]
    if output_mode == "coco_rle":
        assert type(segmentation["counts"]) is str
        return coco.decode(segmentation).astype(bool)
    counts = segmentation["counts"]
    assert sum(counts) == height * width
    runs = np.repeat(np.arange(len(counts)) % 2 == 1, counts)  # background first
    return runs.reshape(width, height).T
