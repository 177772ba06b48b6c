import pytest
from fastapi.testclient import TestClient

from browsing import HOME
from pocketsam import Segmenter
from pocketsam.server.app import make_app
from pocketsam.server.guard import LOOPBACK
from pocketsam.server.limits import Limits
from pocketsam.server.service import Service

ELSEWHERE = {"origin": "http://evil.example"}


@pytest.fixture
def guarded(service):
    """A server that other computers can reach, with a token."""
    with TestClient(make_app(service, None, "se cret;"), base_url="http://192.168.1.2:8000") as client:
        yield client


def test_own_pages_may_call_it(client):
    assert client.get("/api/photos", headers={"origin": HOME, "sec-fetch-site": "same-origin"}).is_success
    assert client.get("/api/photos", headers={"host": "localhost:1234"}).is_success
    assert client.get("/api/photos", headers={"host": "[::1]:8000"}).is_success


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[", "a@b", "localhost.evil"]
)
def test_another_name_is_refused(client, host):
    response = client.get("/api/photos", headers={"host": host})
    assert response.status_code == 421
    assert response.json()["error"].startswith("this server has another name")


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "https://localhost:8000"]
)
def test_pages_of_other_origins_are_refused(client, cap, origin):
    for method, path in (("GET", "/"), ("PUT", f"{cap}/annotations"), ("POST", "/api/photos?name=x")):
        assert client.request(method, path, headers={"origin": origin}).status_code == 403


def test_pictures_and_scripts_on_other_sites_are_refused(client, cap):
    for site in ("cross-site", "same-site"):
        assert client.get(f"{cap}/image", headers={"sec-fetch-site": site}).status_code == 403
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=link).is_success
    assert client.get("/api/photos", headers=link).status_code == 403


@pytest.mark.parametrize("limits", [Limits(requests=0), Limits(bodies=10)])
def test_more_than_the_server_has_room_for_is_to_come_later(folder, engine, limits):
    service = Service(Segmenter(engine=engine), [folder], folder, limits)
    with TestClient(make_app(service, LOOPBACK), base_url=HOME) as client:
        response = client.post("/api/photos?name=x", content=b"eleven bytes")
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert "try again" in response.json()["error"]


def test_forms_cannot_be_posted_as_text(client, cap):
    body = b'{"objects": []}'
    assert (
        client.put(f"{cap}/annotations", content=body, headers={"content-type": "text/plain"}).status_code
        == 422
    )


def test_without_the_token_nothing_is_served(guarded):
    for path in ("/", "/api/photos", "/static/main.js", "/api/openapi.json", "/?token=wrong", "/?token="):
        response = guarded.get(path)
        assert response.status_code == 401
        assert "token" in response.json()["error"]
    wrong = {"authorization": "Bearer wrong"}
    assert guarded.get("/api/photos", headers=wrong).status_code == 401
    assert guarded.get("/api/photos", headers={"cookie": "pocketsam=wrong"}).status_code == 401
    assert guarded.get("/api/photos", headers={"cookie": "pocketsam="}).status_code == 401


def test_programs_send_the_token_and_browsers_get_a_cookie(guarded):
    assert guarded.get("/api/photos", headers={"authorization": "Bearer se cret;"}).is_success
    page = guarded.get("/", params={"token": "se cret;"})
    assert page.is_success
    assert page.history[0].status_code == 303
    cookie = page.history[0].headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert guarded.get("/api/photos").is_success


def test_a_token_does_not_open_the_server_to_other_sites(guarded):
    headers = {"authorization": "Bearer se cret;", **ELSEWHERE}
    assert guarded.get("/api/photos", headers=headers).status_code == 403
