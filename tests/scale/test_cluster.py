"""Jobs over shards on a Ray cluster: the same bytes as in one process, whatever ends."""

import json
import multiprocessing
import os
import signal
import time
from functools import partial

import pytest

from pocketsam.data.sa1b import Shards
from pocketsam.errors import InputError
from pocketsam.evaluation.protocols.clicks import Clicks
from pocketsam.evaluation.session import run as measure
from pocketsam.scale.arguments import ScaleArguments
from pocketsam.scale.run import run
from pocketsam.segmenter import Segmenter
from predictors import SIDE, PerfectEngine
from scaling import DeadlyClicks, Greys, published, write_photos
from shards import blocks, write_shard

NAMES = [f"{number:02}" for number in range(18)]
MASKS = blocks((4, 6, 30, 28), (36, 8, 58, 56), size=(SIDE, SIDE))


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for shard in "abc":
        write_photos(folder / f"{shard}.tar", NAMES)
    return folder


@pytest.mark.usefixtures("ray_address")
def test_where_processes_end_the_results_are_the_same_and_a_poison_photo_goes_into_quarantine(
    photos, tmp_path, ray_address
):
    names = ["die-encode", *NAMES, "die-decode"]
    write_photos(photos / "a.tar", names)
    undisturbed = tmp_path / "undisturbed"
    for name in names:
        (tmp_path / f"{name}.jpg").touch()  # so that none ends this process
    run(Greys(marks=str(tmp_path)), [photos], undisturbed)
    for name in names:
        (tmp_path / f"{name}.jpg").unlink()
    summary = run(Greys(marks=str(tmp_path)), [photos], tmp_path / "out", ScaleArguments(ray=ray_address))
    assert (tmp_path / "die-encode.jpg").exists() and (tmp_path / "die-decode.jpg").exists()
    assert summary.total("photos") == 2 * 18 + 20
    assert published(tmp_path / "out") == published(undisturbed)

    poisoned = write_photos(tmp_path / "p.tar", ["1", "poison-decode", "2"])
    summary = run(
        Greys(marks=str(tmp_path)), [poisoned], tmp_path / "poisoned", ScaleArguments(ray=ray_address)
    )
    assert summary.total("photos") == 2
    assert summary.outcomes[0].manifest["quarantined"] == [
        {"photo": "poison-decode.jpg", "reason": "ends the process that works on it"}
    ]


def test_a_driver_that_is_killed_is_followed_by_one_that_goes_on(photos, tmp_path, ray_address):
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    run(Greys(), [photos], undisturbed)
    job = Greys(seconds=0.05)
    driver = multiprocessing.get_context("spawn").Process(
        target=run, args=(job, [photos], out, ScaleArguments(ray=ray_address))
    )
    driver.start()
    while not list(out.glob("*.manifest.json")):
        assert driver.is_alive()
        time.sleep(0.05)
    os.kill(driver.pid, signal.SIGKILL)
    driver.join()
    assert len(list(out.glob("*.manifest.json"))) < 3, "it was done before it was killed"
    summary = run(job, [photos], out, ScaleArguments(ray=ray_address))
    assert sum(one.resumed for one in summary.outcomes) >= 1
    assert published(out) == published(undisturbed)
    assert len((out / "manifest.jsonl").read_text().splitlines()) == len(
        {json.loads(line)["shard"]["path"] for line in (out / "manifest.jsonl").read_text().splitlines()}
    )


@pytest.mark.usefixtures("ray_address")
def test_an_address_without_a_cluster_is_refused_in_a_line(photos, tmp_path):
    with pytest.raises(InputError, match="--ray nonsense: there is no Ray cluster to join"):
        run(Greys(), [photos], tmp_path / "out", ScaleArguments(ray="nonsense"))


def test_it_reads_and_writes_an_object_store(stored_photos, bucket, tmp_path, ray_address):
    (tmp_path / "stop-decode.jpg").touch()
    summary = run(
        Greys(marks=str(tmp_path)), [stored_photos], f"{bucket}/by-ray", ScaleArguments(ray=ray_address)
    )
    assert summary.total("photos") == 13


def test_a_protocol_has_the_results_of_one_process_and_names_a_poison_photo(tmp_path, ray_address):
    from pocketsam.scale.evaluation import pool_on_ray

    shard = write_shard(tmp_path / "s.tar", {str(number): MASKS for number in range(10)})
    open_model = partial(Segmenter, engine=PerfectEngine())
    one = measure(Clicks(), Shards(shard), open_model)
    many = measure(DeadlyClicks(), Shards(shard), open_model, pool=pool_on_ray(ray_address))
    assert many[3].missing == "photo 3: ends the process that measures it"
    assert [*many[:3], *many[4:]] == [*one[:3], *one[4:]]
