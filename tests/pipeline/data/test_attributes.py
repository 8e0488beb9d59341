"""Labels that are several numbers at once, in whatever form people have them."""

import contextlib
import io
import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.data.attributes import as_numbers, attributes_from
from pipeline.data.dataset import load
from pipeline.data.folder import open_folder
from pipeline.data.options import DataOptions
from pipeline.data.stores import STORES, opened
from pipeline.data.trial import read_trial, write_trial
from serving.contract.attributes import Attribute

NAMES = [f"{number}.png" for number in range(6)]
MALE, AGE = [1, 0, 1, 1, 0, 1], [16, 20.5, 80, 31, 44, 17.25]
KINDS = ["cat", "dog", "owl", "cat", "dog", "cat"]
IS_MALE, HAS_AGE = Attribute("male", "binary", 0, 1, 1), Attribute("age", "number", 16, 80, float(np.mean(AGE)))


@pytest.fixture
def root(tmp_path):
    for number, name in enumerate(NAMES):
        path = tmp_path / "set" / name
        path.parent.mkdir(exist_ok=True)
        Image.new("L", (4, 4), 10 * number).save(path)
    return tmp_path / "set"


def config(root, labels, **more):
    return Config(dataset=f"folder:{root}", labels=labels, batch_size=1, **more)


