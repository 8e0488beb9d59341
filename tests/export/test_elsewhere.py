"""The same seeds give the same pictures in Node and in a browser; the page works; other formats are well-formed.

What is marked `browser` needs Node.js with npm, and Chromium (its path in $MIRAGE_CHROMIUM, or `chromium`).
"""

import functools
import hashlib
import http.server
import io
import json
import os
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image

from export.adoption.adopt import adopt
from export.adoption.meaning import Asked
from export.bundle import export_bundle
from export.closeness import visible
from export.formats import web
from export.formats.litert import litert_reader
from pipeline.base.errors import MirageError
from serving import Generator
from serving.contract.latents import latents
from serving.contract.manifest import UNIFORM, read_manifest
from serving.contract.pixels import to_pixels
from tests import foreign_networks
from tests.export.attributed import Attributed
from tests.export.tiny_runs import SPECS, make_run
from tests.no_network import SILENCING, UNDER_THE_FILTER

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("elsewhere")
    for kind in SPECS:
        make_run(root / kind, kind)
    return root


@pytest.mark.parametrize("kind", SPECS)
def test_litert_makes_the_same_pictures(runs, tmp_path, kind):
    export_bundle(runs / kind, tmp_path / "out", ["onnx", "litert"])
    manifest = read_manifest(tmp_path / "out")
    assert manifest.document["parity"]["litert"]["max_difference"] <= 1e-5
    generate = litert_reader(tmp_path / "out" / "generator.tflite", manifest.model).generate
    expected = Generator.load(tmp_path / "out").sample(5, labels=None)
    z, labels = latents(np.arange(5), manifest.model.latent_dim), np.arange(5) % 2
    images = np.clip(generate(z, labels), -1, 1)  # r3gan has no tanh
    assert np.abs(np.rint((images + 1) * 127.5) - expected).max() <= 1


def test_a_triton_repository_follows_the_schema(runs, tmp_path):
    from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

    export_bundle(runs / "dcgan", tmp_path / "out", ["onnx", "triton"])
    for name in ("generator", "sampler"):
        folder = tmp_path / "out" / "triton" / name
        config = text_format.Parse((folder / "config.pbtxt").read_text(), ModelConfig())
        assert config.name == name
        assert (folder / "1" / "model.onnx").read_bytes() == (tmp_path / "out" / f"{name}.onnx").read_bytes()
        signature = read_manifest(tmp_path / "out").document["onnx"]["models"][f"{name}.onnx"]
        for ours, theirs in ((signature["inputs"], config.input), (signature["outputs"], config.output)):
            described = {
                each.name: (DataType.Name(each.data_type), [] if each.HasField("reshape") else list(each.dims))
                for each in theirs
            }
            kinds = {"float32": "TYPE_FP32", "int64": "TYPE_INT64", "uint8": "TYPE_UINT8"}
            expected = {each["name"]: (kinds[each["dtype"]], each["shape"][1:]) for each in ours if each["shape"]}
            assert described == expected
        assert config.max_batch_size == 64


def test_without_npm_a_page_is_refused(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(web, "_CACHE", tmp_path / "cache")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MirageError, match="needs npm"):
        export_bundle(runs / "mlp", tmp_path / "out", ["onnx", "web"])
    assert not (tmp_path / "out").exists()


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "package" / "dist").mkdir(parents=True)
    (tmp_path / "package" / "dist" / "ort.mjs").write_text("code")
    npm = tmp_path / "npm"
    npm.write_text(f"#!/bin/sh\ntar -czf ort.tgz -C {tmp_path} package\n")
    npm.chmod(0o755)
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(web, "_ORT_FILES", {"ort.mjs": hashlib.sha256(b"code").hexdigest()})
    monkeypatch.setattr(web, "_CACHE", tmp_path / "file" / "cache")
    with pytest.raises(MirageError, match=r"can't be kept in .*/file/cache \(Not a directory\)"):
        web._onnxruntime_web()


def seeds_and_labels():
    return np.arange(-50, 50), np.arange(100) % 2


def share_of_different_pixels(pixels, expected):
    found = np.asarray(pixels, np.uint8).reshape(expected.shape)
    difference = np.abs(visible(found).astype(int) - visible(expected))
    assert difference.max() <= 1
    return float(np.mean(difference > 0))


