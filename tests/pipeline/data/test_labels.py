"""Classes of pictures by a table, in whatever form people have it."""

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.data.dataset import load

# Each picture is of one value, by which it is known again.
SPECIES = {"a/1.png": "cat", "a/2.png": "dog", "b/1.png": "cat", "b/c/3.png": "owl"}
VALUES = {name: 10 * number for number, name in enumerate(SPECIES)}


@pytest.fixture
def root(tmp_path):
    for name, value in VALUES.items():
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), value).save(path)
    return tmp_path / "set"


def config(root, labels, **more):
    return Config(dataset=f"folder:{root}", labels=str(labels), batch_size=1, **more)


def species_of(dataset):
    names = {value: name for name, value in VALUES.items()}
    values = dataset.images[:, 0, 0, 0].tolist()
    return {
        names[value]: dataset.spec.class_names[label]
        for value, label in zip(values, dataset.labels.tolist(), strict=True)
    }


def as_csv(rows, delimiter=","):
    lines = [delimiter.join(("id", "file_name", "species"))]
    return "\n".join([*lines, *(delimiter.join((str(i), *row)) for i, row in enumerate(rows))])


def as_parquet(rows):
    import pyarrow
    from pyarrow import parquet

    content = io.BytesIO()
    names, species = zip(*rows, strict=True)
    parquet.write_table(pyarrow.table({"image": list(names), "species": list(species)}), content)
    return content.getvalue()


TABLES = {
    "t.csv": lambda rows: as_csv(rows),
    "excel.csv": lambda rows: "\ufeff" + as_csv(rows, ";").replace("\n", "\r\n"),
    "t.tsv": lambda rows: as_csv(rows, "\t"),
    "t.jsonl": lambda rows: "\n".join(json.dumps({"path": path, "species": kind}) for path, kind in rows),
    "t.json": lambda rows: json.dumps([{"path": path, "species": kind} for path, kind in rows]),
    "t.parquet": as_parquet,
}


@pytest.mark.parametrize("name", TABLES)
def test_each_kind_of_table(root, tmp_path, name):
    content = TABLES[name]([*SPECIES.items()])
    for path in (root / name, tmp_path / name):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for labels in (f"{name}:species", f"{tmp_path / name}:species"):
        dataset = load(config(root, labels))
        assert dataset.spec.class_names == ("cat", "dog", "owl")
        assert species_of(dataset) == SPECIES
    half = load(config(root, labels, split="train[:2]"))
    assert half.spec.class_names == dataset.spec.class_names
    assert species_of(half) == {name: SPECIES[name] for name in species_of(half)}


def test_paths_may_be_written_in_other_ways(root):
    rows = ["./a/1.png,cat", "a\\2.png,dog", "pictures/b/1.png,cat", "3,owl", "gone.png,cat"]
    (root / "t.csv").write_text("\n".join(["path,species", *rows[:2], "b/1.png,cat", *rows[3:]]))
    assert species_of(load(config(root, "t.csv:species"))) == SPECIES


def test_tables_in_archives(root, tmp_path):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in SPECIES:
            archive.write(root / name, f"set/{name}")
        archive.writestr("set/t.csv", as_csv(SPECIES.items()))
    assert species_of(load(config(path, "t.csv:species"))) == SPECIES


def test_the_file_that_stylegan_writes(root, capsys):
    labels = [[name, ["cat", "dog", "owl"].index(kind)] for name, kind in SPECIES.items()]
    (root / "dataset.json").write_text(json.dumps({"labels": labels}))
    expected = {name: str(["cat", "dog", "owl"].index(kind)) for name, kind in SPECIES.items()}
    assert species_of(load(config(root, ""))) == expected
    assert species_of(load(config(root, "dataset.json"))) == expected
    assert "labels are those of dataset.json" in capsys.readouterr().err
    (root / "dataset.json").write_text(json.dumps({"labels": None}))
    assert load(config(root, "")).spec.class_names == ()
    assert load(config(root, "", class_depth=1)).spec.class_names == ("a", "b")


def test_a_table_beside_the_pictures_is_named(root, capsys):
    (root / "b" / "c" / "3.png").unlink()
    (root / "metadata.csv").write_text(as_csv(SPECIES.items()))
    assert load(config(root, "")).spec.class_names == ("a", "b")
    assert "--labels=metadata.csv:COLUMN takes classes from it" in capsys.readouterr().err


def test_other_labels_are_other_data(root):
    fingerprints = set()
    for kinds in (["cat"] * 4, ["cat", "dog", "cat", "cat"], ["cat", "cat", "dog", "cat"], ["x", "y", "x", "x"]):
        (root / "t.csv").write_text(as_csv(zip(SPECIES, kinds, strict=True)))
        fingerprints.add(load(config(root, "t.csv:species")).fingerprint)
    assert len(fingerprints) == 4
    before = load(config(root, "t.csv:species")).fingerprint
    (root / "t.csv").rename(root / "other.csv")
    assert load(config(root, "other.csv:species")).fingerprint == before


def test_numbers_are_classes_in_their_order(root):
    (root / "t.csv").write_text(
        "path,age\n" + "\n".join(f"{n},{a}" for n, a in zip(SPECIES, (10, 9, 2, 10), strict=True))
    )
    dataset = load(config(root, "t.csv:age"))
    assert dataset.spec.class_names == ("2", "9", "10")
    assert np.bincount(dataset.labels).tolist() == [1, 1, 2]


FAULTS = {
    "no file": (None, "t.csv:species", r"can't be read \(No such file"),
    "no column": ("path,kind\na/1.png,cat", "t.csv:species", "has no column species; there are path, kind"),
    "nothing named": ("path,species\nx,cat", "t.csv:species", "no column names the pictures"),
    "missing rows": ("path,species\na/1.png,cat", "t.csv:species", r"no value, for 3 of 4 pictures: .*\.png"),
    "two rows": (as_csv([*SPECIES.items(), ("a/1.png", "dog")]), "t.csv:species", "two rows for a/1.png that differ"),
    "ragged": ("path,species\na/1.png,cat,black", "t.csv:species", "row 2 has another number of columns"),
    "no text": (b"\xff\xfe\x00", "t.csv:species", "can't be read"),
    "empty": ("", "t.csv:species", "has no rows"),
    "no table": ("x", "t.txt:species", "is no table that can be read"),
    "no json": ("{", "t.json:species", "can't be read"),
    "no list": ('{"a": {"b": 1}}', "t.json:species", "expected a list of objects"),
}


@pytest.mark.parametrize(("content", "labels", "named"), FAULTS.values(), ids=FAULTS)
def test_tables_that_cannot_be_used_are_refused_in_one_sentence(root, content, labels, named):
    if content is not None:
        (root / labels.partition(":")[0]).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(MirageError, match=named) as caught:
        load(config(root, labels))
    assert "\n" not in str(caught.value)


def test_two_ways_to_name_classes_are_refused():
    with pytest.raises(MirageError, match="both name the classes"):
        Config(dataset="folder:x", labels="t.csv:a", class_depth=1).validate()
    with pytest.raises(MirageError, match=r"--labels=t\.csv:a does not go with --dataset=array:x\.npz"):
        Config(dataset="array:x.npz", labels="t.csv:a").validate()
