"""The page of a run: complete, in one file, and true of whatever the run left."""

import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import Run
from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.evaluation.report import images, texts
from pipeline.evaluation.report.figures import figures_of
from pipeline.evaluation.report.page import page_of_run, write_report
from pipeline.evaluation.report.record import read
from pipeline.pages import charts
from pipeline.pages.numbers import shown
from pipeline.runs.layout import attribute_rows
from pipeline.runs.preview import grid, write_png
from pipeline.runs.run_file import read_run, write_run
from serving.contract.attributes import Attribute
from tests.pipeline.evaluation.report.parsed import Page
from tests.pipeline.evaluation.report.written import evaluation, previews, write_lines

SECTIONS = ["figures", "quality", "pictures", "classes", "nearest", "training", "flags", "machine", "commands"]


def page_of(run_dir):
    return Page(write_report(run_dir).read_text(encoding="utf-8"))


def sections(page):
    return [each["id"] for each in page.all("section")]


def test_everything_is_there(make_run):
    run_dir = make_run()
    write_png(run_dir / "nearest.png", np.full((30, 60, 1), 90, np.uint8))
    (run_dir / "machine.json").write_text(json.dumps([{"from_step": 0, "cpu": "Abacus 9", "memory": 3 * 2**30}]))
    page = page_of(run_dir)
    assert sections(page) == SECTIONS
    assert len(page.ids) == len({*page.ids})
    assert [each["href"].removeprefix("#") for each in page.all("a")] == SECTIONS
    for said in (
        "dcgan with r3gan, conditional, on bars: 60 grey images of 12x12 pixels, 2 classes",
        "step 400 of 400",
        "FD-classifier, 5,000 samples",
        "best 3 at step 200",
        "real images: 0.7",
        "--conditional",
        "Abacus 9",
        "3.0 GiB",
        f"python -m pipeline --dataset=bars --conditional --steps=400 --run_dir={run_dir}",
        f"python -m pipeline.evaluate --run_dir={run_dir}",
        f"python -m export --run_dir={run_dir} --out=bundles/run",
    ):
        assert said in page.text
    titles = [each["aria-label"] for each in page.all("svg")]
    for start in ("FD-classifier (lower is better) over training images", "Losses over", "D's accuracy", "Speed"):
        assert any(title.startswith(start) for title in titles)
    assert any("over seconds of training" in title or "over minutes of training" in title for title in titles)


def test_nothing_is_fetched_from_anywhere(make_run):
    text = write_report(make_run()).read_text(encoding="utf-8")
    page = Page(text)
    assert re.findall(r"https?://|//[a-z]|url\(|@import", re.sub(r";base64,[\w+/=]*", "", text)) == []
    assert {name for name, _ in page.elements} & {"link", "iframe", "object", "base", "form"} == set()
    assert all(each["src"].startswith("data:image/") for each in page.all("img"))
    assert all("src" not in each for each in page.all("script"))
    policy = [each["content"] for each in page.all("meta") if each.get("http-equiv") == "Content-Security-Policy"]
    assert policy
    assert policy[0].startswith("default-src 'none'")


def test_it_can_be_read_by_those_who_do_not_see_it(make_run):
    page = page_of(make_run())
    assert all(each["alt"] for each in page.all("img"))
    assert all(each["role"] == "img" and each["aria-label"] for each in page.all("svg"))
    assert {each["scope"] for each in page.all("th")} == {"col", "row"}
    assert page.all("html") == [{"lang": "en"}]
    assert all(each["aria-labelledby"] in page.ids for each in page.all("section"))


HOSTILE = "</script><img src=x onerror=alert(1)>\"'&\x1b[31m\u202e\ud800"


