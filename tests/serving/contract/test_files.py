"""Names that lead to something else than a file are refused, at once."""

import hashlib
import os
import socket

import pytest

from serving.contract.files import read_file, sha256_of_file


def pipe(path):
    os.mkfifo(path)


def listening(path):
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))


def link_to(target):
    return lambda path: path.symlink_to(target)


@pytest.mark.parametrize("read", [lambda path: read_file(path, 100), sha256_of_file])
@pytest.mark.parametrize(
    ("make", "named"),
    [
        (pipe, "a named pipe"),
        (listening, "a socket"),
        (lambda path: path.mkdir(), "a folder"),
        (link_to("/dev/zero"), "a device"),
        (link_to("nowhere"), "No such file"),
        (link_to("it"), "symbolic links"),
    ],
)
def test_what_is_no_file_is_refused(tmp_path, monkeypatch, make, named, read):
    monkeypatch.chdir(tmp_path)  # a socket's name must be short
    make(tmp_path / "it")
    with pytest.raises(OSError, match=named):
        read(tmp_path / "it")


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 300, "x/" * 5000])
def test_names_that_no_file_can_have(tmp_path, name):
    with pytest.raises(OSError, match="name"):
        read_file(tmp_path / name, 100)


def test_a_file_is_read_up_to_its_limit(tmp_path):
    path = tmp_path / "file"
    data = os.urandom(300_000)
    path.write_bytes(data)
    (tmp_path / "link").symlink_to(path)
    assert read_file(path, 300_000) == read_file(tmp_path / "link", 300_000) == data
    assert sha256_of_file(path, 300_000) == sha256_of_file(path) == hashlib.sha256(data).hexdigest()
    for read in (read_file, sha256_of_file):
        with pytest.raises(OSError, match="300,000 bytes; expected at most 299,999"):
            read(path, 299_999)


def test_a_sparse_file_of_any_size_is_not_read(tmp_path):
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(OSError, match="expected at most"):
        sha256_of_file(tmp_path / "sparse", 2**31)
    with pytest.raises(OSError, match="expected at most"):
        read_file(tmp_path / "sparse", 2**31)


def test_files_without_a_length_are_read_no_further():
    # Which the kernel makes up while they are read; some of them wait for their reader.
    assert read_file("/proc/self/status", 100) == b""
