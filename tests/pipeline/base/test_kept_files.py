"""Sealed files."""

import pytest

from pipeline.base.kept_files import DamagedFileError, check_seal, unsealed, write_sealed


@pytest.mark.parametrize("content", [b"", b"a few bytes", bytes(range(256)) * 5000])
def test_a_seal_tells_every_change(tmp_path, content):
    path = tmp_path / "file"
    write_sealed(path, content)
    check_seal(path)
    sealed = path.read_bytes()
    assert unsealed(sealed) == content
    for damaged in (sealed[:-1], sealed[1:], bytes([sealed[0] ^ 1]) + sealed[1:], sealed + b"\n", content, b""):
        path.write_bytes(damaged)
        with pytest.raises(DamagedFileError, match="its checksum"):
            check_seal(path)
        with pytest.raises(DamagedFileError, match="its checksum"):
            unsealed(damaged)