def test_names_that_are_code_are_text(make_run):
    run_dir = make_run(name="<b>&'run", class_names=(HOSTILE, "b"), changes={"data_dir": HOSTILE}.items())
    lines = [
        evaluation(100, 2.0, **{"<i>own": 1.0}),
        evaluation(200, 1.0, extractor="</svg><script>x", **{"<i>own": 2.0}),
    ]
    write_lines(run_dir / "evaluations.jsonl", lines)
    text = write_report(run_dir).read_text(encoding="utf-8")
    page = Page(text)
    assert len(page.all("script")) == 1
    assert all(each["src"].startswith("data:") for each in page.all("img"))
    assert {"b", "i"} & {name for name, attributes in page.elements if "class" not in attributes} <= {"b"}
    assert "<b>&'run" in page.text
    assert "</script><img src=x onerror=alert(1)>" in page.text
    assert r"\x1b[31m\u202e\ud800" in page.text
    assert not {"\x1b", "\u202e", "\ud800"} & {*text}
    assert "FD-</svg><script>x" in page.text


def test_pictures_are_thinned_and_cut(make_run):
    page = page_of(make_run())
    film = [(alt, image.size) for alt, image in page.pictures() if "at step" in alt]
    steps = [int(re.search(r"step ([\d,]+)", alt)[1].replace(",", "")) for alt, _ in film]
    assert len(steps) == 12
    assert steps[:2] + steps[-1:] == [0, 20, 400]
    assert steps == sorted({*steps})
    assert {size for _, size in film} == {(12, 24)}  # an image of each class
    sheet = [(alt, image.size) for alt, image in page.pictures() if "of the class" in alt]
    assert sheet == [(f"generated pictures of the class {name}", (96, 12)) for name in "ab"]


@pytest.mark.parametrize(("names", "shape"), [((), (60, 60)), (tuple(f"class {i}" for i in range(30)), (12, 12))])
def test_pictures_of_many_classes_and_of_none(make_run, names, shape):
    pictures = page_of(make_run(class_names=names)).pictures()
    assert pictures[-1][1].size == shape
    assert pictures[-1][0] == (f"a generated picture of the class {names[-1]}" if names else "the preview at step 400")
    assert len(pictures) == 12 + (len(names) or 1)


def test_pictures_by_attributes(make_run):
    run_dir = make_run()
    attributes = (Attribute("smiling", "binary", 0, 1, 1), Attribute("age <years>", "number", 20, 90, 30))
    write_run(run_dir, read_run(run_dir)[0], DataSpec("bars", "", (12, 12, 1), (), 60, attributes=attributes))
    labels, _, columns = attribute_rows(attributes)
    for path in (run_dir / "samples").iterdir():
        write_png(path, grid(np.zeros((len(labels), 12, 12, 1), np.uint8), columns))
    page = page_of(run_dir)
    assert [name for name, _ in page.pictures()][-2:] == [
        "generated pictures by smiling, without, then with it",
        "generated pictures by age <years>, 20 to 90",
    ]
    assert "2 attributes" in page.text
    for path in (run_dir / "samples").iterdir():
        Image.new("RGB", (31, 17), (9, 200, 40)).save(path)
    assert {image.size for _, image in page_of(run_dir).pictures()} == {(31, 17)}


def test_a_page_of_large_photographs_stays_small(make_run):
    names = tuple("abcdefghijklmnopqrst")
    run_dir = make_run(class_names=names, shape=(140, 140, 3), every=200)  # noise, of which nothing can be compressed
    path = write_report(run_dir)
    pictures = Page(path.read_text()).pictures()
    assert len(pictures) == 3 + len(names)
    assert max(max(image.size) for _, image in pictures) <= 8 * 128
    assert path.stat().st_size < (3 * 2e6 / 12 + 2e6) * 1.4 + 100_000
    start = time.perf_counter()
    images.over_time(read(run_dir))
    assert time.perf_counter() - start < 0.2  # they are not made again


def test_of_long_records_no_more_than_a_screen_shows(make_run):
    run_dir = make_run()
    write_lines(run_dir / "evaluations.jsonl", [evaluation(i, 10 / i if i != 777 else 0.001) for i in range(1, 3000)])
    path = write_report(run_dir)
    page = Page(path.read_text())
    series = json.loads(page.all("svg")[0]["data-series"])
    assert len(series[0]["points"]) <= 241
    assert "0.001" in [point[3] for point in series[0]["points"]]  # the best one stays
    assert path.stat().st_size < 1_000_000


