"""Every fault that is planted in a data set is found, told with what to do, and stops nothing."""

import dataclasses
import json
import os
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.data.options import DataOptions
from pipeline.data.source import Source, skipping
from pipeline.data.spec import DataSpec
from pipeline.data.survey import report
from pipeline.data.survey.finding import LEVELS
from pipeline.data.survey.findings import find
from pipeline.data.survey.report import told, write_report
from pipeline.data.survey.survey import survey
from tests.pipeline.data.survey.pictures import picture
from tests.pipeline.evaluation.report.parsed import Page

SIDE = 32
CLASSES = {"big": 230, "mid": 60, "few": 5, "one": 1}


def look(root, **options):
    return survey(DataOptions(dataset=f"folder:{root}", **options))


def found_in(seen):
    return {each.name: each for each in find(seen)}


def names_of(seen, finding):
    return [tuple(seen.name(row) for row in example.rows) for example in finding.examples]


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A folder with a fault of every kind."""
    root = tmp_path_factory.mktemp("planted")
    seed = 0
    for name, count in CLASSES.items():
        (root / name).mkdir()
        for number in range(count):
            picture(seed, (SIDE, SIDE)).save(root / name / f"{name}{number:03}.jpg", quality=95)
            seed += 1
    big = root / "big"

    def original(number):
        return Image.open(big / f"big{number:03}.jpg").convert("RGB")

    shutil.copy(big / "big000.jpg", big / "z_copied.jpg")
    shutil.copy(big / "big001.jpg", root / "mid" / "z_contradicts.jpg")
    original(2).save(big / "z_same_pixels.bmp")
    original(3).resize((48, 48), Image.Resampling.BICUBIC).save(big / "z_resized.png")
    original(4).save(big / "z_compressed.jpg", quality=40)
    ImageEnhance.Brightness(original(5)).enhance(1.1).save(big / "z_brighter.png")
    Image.new("RGB", (SIDE, SIDE), (2, 1, 0)).save(big / "z_black.png")
    Image.new("RGB", (SIDE, SIDE), (255, 255, 254)).save(big / "z_white.png")
    Image.new("RGB", (SIDE, SIDE), (90, 140, 60)).save(big / "z_tone.png")
    ImageEnhance.Brightness(picture(seed + 2, (SIDE, SIDE))).enhance(0.15).save(big / "z_dim.png")
    original(6).resize((160, 32)).save(big / "z_wide.jpg")
    original(7).resize((20, 90)).save(big / "z_tall.jpg")
    original(8).resize((9, 9)).save(big / "z_tiny.png")
    (big / "z_empty.jpg").write_bytes(b"")
    (big / "z_text.png").write_bytes(b"no picture")
    content = (big / "big009.jpg").read_bytes()
    (big / "z_cut.jpg").write_bytes(content[: len(content) // 2])
    frames = [original(number) for number in (10, 11, 12)]
    frames[0].save(big / "z_animated.gif", save_all=True, append_images=frames[1:])
    transparent = original(13)
    transparent.putalpha(Image.linear_gradient("L").resize((SIDE, SIDE)))
    transparent.save(big / "z_transparent.png")
    opaque = original(14).convert("RGBA")
    opaque.save(big / "z_opaque.png")
    original(15).convert("CMYK").save(big / "z_cmyk.jpg", quality=95)
    Image.fromarray(np.asarray(original(16).convert("L")).astype(np.uint16) * 257).save(big / "z_deep.png")
    mark = Image.Exif()
    mark[0x0112] = 6
    picture(seed + 1, (40, SIDE)).save(big / "z_turned.jpg", exif=mark)
    (big / ".hidden.jpg").write_bytes(content)
    (big / "notes.txt").write_text("x")
    (big / "without").write_bytes(content)
    os.symlink("nowhere", big / "link.jpg")
    (root / "void").mkdir()
    return root


@pytest.fixture(scope="module")
def seen(planted):
    return look(planted, image_size=SIDE)


@pytest.fixture(scope="module")
def found(seen):
    return found_in(seen)


def test_bad_files_are_all_named_and_stop_a_training(seen, found):
    bad = {"z_empty.jpg": "empty file", "z_text.png": "no image format that is known", "z_cut.jpg": "runcated"}
    assert {seen.name(row).removeprefix("big/") for row in seen.bad} == {*bad}
    assert found["unreadable"].level == "stops"
    assert found["unreadable"].count == 3
    for name, why in bad.items():
        assert name in found["unreadable"].says
        assert why in found["unreadable"].says
    assert "--skip_bad_images" in found["unreadable"].do


def test_bad_files_that_are_skipped_do_not_stop_it(planted):
    found = found_in(look(planted, image_size=SIDE, skip_bad_images=True))
    assert found["unreadable"].level == "warns"
    assert "stops" not in {each.level for each in found.values()}


def test_uneven_and_small_classes_are_told(found):
    assert "big has 251 pictures and one 1" in found["imbalance"].says
    small = found["small_classes"]
    assert (
        small.says
        == "There are 2 classes of 4 with fewer than 20 pictures, of which 1 with one or none: one (1), few (5)."
    )
    assert len(small.examples) == 6
    assert "few" in found  # fewer than 500 in all


def test_copies_are_found_with_their_originals(seen, found):
    pairs = {tuple(sorted(pair)) for pair in names_of(seen, found["copies"])}
    expected = {("big/big000.jpg", "big/z_copied.jpg"), ("big/big001.jpg", "mid/z_contradicts.jpg")}
    expected |= {("big/big002.jpg", "big/z_same_pixels.bmp"), ("big/big014.jpg", "big/z_opaque.png")}
    assert pairs == expected
    assert found["copies"].says == "4 pictures are copies of others: 2 byte for byte, 2 pixel for pixel."
    (contradicting,) = names_of(seen, found["contradicting"])
    assert {*contradicting} == {"big/big001.jpg", "mid/z_contradicts.jpg"}


def test_pictures_that_look_alike_are_found(seen, found):
    pairs = {tuple(sorted(pair)) for pair in names_of(seen, found["alike"])}
    for number, name in ((3, "resized.png"), (4, "compressed.jpg"), (5, "brighter.png"), (10, "animated.gif")):
        assert (f"big/big{number:03}.jpg", f"big/z_{name}") in pairs
    assert all(pair[1].startswith("big/z_") for pair in pairs)  # no two that are different
    assert found["alike"].count == len(pairs)


def test_empty_tones_shapes_and_sizes_are_found(seen, found):
    def names(key):
        return {name.removeprefix("big/z_") for (name,) in names_of(seen, found[key])}

    assert names("tones") == {"black.png", "white.png", "tone.png"}
    assert "1 nearly black, 1 nearly white, 1 of one tone" in found["tones"].says
    assert names("brightness") == {"dim.png", "transparent.png"}  # which white shines through
    assert names("aspect") == {"wide.jpg", "tall.jpg"}
    assert names_of(seen, found["aspect"])[0] == ("big/z_wide.jpg",)  # the worst first
    assert names("upscaled") == {"tiny.png", "tall.jpg"}
    assert "the smallest has 9x9" in found["upscaled"].says


@pytest.mark.parametrize("kind", ["animated.gif", "transparent.png", "cmyk.jpg", "deep.png", "turned.jpg"])
def test_unusual_files_are_told(seen, found, kind):
    finding = found[kind.partition(".")[0]]
    assert names_of(seen, finding) == [(f"big/z_{kind}",)]
    assert finding.level == "notes"


def test_what_is_ignored_is_told(found):
    assert found["ignored"].says == (
        "4 files and folders are left aside: 1 broken links, 1 ending in .txt, 1 hidden, 1 without an ending, 1 folder "
        "without pictures."
    )


def test_a_single_grey_picture_among_coloured_ones_is_told(seen, found):
    assert names_of(seen, found["colours"]) == [("big/z_deep.png",)]


def test_nothing_else_is_found(found):
    assert {*found} == {
        *("unreadable", "few", "imbalance", "small_classes", "copies", "contradicting", "alike", "tones", "aspect"),
        *("brightness", "upscaled", "colours", "ignored", "animated", "transparent", "cmyk", "deep", "turned"),
    }


def test_several_sizes_need_a_size(planted):
    found = found_in(look(planted))
    assert found["sizes"].level == "stops"
    assert "32x32 (" in found["sizes"].says
    assert "Set --image_size" in found["sizes"].do


def test_what_is_sound_is_told_to_be(tmp_path):
    for seed in range(500):
        folder = tmp_path / f"class{seed % 2}"
        folder.mkdir(exist_ok=True)
        picture(seed, (16, 16)).save(folder / f"{seed}.png")
    seen = look(tmp_path)
    assert find(seen) == []
    assert told(seen, []) == "Data: 500 pictures, nothing amiss."


def test_pictures_of_both_parts_of_a_folder_are_found(tmp_path):
    for seed in range(30):
        picture(seed, (SIDE, SIDE)).save(tmp_path / f"{seed}.png")
        picture(seed, (SIDE, SIDE)).resize((48, 48), Image.Resampling.BICUBIC).save(tmp_path / f"{seed}_again.png")
    for seed in range(30, 40):
        for copy in range(3):
            picture(seed, (SIDE, SIDE)).save(tmp_path / f"{seed}_{copy}.png")
    seen = look(tmp_path, image_size=SIDE, split="train[:50%]")
    here = {seen.name(row).partition(".")[0] for row in range(45)}
    there = {seen.name(row).partition(".")[0] for row in range(45, 90)}
    assert len(here | there) == 90
    equal = {
        name
        for name in there
        if any(
            name != other and name[:3] == other[:3] and "_again" not in name + other and "_" in name for other in here
        )
    }
    alike = {name for name in there if (name.removesuffix("_again") if "again" in name else f"{name}_again") in here}
    finding = found_in(seen)["across"]
    assert finding.count == len(equal) + len(alike)
    assert f"{len(equal)} the same, {len(alike)} very much alike" in finding.says


def test_the_test_split_of_arrays_is_compared():
    train = np.stack([np.asarray(picture(seed)) for seed in range(40)])
    test = np.concatenate([train[3:5], np.stack([np.asarray(picture(seed)) for seed in range(40, 60)])])
    options = DataOptions(dataset="python:splits")
    labels = np.arange(40) % 2
    seen = survey(options, ((train, labels), (test, np.zeros(22, int))))
    assert seen.class_names == ["0", "1"]
    assert seen.per_class.tolist() == [20, 20]
    finding = found_in(seen)["across"]
    assert finding.count == 2
    assert names_of(seen, finding) == [
        ("number 3", "the test split, number 0"),
        ("number 4", "the test split, number 1"),
    ]
    assert "unreadable" not in found_in(seen)


def test_examples_that_come_one_by_one_and_archives_are_surveyed(tmp_path, planted):
    def numbers():
        return iter([(np.asarray(picture(seed)), "ab"[seed % 2]) for seed in range(20)])

    streamed = survey(DataOptions(dataset="python:function", data_dir=str(tmp_path)), numbers)
    assert (streamed.total, streamed.class_names, streamed.per_class.tolist()) == (20, ["a", "b"], [10, 10])
    with zipfile.ZipFile(tmp_path / "planted.zip", "w") as archive:
        for path in sorted(planted.rglob("*")):
            if path.is_file() and not path.is_symlink():
                archive.write(path, path.relative_to(planted))
    unpacked, packed = (
        {name: (each.count, each.level) for name, each in found_in(look(root, image_size=SIDE)).items()}
        for root in (planted, tmp_path / "planted.zip")
    )
    del unpacked["ignored"], packed["ignored"]  # an archive has no links, nor empty folders
    assert packed == unpacked


def test_a_part_is_drawn_of_many(planted):
    seen = survey(DataOptions(dataset=f"folder:{planted}", image_size=SIDE), most=50)
    again = survey(DataOptions(dataset=f"folder:{planted}", image_size=SIDE), most=50)
    assert (seen.looked_at, seen.total) == (50, sum(CLASSES.values()) + 22)
    assert seen.numbers.tolist() == again.numbers.tolist()
    assert seen.per_class.sum() == seen.total  # labels are known of all files
    assert told(seen, find(seen)).startswith("Data: 50 pictures of 318, drawn at random, ")


def test_of_what_is_read_in_order_the_first_are_taken():
    def opened():
        taken.append(0)
        for seed in range(60):
            taken[-1] += 1
            yield np.asarray(picture(seed)), 0

    taken = []
    spec = DataSpec("numbers", "", (64, 64, 3), (), 60)
    seen = survey(DataOptions(dataset="python:source"), Source(spec, skipping(opened), lambda: ""), most=20)
    assert seen.numbers.tolist() == [*range(20)]
    assert told(seen, []).startswith("Data: 20 pictures of 60, the first, ")
    assert taken[0] <= 21  # the others are not read


def test_a_folder_of_bad_files_is_surveyed(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    seen = look(tmp_path, image_size=8)
    assert found_in(seen)["unreadable"].level == "stops"
    page = write_report(seen, find(seen), str(tmp_path / "out"))
    assert "no image format that is known" in Page(page.read_text()).text


@pytest.fixture(scope="module")
def written(seen, tmp_path_factory):
    return write_report(seen, find(seen), str(tmp_path_factory.mktemp("out") / "report"))


def test_the_page_shows_it_all_and_asks_nobody(seen, written):
    text = written.read_text()
    page = Page(text)
    for each in find(seen):
        assert each.says in page.text
        assert each.do in page.text
    assert [each for name in ("link", "script") for each in page.all(name) if "href" in each or "src" in each] == []
    assert all(each["src"].startswith("data:") for each in page.all("img"))
    policy = next(each["content"] for each in page.all("meta") if "http-equiv" in each)
    assert "default-src 'none'" in policy
    assert len(page.ids) == len({*page.ids})
    shown = dict(page.pictures())
    assert "96 pictures drawn at random" in shown
    assert shown["96 pictures drawn at random"].width == 12 * SIDE
    assert {"pictures of the class big", "pictures of the class one", "big/z_cmyk.jpg"} <= {*shown}
    for name in ("z_empty.jpg", "z_text.png", "z_cut.jpg"):
        assert name in page.text
    assert len(text) < 2_000_000


def test_the_document_holds_it_for_programs(seen, written):
    document = json.loads((written.parent / "data.json").read_text())
    assert document["pictures"] == 318
    assert document["classes"] == {"big": 251, "few": 5, "mid": 61, "one": 1}
    assert {each["name"]: each["count"] for each in document["findings"]} == {
        each.name: each.count for each in find(seen)
    }
    assert {each["level"] for each in document["findings"]} <= {*LEVELS}
    assert document["unreadable"]["big/z_text.png"] == "no image format that is known"
    assert document["ignored"] == {"hidden": 1, "ending in .txt": 1, "broken links": 1, "without an ending": 1}
    assert len(document["copies"]) == 4
    assert document["formats"]["JPEG"] > 290
    assert document["modes"]["CMYK"] == 1
    assert document["sizes"]["32x32"] > 300
    assert {path.name for path in written.parent.iterdir()} == {"data.html", "data.json"}


def test_names_are_text_and_no_html(tmp_path):
    folder = tmp_path / "<b>set" / "<img src=x>"
    folder.mkdir(parents=True)
    picture(0).save(folder / "<i>.png")
    (folder / "<u>.png").write_bytes(b"")
    shutil.copy(folder / "<i>.png", os.fsencode(folder) + b"/\xff.png")
    seen = look(tmp_path / "<b>set")
    page = write_report(seen, find(seen), str(tmp_path / "out")).read_text()
    assert [each for each in ("<b>set", "<img src=x", "<i>.png", "<u>.png") if each in page] == []
    assert "<img src=x>/<u>.png" in Page(page).text
    assert json.loads((tmp_path / "out" / "data.json").read_text())["classes"] == {"<img src=x>": 3}


def test_a_report_that_cannot_be_written_is_refused(tmp_path, seen):
    (tmp_path / "file").write_text("")
    with pytest.raises(MirageError, match=r"--report=.*file can't be written \(.*\); give a folder"):
        write_report(seen, [], str(tmp_path / "file"))


def test_a_glance_is_written_below_data_dir(planted, tmp_path, capsys):
    report.glance(Config(dataset=f"folder:{planted}", image_size=SIDE, data_dir=str(tmp_path)))
    out = capsys.readouterr().out
    assert "training refuses this: 3 pictures of 318 can't be read" in out
    page = out.rstrip().rpartition("Report: ")[2]
    assert page.startswith(str(tmp_path))
    assert os.path.getsize(page) > 100_000


@pytest.mark.parametrize("kind", ["array", "files"])
@pytest.mark.parametrize(("transparency", "mode"), [("keep", "RGBA"), ("white", "RGB")])
def test_pictures_that_stay_transparent_are_told_to_be(tmp_path, kind, transparency, mode):
    pixels = np.stack([np.asarray(picture(seed).convert("RGBA")) for seed in range(20)])
    pixels[:, :9, :, 3] = 100
    options = DataOptions(dataset="python:arrays", transparency=transparency)
    if kind == "files":
        for number, each in enumerate(pixels):
            Image.fromarray(each).save(tmp_path / f"{number}.png")
        options = dataclasses.replace(options, dataset=f"folder:{tmp_path}")
    seen = survey(options, pixels if kind == "array" else None)
    assert seen.mode == mode
    gone = kind == "array" and mode == "RGB"  # laid over white before anybody looks
    assert ("transparent" in found_in(seen)) != gone