# Those of the runs; one of RGBA pictures that are not square; and an ONNX file of somebody's, with uniform latents.
KINDS = (*SPECS, "transparent", "foreign")


def exported(runs, kind, bundle, formats):
    """A bundle, and its generator."""
    if kind in SPECS:
        export_bundle(runs / kind, bundle, formats)
    elif kind == "foreign":
        foreign_networks.save_onnx(bundle.with_suffix(".onnx"))
        adopt(bundle.with_suffix(".onnx"), bundle, formats, asked=Asked(distribution=UNIFORM))
    else:
        adopt(foreign_networks.transparent(), bundle, formats, asked=Asked(alpha="premultiplied"))
    return Generator.load(bundle)


@pytest.mark.browser
@pytest.mark.parametrize("kind", KINDS)
def test_node_makes_the_same_pictures(runs, tmp_path, kind, node_modules):
    bundle = tmp_path / "bundle"
    generator = exported(runs, kind, bundle, ["onnx"])
    seeds, labels = seeds_and_labels()
    program = f"""
        import {{ load, sample }} from "{node_modules}/sample.mjs";
        const {{ model, session }} = await load("{bundle}");
        const seeds = {seeds.tolist()}, labels = {labels.tolist()};
        const both = [await sample(session, model, seeds, labels), await sample(session, model, seeds, labels, 0.5)];
        console.log(JSON.stringify(both.map((pixels) => Array.from(pixels))));
    """
    command = ["node", "--input-type=module", "--eval", program]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for pixels, truncation in zip(json.loads(printed), (1, 0.5), strict=True):
        given = labels if generator.info.conditional else None
        expected = generator.sample(100, seed=-50, labels=given, truncation=truncation)
        assert share_of_different_pixels(pixels, expected) <= 0.001

    command = [*UNDER_THE_FILTER, "node", f"{node_modules}/sample.mjs", str(bundle), str(tmp_path / "sheet.png"), "3"]
    environment = {name: value for name, value in os.environ.items() if name not in SILENCING}
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert "60 pictures" in printed
    height, width, channels = generator.image_shape
    with Image.open(tmp_path / "sheet.png") as sheet:
        values = np.asarray(sheet).reshape(6, height, 10, width, channels).swapaxes(1, 2)
    in_turn = np.arange(60) % 2 if generator.info.conditional else None
    drawn = generator.sample(60, seed=3, labels=in_turn).reshape(6, 10, height, width, channels)
    assert share_of_different_pixels(values, drawn) <= 0.001


def sheet_in(path, shape):
    """The pictures of a sheet of ten columns and six rows."""
    height, width, channels = shape
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet).reshape(6, height, 10, width, channels)
    return pixels.swapaxes(1, 2).reshape(-1, height, width, channels)


