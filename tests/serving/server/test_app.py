"""What surrounds the endpoints: errors, the token, headers, log, metrics, the document."""

import concurrent.futures
import io
import json
import re
from html.parser import HTMLParser
from urllib.parse import urljoin

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

SEED = {"name": "seed", "datatype": "INT64", "shape": [1], "data": [1]}
LABEL = {"name": "label", "datatype": "INT64", "shape": [1], "data": [2]}


@pytest.fixture(scope="module")
def guarded(start_module_server, digits, tmp_path_factory):
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text("s3cret\n")
    return start_module_server(f"--bundle={digits}", f"--token_file={token}", "--max_images=8")


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/nothing", 404, "there is no /nothing; /docs lists what there is."),
        ("GET", "/v1/images/", 404, "there is no /v1/images/"),
        ("POST", "/v1/images", 405, "POST is not for /v1/images"),
        ("GET", "/v2/models/sampler/infer", 405, "GET is not for"),
        ("GET", "/v2/models/x", 404, "there is no model x; there are sampler, generator, digits-generator"),
        ("GET", "/v2/models/sampler/versions/7", 404, "there is no model sampler of version 7"),
        ("POST", "/v2/models/sampler/infer", 400, "the body is not JSON"),
    ],
)
def test_errors_are_sentences_in_json(client, method, path, status, message):
    answer = client.request(method, path)
    assert answer.status_code == status
    assert message in answer.json()["error"]
    assert answer.headers["content-type"] == "application/json"


def test_a_body_that_is_too_large_is_refused_unread(client):
    chunked = client.post("/v2/models/sampler/infer", content=(b" " * 65536 for _ in range(100)))
    assert chunked.status_code == 413
    assert "the body is longer than" in chunked.json()["error"]


def test_a_compressed_body_is_refused(client):
    answer = client.post("/v2/models/sampler/infer", content=b"x", headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415


def test_security_headers_and_request_ids(client):
    first, second = client.get("/v2"), client.get("/nothing")
    for answer in (first, second):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        assert "server" not in answer.headers
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert client.get("/v2", headers={"X-Request-ID": "mine-1"}).headers["x-request-id"] == "mine-1"
    replaced = client.get("/v2", headers={"X-Request-ID": "x" * 200}).headers["x-request-id"]
    assert len(replaced) == 32


def test_each_request_is_a_line_of_json(server, client):
    client.get("/v1/images?seed=1&label=1", headers={"X-Request-ID": "find-me"})
    lines = []
    while not lines:
        lines = [json.loads(line) for line in server.lines if "find-me" in line]
    assert len(lines) == 1
    assert lines[0]["method"] == "GET"
    assert lines[0]["path"] == "/v1/images"
    assert lines[0]["query"] == "seed=1&label=1"
    assert lines[0]["status"] == 200
    assert lines[0]["bytes"] > 50
    assert lines[0]["ms"] > 0
    assert lines[0]["client"] == "127.0.0.1"


def counters(client):
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
        if not sample.name.endswith("_bucket")
    }


def test_metrics_count(client):
    before = counters(client)
    for _ in range(3):
        client.get("/v1/images?seed=1&n=5")
    client.get("/nothing")
    client.post("/v2/models/sampler/infer", json={"inputs": [SEED, LABEL]})
    after = counters(client)
    change = {key: after[key] - before.get(key, 0) for key in after}
    assert change["mirage_images_total",] == 16
    assert change["mirage_requests_total", "images", "200"] == 3
    assert change["mirage_requests_total", "infer", "200"] == 1
    assert change["mirage_requests_total", "none", "404"] == 1
    assert change["mirage_batch_images_sum",] == 16
    assert change["mirage_stage_seconds_count", "queue"] == 4
    assert change["mirage_stage_seconds_count", "encode"] == 4
    assert change["mirage_stage_seconds_count", "inference"] >= 4
    assert change["mirage_stage_seconds_sum", "inference"] > 0
    assert after["mirage_queue_images",] == 0
    assert after["mirage_ready",] == 1
    assert after["mirage_rejected_total", "overloaded"] == 0


def test_the_token(guarded):
    with httpx.Client(base_url=guarded.url) as client:
        for path in ("/v2/health/live", "/v2/health/ready", "/", "/page.js", "/page.css"):
            assert client.get(path).status_code == 200, path
        for path in ("/v2", "/v1/images", "/metrics", "/openapi.json", "/docs", "/v1/bundles", "/nothing"):
            for given in (None, "Bearer wrong", "s3cret", "Basic s3cret", "Bearers3cret", "Bearer", "Bearer s3cret x"):
                answer = client.get(path, headers={"Authorization": given} if given else {})
                assert answer.status_code == 401, path
                assert answer.headers["www-authenticate"] == "Bearer"
                assert "Authorization" in answer.json()["error"]
        for scheme in ("bearer", "BEARER", "bEaReR "):
            assert client.get("/v2", headers={"Authorization": f"{scheme} s3cret"}).status_code == 200
        right = {"Authorization": "Bearer s3cret"}
        picture = client.get("/v1/images?seed=1", headers=right)
        assert picture.status_code == 200
        assert picture.headers["cache-control"].startswith("private")
        assert client.get("/v1/images?n=9", headers=right).status_code == 400
        assert client.get("/openapi.json", headers=right).json()["security"] == [{"token": []}]