def test_of_long_records_a_constant_is_a_level_line(make_run):
    drawn = charts.chart("constant", [charts.Series("constant", [(i, 0.1) for i in range(500)])], "images")
    (series,) = json.loads(Page(drawn).all("svg")[0]["data-series"])
    assert len({height for _, height, *_ in series["points"]}) == 1


def test_what_is_missing_is_left_out(make_run):
    run_dir = make_run()
    for name in ("evaluations.jsonl", "metrics.jsonl"):
        (run_dir / name).unlink()
    for path in (run_dir / "samples").iterdir():
        path.unlink()
    page = page_of(run_dir)
    assert sections(page) == ["flags", "machine", "commands"]
    assert "Not noted" in page.text
    (run_dir / "samples").rmdir()
    assert sections(page_of(run_dir)) == ["flags", "machine", "commands"]


@pytest.mark.parametrize(
    "broken",
    [
        b'{"step": 300, "frechet_dist',
        b'{"step": 300, "frechet_distance": NaN, "precision": Infinity, "frechet_distance_interval": 3}\n',
        b'{"step": 300, "frechet_distance": 1' + b"0" * 400 + b', "seconds": "long", "recall": [1, "a"]}\n',
        b'[1]\n\xff\n{"step": 300}\n{"step": 300, "frechet_distance_interval": [2, NaN], "protocol": []}\n',
        b'{"step": 300, "frechet_distance": -1.5, "precision": 2.0, "images": 1e300, "seconds": -1e300}\n',
    ],
)
def test_broken_records_do_no_harm(make_run, broken):
    run_dir = make_run()
    for name in ("evaluations.jsonl", "metrics.jsonl"):
        with (run_dir / name).open("ab") as file:
            file.write(broken)
    (run_dir / "machine.json").write_text('[{"from_step": 0, "gpus": [1, {}]}, 3, {}]')
    (run_dir / "samples" / "step_0000400.png").write_bytes(b"\x89PNG, cut off")
    (run_dir / "samples" / "step_.png").write_bytes(b"")
    page = page_of(run_dir)
    assert {"quality", "pictures", "training"} <= {*sections(page)}
    for value in re.findall(r'(?:d|x1|y1|cx|cy)="([^"]*)"', (run_dir / "report.html").read_text()):
        assert "nan" not in value
        assert "inf" not in value


def test_previews_of_another_layout_are_shown_whole(make_run):
    run_dir = make_run()
    for path in (run_dir / "samples").iterdir():
        Image.new("RGB", (31, 17), (9, 200, 40)).save(path)
    assert {image.size for _, image in page_of(run_dir).pictures()} == {(31, 17)}


