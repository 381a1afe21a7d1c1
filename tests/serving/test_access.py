"""Who is let in: no foreign name, no foreign page, no wrong token; and what is served is what was vendored."""

from __future__ import annotations

import hashlib
import runpy
from pathlib import Path
from typing import Any

import pytest

from inspector.errors import UsageError
from inspector.model import Model
from inspector.serving.access import Gate, check_token, is_loopback, list_names, make_token
from inspector.serving.application import FILES, build_application
from inspector.serving.engine import LiveEngine
from inspector.serving.hub import Hub
from inspector.serving.look import Looker
from inspector.serving.reader import SourceReader
from inspector.serving.sources.folder import FolderSource
from tests.conftest import PHOTO, ROOT, require

require("starlette")
TOKEN = "a-token-of-16-ch"


def make_client(net: Model, gate: Gate, base: str = "http://localhost:8570") -> Any:
    client = require("starlette.testclient").TestClient
    engine = LiveEngine(Looker(net), SourceReader(FolderSource(PHOTO.parent)), Hub())
    return client(build_application(engine, gate), base_url=base, follow_redirects=False)


@pytest.fixture
def client(net: Model) -> Any:
    return make_client(net, Gate(list_names("127.0.0.1")))


def test_the_page_and_what_it_is_made_of(client: Any, net: Model) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"
    for name in FILES:
        assert client.get(f"/{name}").status_code == 200
    for asked in ("/nothing.js", "/page/watch.js", "/%2e%2e/live.py", "/watch.html"):
        assert client.get(asked).status_code == 404
    assert "<script>" not in page.text
    assert " style=" not in page.text
    about = client.get("/about").json()
    assert [layer["name"] for layer in about["layers"]] == [layer.name for layer in net.layers]
    assert about["model"]["sha256"] == net.sha256


@pytest.mark.parametrize("path", ["/", "/about", "/watch", "/watch.js"])
def test_a_foreign_name_is_refused(client: Any, path: str) -> None:
    for host in ("evil.example", "localhost.evil.example", "192.168.1.7:8570", "", "[::1"):
        assert client.get(path, headers={"host": host}).status_code == 421
    for host in ("localhost", "LOCALHOST:9000", "127.0.0.1:1", "[::1]:8570"):
        if path != "/watch":
            assert client.get(path, headers={"host": host}).status_code == 200


@pytest.mark.parametrize("path", ["/about", "/watch", "/watch.js"])
def test_a_foreign_page_is_refused(client: Any, path: str) -> None:
    for origin in ("http://evil.example", "null", "http://localhost:9999", "https://localhost.evil.example"):
        assert client.get(path, headers={"origin": origin}).status_code == 403
    assert client.get(path, headers={"origin": "http://["}).status_code == 403
    assert client.get(path, headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert client.get(path, headers={"sec-fetch-site": "same-site"}).status_code == 403
    assert client.get("/", headers={"sec-fetch-site": "cross-site"}).status_code == 200, "a link may lead to the page"
    assert client.get("/about", headers={"origin": "http://localhost:8570"}).status_code == 200


def test_nothing_can_be_sent(client: Any) -> None:
    for method in ("post", "put", "delete", "patch", "options"):
        assert getattr(client, method)("/about").status_code == 405


def test_without_the_token_nobody_sees_anything(net: Model) -> None:
    gate = Gate(list_names("0.0.0.0"), TOKEN, "cookie-8570", local=False)
    client = make_client(net, gate, "http://192.168.1.7:8570")
    for path in ("/", "/about", "/watch", "/watch.js"):
        for shown in ("", "?token=", "?token=wrong", f"?token={TOKEN[:-1]}"):
            assert client.get(path + shown).status_code == 401
        assert client.get(path, headers={"cookie": f"cookie-8570={TOKEN}x"}).status_code == 401
    assert client.get(f"/about?token={TOKEN}").status_code == 401, "only the page takes it from the address"
    first = client.get(f"/?token={TOKEN}")
    assert first.status_code == 200
    cookie = first.headers["set-cookie"]
    assert cookie.startswith(f"cookie-8570={TOKEN}; HttpOnly; SameSite=Strict")
    assert client.get("/about").status_code == 200, "the cookie is enough from now on"
    assert "set-cookie" not in client.get("/").headers
    assert TOKEN not in repr(gate)
    client.cookies.clear()
    for others in ('prefs={"theme":"dark"}; ', "a=b=c;", "=;; cookie-8570x=1; "):
        assert client.get("/about", headers={"cookie": f"{others}cookie-8570={TOKEN}"}).status_code == 200
    assert client.get("/about", headers={"cookie": f"xcookie-8570={TOKEN}"}).status_code == 401


def test_names_and_tokens() -> None:
    assert is_loopback("::1")
    assert is_loopback("127.3.2.1")
    assert not is_loopback("camera.local")
    assert "door.example" in list_names("127.0.0.1", ["Door.Example"])
    assert len(make_token()) >= 43
    assert make_token() != make_token()
    for bad in ("short", "with blank inside", "ümläute-und-mehr", "semi;colon;colon"):
        with pytest.raises(UsageError, match="a token has at least 8"):
            check_token(bad)


def test_what_is_not_there_cannot_be_watched(client: Any) -> None:
    answer = client.get("/watch?layer=zzz")
    assert answer.status_code == 400
    assert "zzz" in answer.text
    assert client.get("/watch?map=99").status_code == 400


def test_the_charts_are_those_that_were_vendored() -> None:
    recipe = runpy.run_path(str(ROOT / "docs" / "scripts" / "uplot.py"))
    for file, digest in recipe["FILES"].values():
        assert hashlib.sha256((Path(recipe["PAGE"]) / file).read_bytes()).hexdigest() == digest
