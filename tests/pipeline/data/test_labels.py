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


def table(root, *lines):
    (root / "t.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"{root / 't.csv'}:species"


@pytest.fixture
def numbered(tmp_path):
    """Pictures that are called 0.png, 1.png and 2.png, of as many values."""
    for value in range(3):
        Image.new("L", (4, 4), value).save(tmp_path / f"{value}.png")
    return tmp_path


def kinds_of(dataset):
    pairs = zip(dataset.images[:, 0, 0, 0].tolist(), dataset.labels.tolist(), strict=True)
    return {value: dataset.spec.class_names[label] for value, label in pairs}


@pytest.mark.parametrize("index", ["id", "", "fold"])
def test_files_name_pictures_rather_than_numbers(numbered, index):
    labels = table(numbered, f"{index},file,species", "0,2.png,cat", "1,0.png,dog", "2,1.png,owl", "0,9.png,elk")
    assert kinds_of(load(config(numbered, labels))) == {2: "cat", 0: "dog", 1: "owl"}


def test_numbers_name_pictures_where_nothing_else_does_and_only_once(numbered):
    labels = table(numbered, "id,species", "0,cat", "1,dog", "2,owl")
    assert kinds_of(load(config(numbered, labels))) == {0: "cat", 1: "dog", 2: "owl"}
    labels = table(numbered, "id,place,species", "0,2,cat", "1,0,dog", "2,1,owl")
    with pytest.raises(MirageError, match="pictures could be named by id or place; leave one out"):
        load(config(numbered, labels))


@pytest.mark.parametrize("missing", ["", " ", "nan"])
@pytest.mark.parametrize("others", [("cat", "dog"), ("1", "2.0")])
def test_a_class_that_is_missing_is_refused_by_name(numbered, missing, others):
    if missing == "nan" and others[0] == "cat":
        return  # which may be what somebody calls a class
    labels = table(numbered, "file,species", f"0.png,{others[0]}", f"1.png,{missing}", f"2.png,{others[1]}")
    with pytest.raises(MirageError, match=r"species has no value, .* such as 1.png"):
        load(config(numbered, labels))


def test_paths_from_above_the_folder_and_other_accents(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    names = ["cafe\u0301.png", "b.png"]  # as macOS writes them
    for value, name in enumerate(names):
        Image.new("L", (4, 4), value).save(folder / name)
    labels = table(tmp_path, "file,species", "/home/me/photos/caf\u00e9.png,cat", "photos/b.png,dog")
    assert kinds_of(load(config(folder, labels))) == {0: "cat", 1: "dog"}


def test_lines_and_decimals_as_people_write_them(numbered):
    rows = [{"file": f"{i}.png", "species": kind, "text": "a\u2028b"} for i, kind in enumerate(("cat", "dog", "owl"))]
    (numbered / "t.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    assert kinds_of(load(config(numbered, "t.jsonl:species"))) == {0: "cat", 1: "dog", 2: "owl"}
    labels = table(numbered, "file;species", "0.png;1,5", "1.png;2", "2.png;2,25")
    (age,) = load(config(numbered, labels)).spec.attributes
    assert (age.kind, age.low, age.high) == ("number", 1.5, 2.25)


def test_the_column_is_asked_for_where_it_is_not_clear(numbered):
    table(numbered, ",file,species", "0,2.png,cat", "1,0.png,dog", "2,1.png,owl")
    assert kinds_of(load(config(numbered, "t.csv"))) == {2: "cat", 0: "dog", 1: "owl"}
    table(numbered, "file,species,age", "2.png,cat,1", "0.png,dog,2", "1.png,owl,3")
    with pytest.raises(MirageError, match=r"doesn't say which column; .* there are file, species, age"):
        load(config(numbered, "t.csv"))


@pytest.mark.parametrize("content", ['{"labels": ["cat", "dog"]}', '{"labels": {"0": "cat"}}', "{"])
def test_another_dataset_json_is_not_stylegans(image_folder, content):
    root = image_folder()
    (root / "dataset.json").write_text(content)
    assert load(config(root, "")).spec.class_names == ("cat", "dog")


def test_what_cannot_be_read_beside_pictures_is_left_aside(tmp_path, capsys):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for value in range(3):
            content = io.BytesIO()
            Image.new("L", (4, 4), value).save(content, "PNG")
            archive.writestr(f"{value}.png", content.getvalue())
        archive.writestr("dataset.json", "{}")
    content = bytearray(path.read_bytes())
    place = content.rindex(b"PK\x01\x02")
    content[place + 8] |= 1  # encrypted
    path.write_bytes(content)
    assert load(config(path, "")).spec.num_examples == 3
    assert "dataset.json can't be read (encrypted) and is left aside" in capsys.readouterr().err