def test_a_run_of_an_earlier_version(tmp_path):
    before = json.loads((Path(__file__).parents[2] / "config_of_before.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(before))
    write_lines(tmp_path / "metrics.jsonl", [{"step": 10, "d_loss": 0.5}, {"step": 20, "d_loss": 0.4}])
    write_lines(tmp_path / "evaluations.jsonl", [{"step": 10, "frechet_distance": 3.0}])
    page = page_of(tmp_path)
    assert "figures" in sections(page)
    assert "flags" in sections(page)


def test_evaluations_by_another_judge_are_left_out(make_run):
    run_dir = make_run()
    lines = [evaluation(i, float(i), extractor="efficientnet" if i > 3 else "classifier") for i in range(1, 8)]
    write_lines(run_dir / "evaluations.jsonl", lines)
    page = page_of(run_dir)
    assert "3 evaluations by another judge are left out" in page.text
    assert "by EfficientNet-Lite0, 5,000 samples" in page.text
    assert [point[3] for point in json.loads(page.all("svg")[0]["data-series"])[0]["points"]] == ["4", "5", "6", "7"]


def test_intervals_are_told_and_drawn(make_run):
    run_dir = make_run()
    lines = [evaluation(i, 2.0 + i, frechet_distance_interval=[1.5 + i, 2.75 + i]) for i in (1, 2)]
    write_lines(run_dir / "evaluations.jsonl", lines)
    page = page_of(run_dir)
    assert "3.5 to 4.75" in page.text
    assert sum("band" in each.get("class", "") for each in page.all("path")) == 2  # over images, and over time


def test_what_real_images_get_stands_beside_the_figure(make_run):
    run_dir = make_run()
    more = {"sharpness": 31.0, "sharpness_of_reference": 42.5, "kernel_distance": 1.5, "kernel_distance_error": 0.25}
    write_lines(run_dir / "evaluations.jsonl", [evaluation(100, 2.0, num_samples=77, extractor_accuracy=0.5, **more)])
    found = figures_of(read(run_dir).newest, "", "classifier")
    names = {"frechet_distance": "frechet_floor", "precision": "", "recall": "", "sharpness": "sharpness_of_reference"}
    assert {each.name: each.floor for each in found} == {**names, "kernel_distance": ""}
    assert {"42.5", "0.7"} <= {*texts.figures_table(read(run_dir)).replace("<", ">").split(">")}


def test_a_collapse_is_told_again(make_run):
    run_dir = make_run(distances=(3.0, 8.0, 9.0))
    page = page_of(run_dir)
    assert "frechet distance was 3 at its best and is 9, since step 200" in page.text
    assert "Warnings" in page.text
    assert "Warnings" not in page_of(make_run("other")).text


def test_numbers_are_short():
    assert [shown(each) for each in (None, 0.123456, 12.0, 999.96, 1000.0, 1234.56, 54321.9)] == [
        "", "0.1235", "12", "1000", "1,000", "1,234.6", "54,322",
    ]  # fmt: skip


def test_derived_flags_are_marked_and_left_to_mirage(make_run):
    run_dir = make_run(changes={"gamma": 0.1}.items())
    assert "--gamma=0.1" in texts.commands(read(run_dir))
    document = json.loads((run_dir / "config.json").read_text())
    document["decided"]["automatic"] = ["gamma"]
    (run_dir / "config.json").write_text(json.dumps(document))
    assert "derived from data and device" in texts.flags(read(run_dir))
    assert "--gamma" not in texts.commands(read(run_dir))
    # What was set to what it is where nothing is chosen was set, too.
    changed, _, rest = texts.flags(read(run_dir)).partition("<details>")
    assert "--batch_size<" in changed
    assert "--seed<" in rest


def test_it_says_how_far_a_run_can_be_continued(make_run):
    assert (
        "until the learning rate is 0, at 5,000 images"
        in page_of(make_run(changes={"lr_decay_images": 5000}.items())).text
    )
    assert "a larger --steps trains on)" in page_of(make_run("other")).text
    ends = {"lr_decay_images": 5000, "learning_rate_end": 1e-5}
    assert "a larger --steps trains on)" in page_of(make_run("ends", changes=ends.items())).text


def test_commands_can_be_pasted(make_run):
    run_dir = make_run("it's; rm -rf")
    command = Page(page_of_run(read(run_dir))).text
    assert f"--run_dir='{str(run_dir).replace(chr(39), chr(39) + chr(34) + chr(39) + chr(34) + chr(39))}'" in command


def test_commands_name_the_folder_where_it_is(make_run, tmp_path):
    moved = make_run().rename(tmp_path / "moved")
    assert texts.commands(read(moved)).count(f"--run_dir={moved}") == 3


def test_from_python(make_run):
    run_dir = make_run()
    assert Run(run_dir).report() == run_dir / "report.html"
    assert sections(Page((run_dir / "report.html").read_text()))
    (run_dir / "report.html").unlink()
    (run_dir / "report.html").mkdir()
    with pytest.raises(MirageError, match="can't be written") as caught:
        Run(run_dir).report()
    assert "\n" not in str(caught.value)
    assert [each.name for each in run_dir.iterdir() if "partial" in each.name] == []


def test_the_configuration_is_shown_whole(make_run):
    text = texts.flags(read(make_run()))
    assert all(f"--{name}<" in text for name in Config().to_dict())


def test_the_preview_is_cut_as_it_was_laid_out(make_run):
    run_dir = make_run(class_names=tuple("abc"))
    record = read(run_dir)
    previews(run_dir, [400], 3)
    assert "of the class c" in images.class_sheet(record)
