"""`Sam` as a module: a small ViT in the published form, against our own network with the same weights."""

import copy
import pickle

import numpy as np
import pytest
import torch

from pocketsam.compat import (
    SamAutomaticMaskGenerator,
    SamPredictor,
    build_sam,
    build_sam_vit_b,
    sam_model_registry,
)
from pocketsam.compat.engine_model import EngineModel
from pocketsam.compat.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
    image_encoder,
)
from pocketsam.compat.modeling.decoding import unchanged
from pocketsam.compat.modeling.image_encoder import (
    Attention,
    add_decomposed_rel_pos,
    get_rel_pos,
    window_partition,
    window_unpartition,
)
from pocketsam.compat.utils.transforms import ResizeLongestSide
from pocketsam.errors import ModelError
from pocketsam.models.encoders.sam_vit import SamViT
from pocketsam.models.sam import Sam as Network

SIZE = 128


@pytest.fixture(scope="module")
def network() -> Network:
    """Ours: windows of 3 × 3 patches, and a block that sees all 8 × 8."""
    torch.manual_seed(3)
    network = Network(SamViT(32, 2, 2, 64, (1,), 3, SIZE), SIZE)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()


@pytest.fixture(scope="module")
def file(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("modules") / "small.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def sam(network) -> Sam:
    """Built with the published constructors."""
    sam = Sam(
        image_encoder=ImageEncoderViT(
            img_size=SIZE,
            embed_dim=32,
            depth=2,
            num_heads=2,
            mlp_ratio=2,
            norm_layer=lambda width: torch.nn.LayerNorm(width, eps=1e-6),
            use_rel_pos=True,
            window_size=3,
            global_attn_indexes=(1,),
        ),
        prompt_encoder=PromptEncoder(256, (SIZE // 16,) * 2, (SIZE,) * 2, 16),
        mask_decoder=MaskDecoder(transformer_dim=256, transformer=TwoWayTransformer(2, 256, 8, 2048)),
    )
    sam.load_state_dict(network.state_dict())
    return sam.eval()


@pytest.fixture
def predictor(sam, image) -> SamPredictor:
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    return predictor


POINTS, LABELS = np.array([[100, 200], [300, 40]]), np.array([1, 0])


def test_a_checkpoint_file_gives_a_module(file, sam):
    loaded = build_sam(file)
    assert isinstance(loaded, Sam)
    assert isinstance(loaded.image_encoder, ImageEncoderViT)
    expected = sam.state_dict()
    assert list(loaded.state_dict()) == list(expected)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    assert loaded.device == torch.device("cpu")
    with pytest.raises(ModelError, match="a network of a shape of its own, not sam_vit_b"):
        build_sam_vit_b(file)


def test_it_computes_what_our_network_does(network, sam):
    pixels = torch.rand(2, 3, SIZE, SIZE)
    with torch.no_grad():
        embedding = sam.image_encoder(pixels)
        torch.testing.assert_close(embedding, network.encode(pixels))
        points, labels = torch.rand(5, 2, 2) * SIZE, torch.tensor([[1, 0]] * 5)
        sparse, dense = sam.prompt_encoder(points=(points, labels), boxes=None, masks=None)
        logits, iou = sam.mask_decoder(
            image_embeddings=embedding[:1],
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        padding = torch.zeros(5, 1, 2), torch.full((5, 1), -1)
        prompts = (torch.cat(pair, 1)[None] for pair in zip((points, labels), padding, strict=True))
        expected, expected_iou = network.decode(embedding[:1], *prompts)
    torch.testing.assert_close(logits, expected[0, :, 1:], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(iou, expected_iou[0, :, 1:], rtol=1e-4, atol=1e-4)


TWO_POINTS = torch.tensor([[[30.0, 60], [90, 12]], [[64, 64], [20, 100]]])
TWO_LABELS = torch.tensor([[1, 0], [1, 1]])
TWO_BOXES = torch.tensor([[6.0, 39, 102, 111], [58, 0, 123, 58]])
TWO_MASKS = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 1, SIZE // 4, SIZE // 4))).float()
TWO_OBJECTS = {
    "points": (TWO_POINTS, TWO_LABELS),
    "boxes": (None, None, TWO_BOXES),
    "points and boxes": (TWO_POINTS, TWO_LABELS, TWO_BOXES),
    "masks": (None, None, None, TWO_MASKS),
    "boxes and masks": (None, None, TWO_BOXES, TWO_MASKS),
    "corners as points": (TWO_POINTS, torch.tensor([[2, 3], [2, 3]])),
}


@pytest.mark.parametrize("prompts", TWO_OBJECTS.values(), ids=TWO_OBJECTS)
@pytest.mark.parametrize("multimask", [True, False])
def test_two_objects_at_once_get_what_each_gets_alone(predictor, prompts, multimask):
    """Alone, an object is computed by the modules; two are computed by the factored decoder."""
    assert unchanged(predictor.model) is not None
    prompts = (*prompts, None, None)[:4]
    together = predictor.predict_torch(*prompts, multimask_output=multimask, return_logits=True)
    for i in range(2):
        own = (None if given is None else given[i : i + 1] for given in prompts)
        alone = predictor.predict_torch(*own, multimask_output=multimask, return_logits=True)
        for ours, modules in zip(together, alone, strict=True):
            torch.testing.assert_close(ours[i], modules[0], rtol=1e-3, atol=1e-3 * float(modules.abs().max()))


def test_attention_in_tiles_is_attention(monkeypatch):
    torch.manual_seed(0)
    attention = Attention(16, 2, use_rel_pos=True, input_size=(6, 5)).requires_grad_(False)
    for position in (attention.rel_pos_h, attention.rel_pos_w):
        torch.nn.init.normal_(position)
    x = torch.randn(2, 6, 5, 16)
    whole = attention(x)  # PyTorch's fused kernel
    monkeypatch.setattr(image_encoder, "TILE", 70)  # two queries of one head
    with torch.no_grad():
        torch.testing.assert_close(attention(x), whole)
        attention.use_rel_pos = False
        without = attention(x)
    torch.testing.assert_close(without, attention(x))
    assert not torch.allclose(without, whole)


def test_points_labelled_as_corners_are_positions_without_a_meaning(predictor):
    logits = [
        predictor.predict(POINTS, np.array(labels), return_logits=True)[0]
        for labels in ([2, 3], [3, 2], [7, 9])
    ]
    np.testing.assert_array_equal(logits[0], logits[1])
    np.testing.assert_array_equal(logits[0], logits[2])
    box = predictor.predict(box=np.array([100, 40, 300, 200]), return_logits=True)[0]
    assert abs(logits[0] - box).max() > 0.1 * box.std()


def test_weights_that_change_count_at_once(predictor):
    model = predictor.model
    before = predictor.predict_torch(TWO_POINTS, TWO_LABELS, return_logits=True)[0]
    with torch.no_grad():
        model.mask_decoder.mask_tokens.weight.data.mul_(-1)
    changed = predictor.predict_torch(TWO_POINTS, TWO_LABELS, return_logits=True)[0]
    assert (changed - before).abs().max() > 0.1 * before.std()
    model.mask_decoder.iou_token = torch.nn.Embedding(1, 256)  # another parameter
    iou = predictor.predict_torch(TWO_POINTS, TWO_LABELS)[1]
    model.mask_decoder.iou_prediction_head.layers[2] = torch.nn.Identity()  # another layer
    assert unchanged(model) is None
    assert iou.shape == (2, 3)


def test_it_trains(sam):
    sam.train()
    assert sam.mask_decoder.training
    optimiser = torch.optim.SGD(sam.parameters(), lr=0.1)
    sparse, dense = sam.prompt_encoder(points=None, boxes=torch.tensor([[1.0, 2, 30, 40]]), masks=None)
    logits, iou = sam.mask_decoder(
        sam.image_encoder(torch.rand(1, 3, SIZE, SIZE)),
        sam.prompt_encoder.get_dense_pe(),
        sparse,
        dense,
        False,
    )
    before = sam.image_encoder.pos_embed.clone()
    (logits.mean() + iou.mean()).backward()
    optimiser.step()
    assert not torch.equal(sam.image_encoder.pos_embed, before)


def test_another_precision(sam, predictor, image):
    exact = predictor.predict(POINTS, LABELS, return_logits=True)[0]
    predictor = SamPredictor(sam.to(dtype=torch.bfloat16))
    predictor.set_image(image)
    assert predictor.features.dtype == torch.bfloat16
    logits = predictor.predict_torch(
        torch.tensor([[[30.0, 60], [90, 12]]]), torch.from_numpy(LABELS)[None], return_logits=True
    )[0]
    assert np.corrcoef(logits.float().numpy().ravel(), exact.ravel())[0, 1] > 0.9


def test_a_batch_is_called_as_published(sam, image):
    transform = ResizeLongestSide(sam.image_encoder.img_size)
    pixels = torch.as_tensor(transform.apply_image(image)).permute(2, 0, 1)
    boxes = transform.apply_boxes_torch(
        torch.tensor([[20, 130, 342, 371], [195, 0, 413, 193]]), image.shape[:2]
    )
    photo = {"image": pixels, "original_size": image.shape[:2], "boxes": boxes}
    (answer,) = sam([photo], multimask_output=False)
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    masks, iou, logits = predictor.predict_torch(None, None, boxes, multimask_output=False)
    assert torch.equal(answer["masks"], masks)
    torch.testing.assert_close(answer["low_res_logits"], logits)
    torch.testing.assert_close(answer["iou_predictions"], iou)


@pytest.fixture
def handle(engine, monkeypatch) -> EngineModel:
    monkeypatch.setattr("pocketsam.compat.engine_model.open_engine", lambda *_, **__: engine)
    return build_sam("pocket")


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))], ids=["deepcopy", "pickle"]
)
def test_predictors_can_be_copied(predictor, handle, image, copied):
    handle = SamPredictor(handle)
    handle.set_image(image)
    for one in (predictor, handle):
        twin = copied(one)
        np.testing.assert_array_equal(twin.predict(POINTS, LABELS)[0], one.predict(POINTS, LABELS)[0])
        assert twin.model is not one.model


class Shifted(ResizeLongestSide):
    """A transform of a client's own."""

    def apply_coords(self, coords, original_size):
        return super().apply_coords(coords, original_size) + 5


class Bare(SamPredictor):
    """As segment-geospatial's: it never calls __init__."""

    def __init__(self, model):
        self.state = "mine"
        self.model = model
        self.transform = Shifted(SIZE)


def test_a_subclass_may_set_its_transform_and_leave_out_init(sam, predictor, image):
    bare = Bare(sam)
    assert not bare.is_image_set
    bare.set_image(image)
    scale = image.shape[1] / SIZE
    shifted, _, _ = bare.predict(POINTS, LABELS, return_logits=True)
    predictor.transform = ResizeLongestSide(SIZE)
    expected, _, _ = predictor.predict(POINTS + 5 * scale, LABELS, return_logits=True)
    np.testing.assert_allclose(shifted, expected, atol=2e-2 * expected.std())
    assert bare.state == "mine"


def test_the_threshold_can_be_assigned(predictor):
    logits, _, _ = predictor.predict(POINTS, LABELS, return_logits=True)
    predictor.model.mask_threshold = float(np.median(logits))
    masks, _, _ = predictor.predict(POINTS, LABELS)
    np.testing.assert_array_equal(masks, logits > predictor.model.mask_threshold)


def test_a_device_may_be_a_number(checkpoint):
    assert build_sam(checkpoint).to(0).device == torch.device("cuda:0")


def generate(sam, image, **assigned):
    generator = SamAutomaticMaskGenerator(sam, 4, pred_iou_thresh=0.0, stability_score_thresh=0.0)
    for name, value in assigned.items():
        setattr(generator, name, value)
    return generator.generate(image)


def test_a_generator_follows_what_is_assigned_to_it(sam, image):
    sam.mask_threshold = 0.0
    records = generate(sam, image, box_nms_thresh=1.0)
    assert len(records) == 48
    confident = [record["area"] for record in records if record["predicted_iou"] > 0.5]
    assert 0 < len(confident) < 48
    some = generate(sam, image, box_nms_thresh=1.0, pred_iou_thresh=0.5)
    assert [record["area"] for record in some] == confident
    grid = [np.array([[0.5, 0.5]])]
    one = generate(sam, image, point_grids=grid, box_nms_thresh=1.0)
    assert {tuple(record["point_coords"][0]) for record in one} == {(image.shape[1] / 2, image.shape[0] / 2)}


def test_a_generator_honours_the_mask_threshold(sam, image):
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    grid = np.array([[0.4, 0.6]])
    point = grid * image.shape[1::-1]
    logits, _, _ = predictor.predict(point, np.array([1]), return_logits=True)
    sam.mask_threshold = float(np.quantile(logits, 0.8))
    generator = SamAutomaticMaskGenerator(
        sam, None, pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=1.0, point_grids=[grid]
    )
    areas = sorted(record["area"] for record in generator.generate(image))
    expected = sorted(int((mask > sam.mask_threshold).sum()) for mask in logits)
    np.testing.assert_allclose(areas, expected, rtol=1e-3)
    assert generator.predictor.model is sam
    assert not generator.predictor.is_image_set


def test_a_generator_calls_modules_that_are_not_the_published_ones(sam, image):
    usual = generate(sam, image)
    calls = []
    sam.mask_decoder.register_forward_hook(lambda *_: calls.append(1))
    called = generate(sam, image)
    assert calls
    assert len(called) == len(usual)
    for one, other in zip(usual, called, strict=True):
        assert (one["segmentation"] != other["segmentation"]).mean() < 1e-3
        assert one["predicted_iou"] == pytest.approx(other["predicted_iou"], rel=1e-3)


def test_parts_of_the_encoder_are_there_to_be_taken():
    windows, padded = window_partition(torch.arange(50.0).view(1, 5, 10, 1), 4)
    assert windows.shape == (6, 4, 4, 1)
    assert padded == (8, 12)
    whole = window_unpartition(windows, 4, padded, (5, 10))
    torch.testing.assert_close(whole, torch.arange(50.0).view(1, 5, 10, 1))
    positions = torch.arange(7.0)[:, None]
    assert get_rel_pos(4, 4, positions)[:, :, 0].tolist() == [
        [3, 2, 1, 0],
        [4, 3, 2, 1],
        [5, 4, 3, 2],
        [6, 5, 4, 3],
    ]
    assert get_rel_pos(2, 4, positions).shape == (2, 4, 1)
    q, rows, columns = torch.rand(1, 6, 2), torch.rand(3, 2), torch.rand(5, 2)
    scores = add_decomposed_rel_pos(torch.zeros(1, 6, 6), q, rows, columns, (2, 3), (2, 3))
    for query, key in ((0, 5), (4, 2)):
        (y, x), (v, u) = divmod(query, 3), divmod(key, 3)
        torch.testing.assert_close(
            scores[0, query, key], q[0, query] @ (rows[y - v + 1] + columns[x - u + 2])
        )


def test_the_registry_says_what_it_gives(file):
    assert isinstance(sam_model_registry["default"](checkpoint=str(file)), torch.nn.Module)
