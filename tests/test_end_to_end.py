"""The whole way on colour photographs: train, export, sample."""

import io
import json
from pathlib import Path

import httpx
import numpy as np
import pytest
from absl import flags
from PIL import Image

import tests.tensorflow_devices  # noqa: F401
from export.bundle import export_bundle
from export.verify import verify
from pipeline import evaluate
from pipeline.base.command_line import given_parameters
from pipeline.config import Config
from pipeline.evaluation.evaluate import score
from pipeline.evaluation.options import ScoringOptions
from pipeline.evaluation.table import table
from serving import Generator
from serving.contract import png
from tests.experiments import train
from tests.serving.server.conftest import started

COLOURS = {"blue": (20, 20, 220), "green": (20, 220, 20), "red": (220, 20, 20)}


@pytest.fixture
def photographs(tmp_path):
    """32x32 JPEG files, in a folder per colour."""
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(8):
            pixels = np.clip(np.array(colour) + rng.normal(0, 12, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{index}.jpg", quality=95)
    return tmp_path / "photos"


@pytest.mark.parametrize("conditional", [True, False], ids=["conditional", "unconditional"])
def test_a_folder_of_colour_jpegs(photographs, tmp_path, conditional):
    config = Config(
        dataset=f"folder:{photographs}",
        conditional=conditional,
        batch_size=12,
        steps=250 if conditional else 4,
        learning_rate=1e-3,
        ema_images=24,
        run_dir=str(tmp_path / "run"),
    )
    train(config)
    export_bundle(tmp_path / "run", tmp_path / "bundle")
    generator = Generator.load(tmp_path / "bundle")
    images = generator.sample(12, seed=3)
    assert images.shape == (12, 32, 32, 3)
    if conditional:
        assert generator.class_names == tuple(COLOURS)
        # Enough steps to learn which channel is bright: labels reach the generator the whole way.
        means = [generator.sample(8, labels=name).mean(axis=(0, 1, 2)) for name in generator.class_names]
        assert [int(mean.argmax()) for mean in means] == [2, 1, 0]
        # The bundle scores as the run does, since both make the same images.
        run, bundle = (
            evaluated(tmp_path, f"--run_dir={tmp_path / 'run'}", *more)
            for more in ([], [f"--bundle={tmp_path / 'bundle'}"])
        )
        assert run["step"] == 250
        assert bundle["frechet_distance"] == pytest.approx(run["frechet_distance"], rel=0.02)
        different = {name.removesuffix("_interval") for name in run if run[name] != bundle[name]}
        assert different <= {"source", "feature_path_length", *MEASURES}


@pytest.fixture
def faces(tmp_path):
    """16x16 pictures, blue or red, striped or not, and the brighter the older; and a table that says so."""
    rng, rows = np.random.default_rng(0), ["file,blue,striped,age"]
    (tmp_path / "faces").mkdir()
    for index in range(200):
        blue, striped, age = rng.integers(2), rng.integers(2), rng.uniform(16, 80)
        pixels = np.zeros((16, 16, 3))
        pixels[..., 2 if blue else 0] = 60 + 150 * (age - 16) / 64
        pixels[::4, :, 1] = 200 * striped
        Image.fromarray((pixels + rng.uniform(0, 20, (16, 16, 3))).astype(np.uint8)).save(
            tmp_path / "faces" / f"{index}.png"
        )
        rows.append(f"{index}.png,{blue},{striped},{age:.1f}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    return tmp_path / "faces"


def test_attributes_from_a_table_to_the_browser(faces, tmp_path):
    config = Config(
        dataset=f"folder:{faces}",
        labels=f"{tmp_path / 'labels.csv'}:blue,striped,age",
        conditional=True,
        model="dcgan",
        model_args="width=16",
        batch_size=16,
        steps=300,
        learning_rate=2e-3,
        ema_images=200,
        run_dir=str(tmp_path / "run"),
    )
    run = train(config)
    export_bundle(tmp_path / "run", tmp_path / "bundle")
    generator = Generator.load(tmp_path / "bundle")
    assert [(each.name, each.kind) for each in generator.attributes] == [
        ("blue", "binary"),
        ("striped", "binary"),
        ("age", "number"),
    ]
    assert dict(verify(tmp_path / "bundle"))["pictures of golden latents"]

    def seen(**attributes):
        """How red, green in stripes, and blue pictures are."""
        images = generator.sample(16, seed=5, attributes=attributes).astype(float).mean(axis=0)
        return images[..., 0].mean(), images[::4, :, 1].mean(), images[..., 2].mean()

    blue, red = seen(blue=True), seen(blue=False)
    assert blue[2] > blue[0] + 30
    assert red[0] > red[2] + 30
    assert seen(striped=1)[1] > seen(striped=0)[1] + 60
    young, old = seen(blue=1, age=20), seen(blue=1, age=76)
    assert old[2] > young[2] + 30

    given = {"blue": 1, "age": 30}
    expected = generator.sample(4, seed=3, attributes=given)
    assert np.abs(run.sample(4, seed=3, attributes=given).astype(int) - expected).max() <= 1
    with started(f"--bundle={tmp_path / 'bundle'}") as server:
        server.wait_until_ready()
        answer = httpx.get(f"{server.url}/v1/images?seed=3&n=4&format=npy&attributes=blue=1,age=30")
        assert np.array_equal(np.load(io.BytesIO(answer.content)), expected)
        refused = httpx.get(f"{server.url}/v1/images?seed=3&attributes=age=90")
        assert (refused.status_code, "attribute 'age' is 90; expected" in refused.text) == (400, True)


def test_tall_photographs_of_various_sizes(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(24):
        folder = tmp_path / "photos" / ("dark", "light")[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(128 * (index % 2), 128 + 127 * (index % 2), (30 + index, 40 - index, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    config = Config(
        dataset=f"folder:{tmp_path / 'photos'}",
        image_size="24x16",
        random_crop=1.25,
        flip=True,
        conditional=True,
        model="dcgan",
        model_args="width=8",
        batch_size=8,
        steps=6,
        ema_images=24,
        strategy="one_device",
        run_dir=str(tmp_path / "run"),
    )
    train(config)
    judged = f"--run_dir={tmp_path / 'run'}", "--extractor=classifier"
    scores = evaluated(tmp_path, *judged)
    assert scores["step"] == 6
    assert all(np.isfinite(scores[name]) for name in (*MEASURES, "precision", "label_accuracy"))
    bundle = tmp_path / "bundle"
    export_bundle(tmp_path / "run", bundle, ["saved_model", "onnx", "litert", "web", "triton"])
    found = dict(verify(bundle))
    assert found["generator.onnx"] == "latent of 100, 2 classes, 24x16x3 pixels"
    assert found["latents of golden seeds"] == "identical"
    generator = Generator.load(bundle)
    of_bundle = evaluated(tmp_path, f"--bundle={bundle}", *judged)
    assert of_bundle["frechet_distance"] == pytest.approx(scores["frechet_distance"], rel=0.02)
    images = generator.sample(6, seed=3, labels="light")
    assert images.shape == (6, 24, 16, 3)
    with started(f"--bundle={bundle}") as server:
        server.wait_until_ready()
        query = {"n": 6, "seed": 3, "label": "light", "columns": 2}
        sheet = httpx.get(f"{server.url}/v1/images", params=query).content
        with Image.open(io.BytesIO(sheet)) as picture:
            np.testing.assert_array_equal(np.asarray(picture), png.grid(images, 2))
        array = httpx.get(f"{server.url}/v1/images", params={**query, "format": "npy"}).content
        np.testing.assert_array_equal(np.load(io.BytesIO(array)), images)


def test_icons_stay_transparent(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "icons").mkdir()
    for index in range(24):
        pixels = np.zeros((16, 16, 4), np.uint8)
        pixels[4:12, 4:12] = [*rng.integers(0, 256, 3), 255]
        Image.fromarray(pixels).save(tmp_path / "icons" / f"{index}.png")
    run = train(
        Config(
            dataset=f"folder:{tmp_path / 'icons'}",
            transparency="keep",
            model_args="width=2",
            augment="translation,color",
            flip=True,
            batch_size=4,
            steps=4,
            log_every=4,
            preview_every=4,
            run_dir=str(tmp_path / "run"),
        )
    )
    assert run.sample(2).shape == (2, 16, 16, 4)
    scores = evaluated(tmp_path, f"--run_dir={tmp_path / 'run'}", "--metrics=sharpness,nearest_training_image")
    assert all(np.isfinite(scores[name]) for name in ("sharpness", "nearest_training_image"))
    with Image.open(next((tmp_path / "run" / "samples").glob("*4.png"))) as picture:
        assert picture.mode == "RGBA"
    bundle = tmp_path / "bundle"
    export_bundle(tmp_path / "run", bundle, ["onnx", "saved_model"])
    generator = Generator.load(bundle)
    assert generator.info.alpha == "premultiplied"
    assert np.abs(generator.sample(3, seed=5)[..., 3].astype(int) - run.sample(3, seed=5)[..., 3]).max() <= 1
    assert dict(verify(bundle))["generator.onnx"].endswith("16x16x4 pixels")


MEASURES = (
    "frechet_distance",
    "kernel_distance",
    "kernel_distance_error",
    "inception_score",
    "sharpness",
    "nearest_training_image",
)


def evaluated(folder, *arguments):
    values = flags.FlagValues()
    evaluate.define_flags(values)
    values(["evaluate", "--num_samples=60", f"--data_dir={folder / 'data'}", *arguments])
    options = given_parameters(values, ScoringOptions)
    scores, _ = score(options, Path(values.run_dir), values.bundle)
    told = table(scores)
    beside = ("_interval", "_floor", "_of_real", "_of_reference")  # in the line of their figure
    lines = [name for name, value in scores.items() if not name.endswith(beside) and not isinstance(value, dict)]
    assert [line.partition("  ")[0] for line in told.splitlines()] == [name.replace("_", " ") for name in lines]
    assert all(f"{value:.4g}" in told for value in scores.values() if isinstance(value, float))
    return json.loads(json.dumps(scores))
