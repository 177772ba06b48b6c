import json

import pytest

from pocketsam.errors import InputError
from pocketsam.predict.objects import ObjectPrompt
from pocketsam.predict.prompt_files import read_prompts

SHOE = ObjectPrompt(((120, 300), (150, 310)), (1, 0), None, "shoe")
CAPS = [ObjectPrompt(box=(20, 130, 342, 371), name="cap"), ObjectPrompt(box=(1, 2, 3, 4), name="cap")]


@pytest.fixture
def written(tmp_path):
    """Writes a prompts file and gives what is read from it."""

    def read(name: str, content: str):
        (tmp_path / name).write_text(content, encoding="utf-8")
        return read_prompts(tmp_path / name)

    return read


@pytest.mark.parametrize("points", ["120,300 150,310", "120 300; 150 310", "120, 300, 150, 310"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_csv_and_json_give_the_same(written, points, mark):
    table = (
        f'{mark}photo,points,labels,boxes,name\na.jpg,"{points}",1 0,,shoe\nb.jpg,"5,6",,,\n'
        'a.jpg,,,"20,130,342,371 1,2,3,4",cap\n'
    )
    rows = [
        {"photo": "a.jpg", "points": [[120, 300], [150, 310]], "labels": [1, 0], "name": "shoe"},
        {"photo": "b.jpg", "points": [5, 6]},
        {"photo": "a.jpg", "boxes": [[20, 130, 342, 371], [1, 2, 3, 4]], "name": "cap"},
    ]
    expected = {"a.jpg": [SHOE, *CAPS], "b.jpg": [ObjectPrompt(((5, 6),), (1,))]}
    assert written("p.csv", table) == written("p.json", json.dumps(rows)) == expected


def test_columns_may_be_missing_and_in_any_order(written):
    assert written("p.csv", 'boxes,photo\n"1,2,3,4",a.jpg\n') == {"a.jpg": [ObjectPrompt(box=(1, 2, 3, 4))]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "p.csv",
            "photo,point\na.jpg,5\n",
            "p.csv, line 1: there is no column 'point'; the columns are photo",
        ),
        ("p.csv", "photo,points\na.jpg,5,6\n", "p.csv, line 2: has more cells than columns; put quotes"),
        ("p.csv", "photo,points\na.jpg,\n", "p.csv, line 2: there is no prompt; give points or boxes"),
        ("p.csv", 'photo,points\n,"5,6"\n', "p.csv, line 2: there is no photo"),
        (
            "p.csv",
            'photo,points\na.jpg,"5,6"\na.jpg,"5,x"\n',
            "p.csv, line 3: points must be finite numbers, not 5,x",
        ),
        ("p.csv", 'photo,points\na.jpg,"5,nan"\n', "points must be finite numbers, not 5,nan"),
        ("p.csv", 'photo,points\na.jpg,"0.3,0.4"\n', "looks like fractions of the photo"),
        ("p.csv", "", "p.csv: holds no prompts"),
        ("p.json", "[", "p.json: is no JSON"),
        ("p.json", '{"a": 1}', "p.json: must be a list"),
        ("p.json", '[{"photo": "a.jpg", "box": [1, 2, 3, 4]}]', "p.json, entry 1: there is no column 'box'"),
        ("p.json", '[{"photo": "a.jpg", "points": {}}]', "p.json, entry 1: points must be finite numbers"),
        ("p.json", '[{"photo": 5, "points": [5, 6]}]', "p.json, entry 1: there is no photo"),
        ("p.txt", "", "p.txt: prompts are read from .csv and .json"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(written, name, content, message):
    with pytest.raises(InputError, match=message) as error:
        written(name, content)
    assert "\n" not in str(error.value)