def test_the_document_names_every_endpoint(client):
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.")
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"]
            body = operation.get("requestBody")
            if body:
                example = body["content"]["application/json"]["example"]
                assert client.request(method, path, json=example).status_code == 200
            else:
                required = {p["name"]: 1 for p in operation.get("parameters", []) if p["required"]}
                assert client.request(method, path, params=required).status_code == 200
    page = client.get("/docs").text
    assert all(f"<code>{path}</code>" in page for path in document["paths"])


class Links(HTMLParser):
    """Collects what a page refers to."""

    def __init__(self):
        super().__init__()
        self.found = set()

    def handle_starttag(self, tag, attributes):
        self.found |= {value for name, value in attributes if name in ("href", "src", "action") and value}


def test_pages_find_everything_behind_a_prefix(client):
    """A proxy may strip one; it tells nobody."""
    for page in ("/", "/docs"):
        links = Links()
        links.feed(client.get(page).text)
        assert {"icon.svg", "page.css"} < links.found
        for link in links.found:
            behind = urljoin(f"http://proxy/some/prefix{page}", link)
            assert behind.startswith("http://proxy/some/prefix/"), link
            assert client.get(behind.removeprefix("http://proxy/some/prefix")).status_code == 200
    document = client.get("/openapi.json").json()
    assert (
        urljoin("http://proxy/some/prefix/openapi.json", document["servers"][0]["url"]) == "http://proxy/some/prefix/"
    )
    script = client.get("/page.js").text
    assert not re.search(r"""["'`]/(v1|v2|docs)""", script)
    assert "url(/" not in client.get("/page.css").text.replace('"', "")


def test_pages_ask_nobody_else(client):
    for path in ("/", "/docs", "/page.js", "/page.css"):
        assert not re.search("https?://(?!www.w3.org)", client.get(path).text), path


def test_upgrades_are_not_offered_and_not_talked_about(server, client):
    answer = client.get("/v2", headers={"Connection": "upgrade", "Upgrade": "websocket"})
    assert answer.status_code == 200
    assert not [line for line in server.errors if "pgrade" in line or "WebSocket" in line]


def test_files_of_the_page_are_cached_by_their_content(client):
    first = client.get("/page.css")
    assert first.headers["content-type"].startswith("text/css")
    assert client.get("/page.css", headers={"If-None-Match": first.headers["etag"]}).status_code == 304


def test_a_failure_inside_is_a_500_with_the_request_id_and_no_details(digits, capsys):
    import asyncio

    from serving.server.app import build
    from serving.server.batching import Batcher
    from serving.server.catalog import load
    from serving.server.service import Service
    from serving.server.settings import Settings
    from serving.server.telemetry import Telemetry

    async def main():
        batcher = Batcher(asyncio.get_running_loop())
        service = Service(Settings(), Telemetry(), batcher)
        app = build(service, log := io.StringIO())
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            starting = await client.get("/v1/images")
            catalog = load([str(digits)], None, "float32")
            service.serve(catalog)
            model = catalog.model("sampler", None)
            model.bundle.generator.images = None  # calling it fails
            failed = await client.get("/v1/images")
        await asyncio.to_thread(batcher.close)
        return starting, failed, log.getvalue()

    starting, failed, log = asyncio.run(main())
    assert (starting.status_code, starting.headers["retry-after"]) == (503, "1")
    assert failed.status_code == 500
    assert failed.headers["x-request-id"] in failed.json()["error"]
    assert "NoneType" not in failed.text
    assert "NoneType" in capsys.readouterr().err
    assert [json.loads(line)["status"] for line in log.splitlines()] == [503, 500]


def test_what_cannot_be_carried_is_refused_and_counted(start_server, digits):
    server = start_server(
        f"--bundle={digits}", "--threads=1", "--max_images=4096", "--max_queue=4096", "--timeout_s=0.02"
    )
    server.wait_until_ready()
    with (
        concurrent.futures.ThreadPoolExecutor(8) as pool,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        answers = list(pool.map(lambda seed: client.get(f"/v1/images?n=4000&seed={seed}"), range(60)))
        counted = counters(client)
    by_status = {status: [each for each in answers if each.status_code == status] for status in (200, 429, 503)}
    assert sum(map(len, by_status.values())) == 60
    assert len(by_status[429]) == counted["mirage_rejected_total", "overloaded"] > 0
    assert len(by_status[503]) == counted["mirage_rejected_total", "expired"]
    for answer in by_status[429] + by_status[503]:
        assert int(answer.headers["retry-after"]) >= 1
        assert "again" in answer.json()["error"]