def labels_of(dataset):
    """Labels by the name of the picture, which its value tells."""
    return {
        NAMES[image[0, 0, 0] // 10]: label.tolist() for image, label in zip(dataset.images, dataset.labels, strict=True)
    }


def write(root, columns, name="t.csv"):
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    rows = [{"path": path, **row} for path, row in zip(NAMES, rows, strict=True)]
    if name.endswith("csv"):
        lines = [",".join(("path", *columns)), *(",".join(map(str, row.values())) for row in rows)]
        content = "\n".join(lines).encode()
    elif name.endswith("jsonl"):
        content = "\n".join(map(json.dumps, rows)).encode()
    else:
        import pyarrow
        from pyarrow import parquet

        file = io.BytesIO()
        parquet.write_table(pyarrow.table({"path": NAMES, **columns}), file)
        content = file.getvalue()
    (root / name).write_bytes(content)


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
@pytest.mark.parametrize(
    "yes_and_no", [(1, 0), (1, -1), (1.0, 0.0), (True, False), ("yes", "No"), ("TRUE", "false")], ids=str
)
def test_yes_and_no_and_numbers(root, name, yes_and_no):
    write(root, {"id": range(6), "male": [yes_and_no[0] if each else yes_and_no[1] for each in MALE], "age": AGE}, name)
    dataset = load(config(root, f"{name}:male,age"))
    assert dataset.spec.attributes == (IS_MALE, HAS_AGE)
    assert dataset.spec.class_names == ()
    assert dataset.labels.dtype == np.float32
    assert labels_of(dataset) == {name: [male, age] for name, male, age in zip(NAMES, MALE, AGE, strict=True)}


def test_texts_are_a_yes_or_no_each_and_two_texts_one(root, capsys):
    write(root, {"kind": KINDS, "sex": ["m" if each else "f" for each in MALE]})
    dataset = load(config(root, "t.csv:kind,sex"))
    assert [each.name for each in dataset.spec.attributes] == ["kind=cat", "kind=dog", "kind=owl", "sex=m"]
    assert labels_of(dataset)["1.png"] == [0, 1, 0, 0]
    assert labels_of(dataset)["2.png"] == [0, 0, 1, 1]
    assert "attributes are kind=cat (yes or no), kind=dog (yes or no)" in capsys.readouterr().err


def test_an_only_column_is_classes_unless_its_numbers_are_no_whole_ones(root, capsys):
    write(root, {"age": AGE, "male": MALE, "year": [1900 + each for each in range(6)], "kind": KINDS})
    assert load(config(root, "t.csv:age")).spec.attributes == (HAS_AGE,)
    assert "age is taken as a number from 16 to 80; age=class" in capsys.readouterr().err
    assert load(config(root, "t.csv:age=class")).spec.class_names == ("16", "17.25", "20.5", "31", "44", "80")
    assert load(config(root, "t.csv:male")).spec.class_names == ("0", "1")
    assert load(config(root, "t.csv:kind")).spec.class_names == ("cat", "dog", "owl")
    assert load(config(root, "t.csv:year")).spec.class_names == tuple(map(str, range(1900, 1906)))
    (year,) = load(config(root, "t.csv:year=number")).spec.attributes
    assert (year.kind, year.low, year.high, year.typical) == ("number", 1900, 1905, 1902.5)
    both = load(config(root, "t.csv:male=number,year=class")).spec.attributes
    assert [each.kind for each in both] == ["number"] + ["binary"] * 6


def test_many_whole_numbers_are_classes_of_which_it_is_said(root, tmp_path, capsys):
    names = [f"{number}.png" for number in range(30)]
    for name in names:
        Image.new("L", (4, 4)).save(root / name)
    (root / "t.csv").write_text("\n".join(["path,age", *(f"{name},{n}" for n, name in enumerate(names))]))
    assert len(load(config(root, "t.csv:age")).spec.class_names) == 30
    assert "30 whole numbers from 0 to 29 are taken as classes; age=number takes them" in capsys.readouterr().err


def test_columns_whose_names_look_like_lists_or_kinds(root):
    write(root, {"a=b": AGE, "age": AGE})
    assert [each.name for each in load(config(root, "t.csv:a=b")).spec.attributes] == ["a=b"]
    assert [each.name for each in load(config(root, "t.csv:a=b,age")).spec.attributes] == ["a=b", "age"]
    (root / "t.tsv").write_text("path\ta,b\n" + "\n".join(f"{n}\t{a}" for n, a in zip(NAMES, AGE, strict=True)))
    assert [each.name for each in load(config(root, "t.tsv:a,b")).spec.attributes] == ["a,b"]


def test_vectors_in_the_file_that_stylegan_writes(root):
    def document(vectors):
        (root / "dataset.json").write_text(
            json.dumps({"labels": [[n, v] for n, v in zip(NAMES, vectors, strict=True)]})
        )
        return load(config(root, ""))

    dataset = document([[male, age] for male, age in zip(MALE, AGE, strict=True)])
    assert [(each.name, each.kind) for each in dataset.spec.attributes] == [
        ("attribute 0", "binary"),
        ("attribute 1", "number"),
    ]
    assert labels_of(dataset)["2.png"] == [1, 80]
    one_hot = document([[int(each == kind) for each in ("cat", "dog", "owl")] for kind in KINDS])
    assert one_hot.spec.class_names == ("0", "1", "2")
    assert labels_of(one_hot)["2.png"] == 2
    with pytest.raises(MirageError, match="lists of 1, 2 labels; expected as many in each"):
        document([[1]] + [[1, 2]] * 5)
    with pytest.raises(MirageError, match="lists of 0, 2 labels"):
        document([3] + [[1, 2]] * 5)


def changed(values, value, place=1):
    return [value if index == place else each for index, each in enumerate(values)]


FAULTS = {
    "constant": ({"male": MALE, "x": [3] * 6}, "male,x", "x is 3 for all pictures, which steers nothing"),
    "constant text": ({"male": MALE, "x": ["a"] * 6}, "male,x", "x=a is 1 for all pictures"),
    "missing": ({"male": changed(MALE, ""), "age": AGE}, "male,age", r"no finite one, for 1 of 6 pictures, such as 1"),
    "nan": ({"male": MALE, "age": changed(AGE, "nan")}, "male,age", r"for 1 of 6 pictures, such as 1\.png \('nan'\)"),
    "infinite": ({"age": changed(AGE, "inf")}, "age", r"for 1 of 6 pictures, such as 1\.png \('inf'\)"),
    "huge": ({"age": changed(AGE, "1e300")}, "age", r"for 1 of 6 pictures, such as 1\.png \('1e300'\)"),
    "unknown": ({"male": MALE}, "male,age", "has no column age; there are path, male"),
    "twice": ({"male": MALE}, "male,male", "names male twice"),
    "kind": ({"male": MALE}, "male=binary", "asks for male=binary; expected the name of a column"),
    "no number": ({"age": changed(AGE, "old")}, "age=number", "age is 'old' once; expected numbers"),
}


@pytest.mark.parametrize(("columns", "asked", "named"), FAULTS.values(), ids=FAULTS)
def test_columns_that_cannot_be_attributes_are_refused_in_one_sentence(root, columns, asked, named):
    write(root, columns)
    with pytest.raises(MirageError, match=named) as caught:
        load(config(root, f"t.csv:{asked}"))
    assert "\n" not in str(caught.value)


def test_a_column_of_names_is_no_attribute():
    with pytest.raises(MirageError, match="name has 40 different texts, such as person 0; expected numbers"):
        attributes_from({"name": [f"person {number}" for number in range(40)]}, "data")


def test_other_labels_or_kinds_are_other_data(root):
    fingerprints = set()
    for ages, asked in ((AGE, "male,age"), (changed(AGE, 21), "male,age"), (AGE, "male=number,age"), (AGE, "age")):
        write(root, {"male": MALE, "age": ages})
        fingerprints.add(load(config(root, f"t.csv:{asked}")).fingerprint)
    assert len(fingerprints) == 4


@pytest.mark.parametrize("form", ["pixels", "pictures"])
def test_prepared_data_have_the_same_attributes(root, tmp_path, form):
    write(root, {"male": MALE, "age": AGE})
    asked = config(root, "t.csv:male,age", data_dir=str(tmp_path / "kept"))
    resident = load(asked)
    for _ in range(2):  # made, and found again
        found = load(Config(**{**asked.to_dict(), "device_data_mb": 0, "prepared_as": form}))
        assert found.streamed
        assert found.spec == resident.spec
        assert found.labels.dtype == np.float32
        assert labels_of(found) == labels_of(resident)
    (folder,) = [each for each in (tmp_path / "kept" / "decoded").iterdir() if each.is_dir()]
    named = load(Config(dataset=f"prepared:{folder}", split="train[:50%]", batch_size=1))
    assert named.spec.attributes == resident.spec.attributes
    assert labels_of(named).items() <= labels_of(resident).items()
    assert len(labels_of(named)) == 3


def test_a_part_of_the_pictures_has_the_attributes_of_all(root):
    write(root, {"male": MALE, "age": AGE})
    part = load(config(root, "t.csv:male,age", split="train[:1]"))
    assert part.spec.attributes == (IS_MALE, HAS_AGE)
    assert part.labels.shape == (1, 2)


def test_a_trial_has_them(root, tmp_path):
    write(root, {"male": MALE, "age": AGE})
    options = DataOptions(dataset=f"folder:{root}", labels="t.csv:male,age")
    write_trial(options, 1, tmp_path, str(tmp_path))
    for megabytes in (0, 2048):
        trial = read_trial(tmp_path, megabytes)
        assert trial.spec.attributes == (IS_MALE, HAS_AGE)
        assert labels_of(trial) == labels_of(load(options))


@given(st.lists(st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(), st.lists(st.none()))))
def test_any_values_are_numbers_or_not(values):
    numbers = as_numbers(values)
    assert numbers is None or numbers.shape == (len(values),)


