import pytest

from pocketsam.errors import InputError
from pocketsam.predict.objects import ObjectPrompt, alike, check_pixels, cut_boxes


def test_points_are_one_object_and_boxes_are_one_each():
    assert ObjectPrompt.several([5, 6, 7, 8], [1, 0], [], "shoe") == [
        ObjectPrompt(((5, 6), (7, 8)), (1, 0), None, "shoe")
    ]
    boxes = ObjectPrompt.several([], [], [1, 2, 3, 4, 5, 6, 7, 8])
    assert [one.box for one in boxes] == [(1, 2, 3, 4), (5, 6, 7, 8)]
    assert ObjectPrompt.several([5, 6], [], [1, 2, 9, 9]) == [ObjectPrompt(((5, 6),), (1,), (1, 2, 9, 9))]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (([5], [], []), "points must be pairs X,Y, not 1 numbers"),
        (([], [], [1, 2, 3]), "boxes must be X0,Y0,X1,Y1, not 3 numbers"),
        (([5, 6], [1, 1], []), "1 points need as many labels"),
        (([5, 6], [2], []), "each 1 .on the object. or 0"),
        (([], [1], []), "0 points need as many labels"),
        (([5, 6], [], [1, 2, 3, 4, 5, 6, 7, 8]), "points belong to one object"),
        (([0.5, 0.2], [], []), "looks like fractions"),
    ],
)
def test_numbers_that_make_no_object_are_refused(numbers, message):
    with pytest.raises(InputError, match=message):
        ObjectPrompt.several(*numbers)


def test_fractions_are_told_from_pixels():
    for pixels in ((0, 0), (1, 1), (0.5, 20), (1.5, 0.5), (0, 0, 1, 1)):
        check_pixels(pixels)
    for fractions in ((0.3, 0.4), (0.1, 0.2, 0.9, 1.0)):
        with pytest.raises(InputError, match="coordinates are pixels"):
            check_pixels(fractions)


def test_objects_are_grouped_by_what_they_are_given_by():
    click, clicks = ObjectPrompt(((1, 2),), (1,)), ObjectPrompt(((1, 2), (3, 4)), (1, 0))
    box = ObjectPrompt(box=(0, 0, 9, 9))
    assert alike([click, box, clicks, click]) == [[0, 3], [1], [2]]


def test_objects_are_described_in_one_line():
    assert str(ObjectPrompt(((1, 2),), (1,))) == "the point (1, 2)"
    both = ObjectPrompt(((1, 2), (3, 4)), (1, 0), (0, 0, 9, 9.5), "shoe")
    assert str(both) == "shoe: 2 points, of which the first is (1, 2) and the box (0, 0, 9, 9.5)"
    assert str(ObjectPrompt()) == "the mask"


def test_boxes_beyond_the_photo_are_found():
    inside, beyond = ObjectPrompt(box=(0, 0, 20, 10)), ObjectPrompt(box=(-5, 0, 20, 11))
    ((one, box),) = cut_boxes([inside, beyond, ObjectPrompt()], (10, 20))
    assert one is beyond
    assert box.tolist() == [0, 0, 20, 10]
