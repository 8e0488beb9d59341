"""The page at `/`, in Chromium (its path in $MIRAGE_CHROMIUM, or `chromium`)."""

import base64
import dataclasses
import functools
import io
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from serving import Generator
from serving.contract import png

pytestmark = pytest.mark.browser
LANGUAGES = ["python", "curl"] if shutil.which("curl") else ["python"]
PICTURES = 48  # in nine columns: three of each class


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    path = os.environ.get("MIRAGE_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])


@pytest.fixture(scope="module")
def generator(digits):
    return Generator.load(digits)


@pytest.fixture
def open_page(browser):
    """Returns a function that opens the page; afterwards, it must have complained of nothing and asked no one else."""
    contexts, complaints, requests, own = [], [], [], ["data:", "blob:"]

    def open_page(url, fragment="", *, settled=True, **options):
        own.append(f"{url}/")
        contexts.append(browser.new_context(permissions=["clipboard-read", "clipboard-write"], **options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(f"{message.text} {message.location['url']}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(f"{url}/{fragment}")
        if settled:
            settle(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [each for each in requests if not each.startswith(tuple(own))] == []
    # Chromium itself logs refusals, and looks for an icon of pages that name none.
    assert [each for each in complaints if not re.search(r"status of (400|401|429|503)", each)] == []


@pytest.fixture
def page(server, open_page):
    return open_page(server.url)


def settle(page):
    for selector in ("body[data-ready]", "#pictures[aria-busy=false]", "#walk[aria-busy=false]"):
        page.wait_for_selector(selector, state="attached")


def pixels_of(data):
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture)


def shows(page, expected, selector="#gallery img"):
    settle(page)
    sources = page.locator(selector).evaluate_all("(all) => all.map((image) => image.src)")
    images = [pixels_of(base64.b64decode(each.removeprefix("data:image/png;base64,"))) for each in sources]
    return np.array_equal(np.stack(images).reshape(len(images), *expected.shape[1:]), expected)


def downloaded(page, button):
    with page.expect_download() as download:
        page.click(button)
    return pixels_of(download.value.path().read_bytes())


def picture(page, number):
    return page.locator("#gallery button").nth(number)


def test_controls_choose_the_pictures(page, generator):
    assert shows(page, generator.sample(PICTURES))
    assert re.fullmatch(r"Answered in \d+ ms, median \d+ ms", page.inner_text("[role=status]"))
    page.select_option("#label", "dog")
    assert shows(page, generator.sample(PICTURES, labels="dog"))
    page.fill("#seed", "-7")
    page.fill("#n", "5")
    assert shows(page, generator.sample(5, seed=-7, labels="dog"))
    assert picture(page, 1).get_attribute("aria-label") == "Seed -6, class dog, second of the walk"
    page.fill("#truncation", "0.5")
    assert shows(page, generator.sample(5, seed=-7, labels="dog", truncation=0.5))
    assert page.inner_text("#truncation-value") == "0.5"
    page.click("#surprise")
    settle(page)
    assert (seed := int(page.input_value("#seed"))) != -7
    assert shows(page, generator.sample(5, seed=seed, labels="dog", truncation=0.5))
    page.go_back()
    page.wait_for_url("**#label=dog&seed=-7&n=5&truncation=0.5")
    assert shows(page, generator.sample(5, seed=-7, labels="dog", truncation=0.5))


def test_a_walk_leads_from_the_first_chosen_picture_to_the_second(page, generator):
    assert shows(page, generator.interpolate(0, 1, 17, labels="cat"), "#filmstrip img")
    picture(page, 4).click()
    picture(page, 8).click()
    walk = generator.interpolate(4, 8, 17, labels="dog")
    assert shows(page, walk, "#filmstrip img")
    assert shows(page, walk[8:9], "#frame")
    page.fill("#position", "3")
    assert shows(page, walk[3:4], "#frame")
    assert page.inner_text("#walk-ends") == "From seed 4 to seed 8, all of class dog."
    assert page.locator("#gallery [aria-pressed=true]").count() == 2
    assert np.array_equal(downloaded(page, "#download-frame"), walk[3, ..., 0])
    picture(page, 8).click()  # what is the second already becomes the first
    assert shows(page, generator.interpolate(8, 4, 17, labels="owl"), "#filmstrip img")


def run_snippet(page, folder, language, **environment):
    """Copies the program and runs it; returns the picture that it saves."""
    page.locator(f"[name=language][value={language}]").check(force=True)
    page.evaluate("navigator.clipboard.writeText('')")
    page.click("#copy")
    while not (program := page.evaluate("navigator.clipboard.readText()")):
        page.wait_for_timeout(10)
    assert program == page.input_value("#snippet")
    command = {"curl": ["sh", "-c", program], "python": [sys.executable, "-c", program]}[language]
    subprocess.run(command, cwd=folder, env={**os.environ, **environment}, check=True, capture_output=True)
    return program, pixels_of((folder / "mirage.png").read_bytes())


@pytest.mark.parametrize("language", LANGUAGES)
def test_programs_fetch_what_is_shown(server, open_page, generator, tmp_path, language):
    page = open_page(server.url, "#seed=5&label=owl&truncation=0.5&n=12")
    expected = png.grid(generator.sample(12, seed=5, labels="owl", truncation=0.5), 10)[..., 0]
    assert np.array_equal(downloaded(page, "#download-sheet"), expected)
    assert np.array_equal(run_snippet(page, tmp_path, language)[1], expected)
    page.fill("#truncation", "1")
    settle(page)
    page.locator("[name=subject][value=walk]").check(force=True)
    walk = png.grid(generator.interpolate(5, 6, 17, labels="owl"), 17)[..., 0]
    assert np.array_equal(run_snippet(page, tmp_path, language)[1], walk)


def test_the_address_restores_the_pictures(server, open_page, generator):
    fragment = "#label=owl&seed=-5&n=4&truncation=0.5&from=-2&to=-4"
    page = open_page(server.url, fragment)
    for _ in range(2):
        assert shows(page, generator.sample(4, seed=-5, labels="owl", truncation=0.5))
        assert page.url.endswith(fragment)
        assert picture(page, 3).get_attribute("data-end") == "first"
        page.reload()
    page.goto(f"{server.url}/#seed=1.5&label=cow&n=9999&from=x")
    page.wait_for_url("**#seed=0&n=48&truncation=1")


def test_several_bundles(digits, unconditional, write_bundle, start_server, open_page):
    folder = write_bundle(unconditional)
    server = start_server(f"--bundle={digits}", f"--bundle=colours={folder}")
    server.wait_until_ready()
    page = open_page(server.url, "#n=1")
    assert page.is_hidden("#walk")
    page.select_option("#bundle", "colours")
    page.fill("#n", "20")
    assert shows(page, Generator.load(folder).sample(20))
    assert page.is_hidden("#label")
    assert page.url.endswith("#bundle=colours&seed=0&n=20&truncation=1")


@pytest.fixture(scope="module")
def faces_url(start_module_server, faces, digits):
    return start_module_server(f"--bundle={faces}", f"--bundle={digits}").url


def test_attributes_have_switches_and_sliders(faces_url, open_page, faces):
    page, generator = open_page(faces_url), Generator.load(faces)
    assert shows(page, generator.sample(50))
    assert page.inner_text("#about") == "faces: 8\N{MULTIPLICATION SIGN}8 pixels, 3 attributes"
    assert "attributes" not in page.url
    male, smiling = page.get_by_role("switch", name="male"), page.get_by_role("switch", name="smiling")
    age = page.get_by_role("slider", name="age")
    assert (male.is_checked(), smiling.is_checked(), age.input_value()) == (False, True, "41.5")
    assert (age.get_attribute("min"), age.get_attribute("max")) == ("16", "80")
    male.check()
    assert shows(page, generator.sample(50, attributes={"male": 1}))
    age.fill("30.26")
    assert page.inner_text("#attributes output") == "30.3"
    assert shows(page, generator.sample(50, attributes={"male": 1, "age": 30.3}))
    assert shows(page, generator.interpolate(0, 1, 17, attributes={"male": 1, "age": 30.3}), "#filmstrip img")
    assert page.url.endswith("#bundle=faces&seed=0&n=50&truncation=1&attributes=male=1,age=30.3")
    for end, value in (("Home", 16), ("End", 80)):
        age.press(end)
        assert shows(page, generator.sample(50, attributes={"male": 1, "age": value}))
    page.get_by_role("button", name="Typical").click()
    assert shows(page, generator.sample(50))
    assert page.url.endswith("#bundle=faces&seed=0&n=50&truncation=1")
    assert (male.is_checked(), age.input_value()) == (False, "41.5")


def test_the_address_restores_attributes(faces_url, open_page, faces):
    fragment = "#bundle=faces&seed=3&n=4&truncation=1&attributes=smiling=0,age=77.25"
    page, generator = open_page(faces_url, fragment), Generator.load(faces)
    for _ in range(2):
        assert shows(page, generator.sample(4, 3, attributes={"smiling": 0, "age": 77.25}))
        assert page.url.endswith(fragment)
        page.reload()
    page.goto(f"{faces_url}/#n=4&attributes=beard=1,age=90,male=,smiling=x,odd")
    page.wait_for_url("**#bundle=faces&seed=0&n=4&truncation=1")
    assert shows(page, generator.sample(4))
    page.select_option("#bundle", "digits")
    page.wait_for_url("**#bundle=digits&seed=0&n=4&truncation=1")
    assert page.is_hidden("#attributes")


@pytest.mark.parametrize("language", LANGUAGES)
def test_programs_fetch_what_attributes_show(faces_url, open_page, faces, tmp_path, language):
    page = open_page(faces_url, "#seed=5&n=12&attributes=male=1,age=30")
    expected = png.grid(Generator.load(faces).sample(12, seed=5, attributes={"male": 1, "age": 30}), 10)[..., 0]
    assert np.array_equal(downloaded(page, "#download-sheet"), expected)
    program, picture = run_snippet(page, tmp_path, language)
    assert np.array_equal(picture, expected)
    assert "attributes=male=1,age=30" in program


def test_attributes_of_any_name(faces, start_server, open_page, write_bundle):
    names = ("hair, long", "a=b", 'it\'s "quoted" & <b>ünïcode</b>')
    info = Generator.load(faces).info
    attributes = tuple(dataclasses.replace(each, name=name) for each, name in zip(info.attributes, names, strict=True))
    bundle = write_bundle(dataclasses.replace(info, attributes=attributes))
    server, generator = start_server(f"--bundle={bundle}"), Generator.load(bundle)
    server.wait_until_ready()
    page = open_page(server.url, "#n=2")
    for name in names[:2]:
        page.get_by_role("switch", name=name).click()
    page.get_by_role("slider", name=names[2]).fill("20")
    expected = generator.sample(2, attributes={names[0]: 1, names[1]: 0, names[2]: 20})
    assert shows(page, expected)
    page.reload()
    assert shows(page, expected)
    assert names[2] in page.inner_text("#attributes")


def test_a_phone_with_attributes(faces_url, open_page):
    page = open_page(faces_url, viewport={"width": 360, "height": 740}, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    boxes = [each.bounding_box() for each in page.locator("#attributes input, #attributes button").all()]
    assert len(boxes) == 4
    assert min(min(box["width"], box["height"]) for box in boxes) >= 40


def test_a_phone(server, open_page):
    page = open_page(server.url, "#seed=9007199254740000", viewport={"width": 360, "height": 740}, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    targets = page.locator("button:visible, select:visible, .button, input:visible:not([type=radio]), fieldset label")
    boxes = [each.bounding_box() for each in targets.all()]
    assert min(min(box["width"], box["height"]) for box in boxes) >= 40
    page.goto(f"{server.url}/docs")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_keyboard(page, generator):
    page.focus("#download-sheet")
    for key, expected in {"Tab": 0, "End": 47, "ArrowRight": 47, "Home": 0, "ArrowDown": 9, "ArrowLeft": 8}.items():
        page.keyboard.press(key)
        assert picture(page, expected).evaluate("(each) => each === document.activeElement")
    assert page.locator("#gallery [tabindex='0']").count() == 1
    assert picture(page, 8).evaluate("(each) => getComputedStyle(each).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert shows(page, generator.interpolate(8, 1, 17, labels="owl"), "#filmstrip img")
    page.focus("#seed")
    page.keyboard.press("s")
    assert page.input_value("#seed") == "0"
    page.focus("#position")
    page.keyboard.press("s")
    settle(page)
    assert page.input_value("#seed") != "0"


def test_a_token(digits, generator, tmp_path, start_server, open_page):
    (tmp_path / "token").write_text("open-sesame\n")
    server = start_server(f"--bundle={digits}", f"--token_file={tmp_path / 'token'}")
    server.wait_until_ready()
    page = open_page(server.url, settled=False)
    for token, state in {"wrong": "visible", "open-sesame": "hidden"}.items():
        page.fill("#token", token)
        page.keyboard.press("Enter")
        page.wait_for_selector("text=That token isn't the right one.", state=state)
    assert shows(page, generator.sample(PICTURES))
    page.reload()
    assert shows(page, generator.sample(PICTURES))
    assert page.is_hidden("#token-form")
    sheet = downloaded(page, "#download-sheet")
    for language in LANGUAGES:
        program, pixels = run_snippet(page, tmp_path, language, TOKEN="open-sesame")
        assert "open-sesame" not in program
        assert np.array_equal(pixels, sheet)
    assert language == "python" or '-H "Authorization: Bearer $TOKEN"' in program


def test_pictures_with_alpha_show_what_is_behind_them(open_page, start_server, icons, digits):
    server = start_server(f"--bundle={icons}", f"--bundle={digits}")
    server.wait_until_ready()
    page, generator = open_page(server.url), Generator.load(icons)
    assert shows(page, generator.sample(50))
    box = picture(page, 0).bounding_box()
    assert box["width"] / box["height"] == pytest.approx(12 / 8, rel=0.02)
    behind = "getComputedStyle(document.querySelector('#gallery img')).backgroundImage"
    assert "conic-gradient" in page.evaluate(behind)
    sheet = downloaded(page, "#download-sheet")
    assert np.array_equal(sheet, png.grid(generator.sample(50), 10))
    page.select_option("#bundle", "digits")
    settle(page)
    assert page.evaluate(behind) == "none"


def test_refusals_are_shown_until_they_pass(page, generator):
    for status, text in {429: "asking again in 1 s.", 503: "asking again in 1 s.", 400: "not today."}.items():
        answer = {"status": status, "headers": {"Retry-After": "1"}, "json": {"error": "not today."}}
        page.route("**/v1/images?*", functools.partial(lambda answer, route: route.fulfill(**answer), answer), times=1)
        page.reload()
        page.wait_for_selector(f'[role=alert]:has-text("{text}")')
        if status == 400:
            page.fill("#seed", "2")
        assert shows(page, generator.sample(PICTURES, seed=2 if status == 400 else 0))
        assert page.is_hidden("[role=alert]")


def test_an_outdated_request_is_given_up(page, generator):
    page.route("**/v1/images?seed=1&*", lambda route: None)
    with page.expect_event("requestfailed", lambda request: "seed=1&" in request.url):
        with page.expect_request("**/v1/images?seed=1&*"):
            page.fill("#seed", "1")
        page.fill("#seed", "2")
    assert shows(page, generator.sample(PICTURES, seed=2))
