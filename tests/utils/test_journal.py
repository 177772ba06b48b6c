"""A journal: what is written down comes back, whole, in memory or from the disk; other files are left alone."""

import json

import numpy as np
import pytest

from pocketsam.errors import InputError
from pocketsam.utils.journal import Journal, settings_digest

SETTINGS = {"model": "m", "points": np.array([[1, 2]])}


def test_entries_come_back_and_large_values_stay_on_the_disk(tmp_path):
    path = tmp_path / "new/journal"
    journal = Journal(path, SETTINGS, on_disk=["masks"])
    assert not path.exists(), "there is nothing in it yet"
    journal.add("a", {"size": [4, 6], "masks": ["x" * 1000]})
    journal.add("b", {"size": [1, 1], "masks": ["é"]})
    for again in (journal, Journal(path, SETTINGS, on_disk=["masks"])):
        assert again.entries == {"a": {"size": [4, 6]}, "b": {"size": [1, 1]}}
        assert again.read("b") == {"size": [1, 1], "masks": ["é"]}
        assert again.read("a")["masks"] == ["x" * 1000]
    journal.remove()
    assert not path.exists()
    journal.remove()


def test_the_last_entry_of_a_name_counts(tmp_path):
    journal = Journal(tmp_path / "journal", SETTINGS)
    journal.add("a", {"n": 1})
    journal.add("a", {"n": 2})
    again = Journal(journal.path, SETTINGS)
    assert (again.entries, again.read("a")) == ({"a": {"n": 2}}, {"n": 2})


@pytest.mark.parametrize("cut", [1, 10, 30])
def test_a_line_that_was_half_written_is_dropped_and_written_again(tmp_path, cut):
    journal = Journal(tmp_path / "journal", SETTINGS)
    journal.add("a", {"n": 1})
    journal.add("b", {"n": 2})
    journal.path.write_bytes(journal.path.read_bytes()[:-cut])
    again = Journal(journal.path, SETTINGS)
    assert again.entries == {"a": {"n": 1}}
    again.add("b", {"n": 3})
    assert Journal(journal.path, SETTINGS).entries == {"a": {"n": 1}, "b": {"n": 3}}


def test_other_settings_are_refused_and_the_file_stays_as_it_is(tmp_path):
    Journal(tmp_path / "journal", SETTINGS).add("a", {})
    with (tmp_path / "journal").open("ab") as file:
        file.write(b'{"run": "')
    before = (tmp_path / "journal").read_bytes()
    with pytest.raises(InputError, match=r"journal: .*other settings \(1 done\)"):
        Journal(tmp_path / "journal", {**SETTINGS, "points": np.array([[1, 3]])})
    assert (tmp_path / "journal").read_bytes() == before


@pytest.mark.parametrize("content", [b"notes", b'{"run": 3}\n', b'{"run": "x"}\n{}\n', b"\x00\xff\n"])
def test_a_file_that_is_no_journal_is_left_alone(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InputError, match=r"file: .*delete it"):
        Journal(tmp_path / "file", SETTINGS)
    assert (tmp_path / "file").read_bytes() == content


def test_the_digest_of_settings_knows_their_values_and_not_their_order():
    assert settings_digest({"a": 1, "b": [2]}) == settings_digest({"b": np.array([2]), "a": 1})
    assert settings_digest({"a": 1}) != settings_digest({"a": 2})
    assert json.loads(json.dumps(settings_digest({}))) == settings_digest({})
