import pwd

import pytest

from pipeline.base.errors import MirageError
from pipeline.base.folders import cache_folder, local_folder
from pipeline.config import Config
from pipeline.data.dataset import load


@pytest.fixture
def homeless(monkeypatch):
    """A user whom the machine doesn't know, as in a container that is started with any number."""

    def unknown(_):
        raise KeyError("uid not found")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(pwd, "getpwnam", unknown)


def test_home_directories_are_put_in(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_folder("--x", "~/a") == tmp_path / "a"
    assert local_folder("--x", "a") == local_folder("--x", "./a")
    assert cache_folder("") == tmp_path / ".cache" / "mirage"
    assert cache_folder("~/b") == tmp_path / "b"


@pytest.mark.usefixtures("homeless")
@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("~/a", "--x=~/a can't be found, because this user has no home directory"),
        ("~", "no home directory"),
        ("~nobody/a", "home directory of a user"),
        ("https://example.org/a", "no folder of this machine"),
        ("S3://a/b", "no folder of this machine"),
        ("a\0b", r"--x=a\\x00b is no folder of this machine"),
    ],
)
def test_what_cannot_be_found_is_one_sentence(value, named):
    with pytest.raises(MirageError, match=named):
        local_folder(f"--x={value}", value)


@pytest.mark.usefixtures("homeless")
@pytest.mark.parametrize("changes", [{"dataset": "mnist5k"}, {"device_data_mb": 0}])
def test_without_a_home_directory_the_flag_is_named(tmp_path, image_folder, monkeypatch, changes):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    config = Config(**{"dataset": f"folder:{image_folder()}", "batch_size": 1, **changes})
    before = sorted(tmp_path.iterdir())
    with pytest.raises(MirageError, match=r"--data_dir= is empty, and its default ~/.* no home directory"):
        load(config)
    assert sorted(tmp_path.iterdir()) == before  # above all, no folder named ~


@pytest.mark.usefixtures("homeless")
def test_what_needs_no_home_directory_works_without(image_folder, tmp_path):
    config = Config(dataset=f"folder:{image_folder()}", batch_size=1, device_data_mb=0, data_dir=str(tmp_path))
    assert load(config).spec.num_examples == 12