@given(st.lists(st.floats(width=32), min_size=1), st.booleans())
def test_any_numbers_become_an_attribute_or_are_refused(values, apart):
    try:
        found = attributes_from({"x": values}, "data", apart=apart)
    except MirageError:
        return
    (attribute,) = found.attributes
    assert ((found.values >= attribute.low) & (found.values <= attribute.high)).all()


@pytest.mark.parametrize("form", ["pixels", "pictures"])
def test_preparing_goes_on_where_it_ended(root, tmp_path, form):
    write(root, {"male": MALE, "age": AGE})
    source = open_folder(DataOptions(dataset=f"folder:{root}", labels="t.csv:male,age"))

    def fill(store, count):
        with contextlib.closing(store):
            for item, label in itertools.islice(store.items(source), count):
                store.add(item, label)
            return store.note()

    noted = fill(STORES[form](tmp_path, source.spec, {}), 4)
    store = STORES[form](tmp_path, source.spec, json.loads(json.dumps(noted)))
    assert store.done == 4
    fill(store, 2)
    _, labels = opened(tmp_path, source.spec.image_shape)
    np.testing.assert_array_equal(labels, [label for _, label in source])
    labels[0] += 1
    np.save(tmp_path / "labels.npy", labels)
    with pytest.raises(ValueError, match="other labels than were noted"):
        STORES[form](tmp_path, source.spec, noted)