@pytest.mark.browser
def test_node_takes_attributes(tmp_path, node_modules):
    bundle, sheet = tmp_path / "bundle", tmp_path / "sheet.png"
    export_bundle(Attributed(), bundle, ["onnx"])
    generator = Generator.load(bundle)
    command = ["node", f"{node_modules}/sample.mjs", str(bundle), str(sheet), "3"]
    for text, given in (
        ("", None),
        ("year=1970.5", {"year": 1970.5}),
        ("hair, long|short=0,year=1901", {"hair, long|short": 0, "year": 1901}),
    ):
        subprocess.run([*command, *filter(None, [text])], check=True, capture_output=True)
        drawn = generator.sample(60, seed=3, attributes=given)
        assert share_of_different_pixels(sheet_in(sheet, generator.image_shape), drawn) <= 0.001
    sheet.unlink()
    for text, said in (
        ("year=2000", "year is 2000; expected a number from 1901 to 1999."),
        ("male=x", "male is x; expected a number from 0 to 1."),
        ("beard=1", 'there is no attribute "beard"; there are male, hair, long|short, year.'),
        ("male", 'attributes are "male"; expected such as male=1,age=30.'),
    ):
        done = subprocess.run([*command, text], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (1, f"error: {said}\n")
    assert not sheet.exists()


@pytest.mark.browser
@pytest.mark.parametrize("alpha", ["premultiplied", "straight"])
def test_the_page_makes_the_same_pixels_of_images(tmp_path, alpha):
    levels = np.arange(256)
    colour, opacity = (each.ravel() for each in np.meshgrid(levels, levels))
    images = np.stack([colour, colour[::-1], opacity // 2, opacity], axis=-1).astype(np.float32) / np.float32(127.5) - 1
    (tmp_path / "images").write_bytes(images.tobytes())
    shutil.copyfile(Path(web.__file__).parent.parent / "web" / "latents.js", tmp_path / "latents.mjs")
    program = f"""
        import {{ readFileSync, writeFileSync }} from "node:fs";
        import {{ toPixels }} from "{tmp_path}/latents.mjs";
        const bytes = readFileSync("{tmp_path}/images");
        const images = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
        writeFileSync("{tmp_path}/pixels", toPixels(images, "{alpha}"));
    """
    subprocess.run(["node", "--input-type=module", "--eval", program], check=True)
    pixels = np.fromfile(tmp_path / "pixels", np.uint8).reshape(images.shape)
    np.testing.assert_array_equal(pixels, to_pixels(images, alpha))


@pytest.mark.browser
@pytest.mark.parametrize(("seeds", "labels"), [([1], [-1]), ([1], [2]), ([], [])])
def test_node_refuses_what_is_refused_everywhere(runs, tmp_path, node_modules, seeds, labels):
    export_bundle(runs / "dcgan", tmp_path / "bundle", ["onnx"])
    program = f"""
        import {{ load, sample }} from "{node_modules}/sample.mjs";
        const {{ model, session }} = await load("{tmp_path}/bundle");
        console.log((await sample(session, model, [1], [1])).length);
        await sample(session, model, {seeds}, {labels});
        console.log("not refused");
    """
    command = ["node", "--input-type=module", "--eval", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, f"{16 * 16 * 3}\n")
    assert "out of data bounds" in done.stderr or "Reshape" in done.stderr


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory):
    """A copy of the example with its dependency."""
    folder = shutil.copytree(
        EXAMPLES / "node", tmp_path_factory.mktemp("node") / "example", ignore=shutil.ignore_patterns("node_modules")
    )
    subprocess.run(["npm", "install", "--silent"], cwd=folder, check=True)
    return folder


@pytest.fixture
def serve():
    """Starts plain file servers."""
    servers = []

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    def serve(folder):
        handler = functools.partial(Quiet, directory=str(folder))
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    path = os.environ.get("MIRAGE_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])


def canvas_of(page, name):
    """What a canvas shows, uint8 [H, W, 4]."""
    url = page.evaluate(f"document.getElementById('{name}').toDataURL()")
    data = page.evaluate(
        "async (url) => Array.from(new Uint8Array(await (await fetch(url)).arrayBuffer()))".replace(
            "fetch(url)", "new Response(Uint8Array.from(atob(url.split(',')[1]), (c) => c.charCodeAt(0)))"
        ),
        url,
    )
    with Image.open(io.BytesIO(bytes(data))) as picture:
        return np.asarray(picture.convert("RGBA"))


@pytest.mark.browser
@pytest.mark.parametrize("kind", KINDS)
def test_the_page_in_a_browser(runs, tmp_path, kind, serve, browser):
    bundle = tmp_path / "bundle"
    generator = exported(runs, kind, bundle, ["onnx", "web"])
    conditional = generator.info.conditional
    page = browser.new_page()
    complaints, requests = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    address = serve(bundle / "web")
    page.goto(address)
    page.wait_for_selector("body[data-ready]", timeout=60_000)

    seeds, labels = seeds_and_labels()
    pixels = page.evaluate(
        "async ([seeds, labels]) => Array.from(await mirage.sample(seeds.map(BigInt), labels))",
        [seeds.tolist(), labels.tolist()],
    )
    expected = generator.sample(100, seed=-50, labels=labels if conditional else None)
    assert share_of_different_pixels(pixels, expected) <= 0.001
    z = latents(seeds[:20], generator.latent_dim, generator.info.latent_distribution)
    truncated = page.evaluate(
        """async ([seeds, z, labels]) => {
          const both = [await mirage.sample(seeds.map(BigInt), labels, 0.5), await mirage.decode(z, labels, 0.5)];
          return both.map((pixels) => Array.from(pixels));
        }""",
        [seeds[:20].tolist(), z.tolist(), labels[:20].tolist()],
    )
    expected = generator.sample(20, seed=-50, labels=labels[:20] if conditional else None, truncation=0.5)
    assert [share_of_different_pixels(each, expected) <= 0.001 for each in truncated] == [True, True]

    height, width, channels = generator.image_shape
    columns, rows = (2, 5) if conditional else (10, 4)
    before = canvas_of(page, "sheet")
    assert before.shape == (rows * height, columns * width, 4)
    tiles = before.reshape(rows, height, columns, width, 4).swapaxes(1, 2).reshape(-1, height, width, 4)
    drawn = generator.sample(rows * columns)
    assert share_of_different_pixels(tiles[..., :channels], drawn) <= 0.001

    assert (before[..., 3] < 255).any() == (channels == 4)
    behind = page.evaluate("getComputedStyle(document.getElementById('sheet')).backgroundImage")
    assert ("conic-gradient" in behind) == (channels == 4)
    for name, ratio in (("sheet", columns * width / (rows * height)), ("step", width / height)):
        box = page.locator(f"#{name}").bounding_box()
        assert box["width"] / box["height"] == pytest.approx(ratio, rel=0.02)

    assert page.is_visible("#class") == conditional
    assert "ms per picture" in page.inner_text("#status")
    page.click("#surprise")
    page.wait_for_function("document.getElementById('seed').value != 0")
    page.wait_for_timeout(1000)
    assert not np.array_equal(canvas_of(page, "sheet"), before)
    page.fill("#seed", "0")
    if conditional:
        page.select_option("#class", label="dog")
        page.wait_for_timeout(1000)
        sheet = canvas_of(page, "sheet")
        one_class = sheet[..., :3].reshape(4, height, 10, width, 3).swapaxes(1, 2).reshape(-1, height, width, 3)
        assert share_of_different_pixels(one_class, generator.sample(40, labels="dog")) <= 0.001

    page.fill("#first", "3")
    page.fill("#last", "9")
    page.wait_for_timeout(1000)
    walk = canvas_of(page, "walk").reshape(height, 10, width, 4).swapaxes(0, 1)[..., :channels]
    expected = generator.interpolate(3, 9, 10, labels="dog" if conditional else None)
    assert share_of_different_pixels(walk, expected) <= 0.002

    with page.expect_download() as download:
        page.click("#download")
    with Image.open(download.value.path()) as picture:
        assert picture.width == 10 * width
        assert (picture.convert("RGBA").getextrema()[3][0] < 255) == (channels == 4)
    assert complaints == []
    assert all(url.startswith((address, "blob:", "data:")) for url in requests)
    page.close()


@pytest.mark.browser
def test_the_page_has_controls_for_attributes(tmp_path, serve, browser):
    bundle = tmp_path / "bundle"
    export_bundle(Attributed(), bundle, ["onnx", "web"])
    generator, page, complaints = Generator.load(bundle), browser.new_page(), []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(serve(bundle / "web"))
    page.wait_for_selector("body[data-ready]", timeout=60_000)
    height, width, _ = generator.image_shape

    def shown(name, rows):
        tiles = canvas_of(page, name)[..., :1].reshape(rows, height, 10, width, 1)
        return tiles.swapaxes(1, 2).reshape(-1, height, width, 1)

    assert page.is_hidden("#class")
    assert share_of_different_pixels(shown("sheet", 4), generator.sample(40)) <= 0.001
    page.get_by_role("switch", name="male").check()
    page.get_by_role("slider", name="year").fill("1970.54")
    page.wait_for_timeout(1000)
    given = {"male": 1, "year": 1970.5}
    assert share_of_different_pixels(shown("sheet", 4), generator.sample(40, attributes=given)) <= 0.001
    walk = generator.interpolate(0, 1, 10, attributes=given)
    assert share_of_different_pixels(shown("walk", 1), walk) <= 0.002
    seeds, values = np.arange(-50, 50), np.repeat([[1, 0, 1970.5], [0, 1, 1901]], 50, axis=0)
    pixels = page.evaluate(
        "async ([seeds, given]) => Array.from(await mirage.sample(seeds.map(BigInt), given))",
        [seeds.tolist(), values.tolist()],
    )
    assert share_of_different_pixels(pixels, generator.sample(100, seed=-50, attributes=values)) <= 0.001
    assert complaints == []
    page.close()
