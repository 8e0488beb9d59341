"""Flags of `python -m serving`."""

import socket

import pytest
from absl import flags

from serving.__main__ import define_flags, main, settings_of
from serving.generator import available_cpus
from serving.server.settings import Settings


def parse(*arguments):
    values = flags.FlagValues()
    define_flags(values)
    values(["serving", *arguments])
    return values


def test_defaults_are_those_of_the_settings():
    settings = settings_of(parse("--bundle=b"))
    assert settings == Settings(bundles=("b",), threads=available_cpus())
    assert settings.host == "127.0.0.1"


def test_every_setting_has_its_flag(tmp_path):
    (tmp_path / "token").write_text(" abc-1\n")
    settings = settings_of(
        parse(
            "--bundle=b",
            "--bundle=two=c",
            "--repository=models",
            "--precision=int8",
            "--host=::1",
            "--port=0",
            "--threads=3",
            "--workers=2",
            "--max_images=5",
            "--max_batch=6",
            "--max_delay_ms=1.5",
            "--max_queue=7",
            "--timeout_s=2",
            "--read_timeout_s=3",
            "--drain_s=4",
            f"--token_file={tmp_path / 'token'}",
            "--noaccess_log",
        )
    )
    default = Settings()
    assert settings.bundles == ("b", "two=c")
    assert settings.token == "abc-1"
    assert all(getattr(settings, name) != getattr(default, name) for name in vars(default))


def test_workers_share_the_cpus():
    assert settings_of(parse("--bundle=b", "--workers=1000")).threads == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: there is nothing to serve; pass --bundle=FOLDER"),
        (["--bundle=b", "--max_queue=10"], "error: --max_queue=10 is less than --max_images=64."),
        (["--bundle=b", "--timeout_s=0"], "must be more than 0"),
        (["--bundle=b", "--token_file=/nowhere/x"], "error: --token_file=/nowhere/x can't be read"),
        (["--bundle=b", "--host=256.0.0.1"], "can't be listened at"),
    ],
)
def test_what_is_refused(capsys, arguments, message):
    assert main(parse(*arguments), ["serving"]) == 1
    assert message in capsys.readouterr().err


def test_words_that_are_no_flags(capsys):
    assert main(parse("--bundle=b"), ["serving", "b"]) == 1
    assert "error: 'b' is not a flag" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "two words", "caf\u00e9", "a\tb"])
def test_what_is_no_token(tmp_path, text, capsys):
    (tmp_path / "token").write_text(text, encoding="utf-8")
    assert main(parse("--bundle=b", f"--token_file={tmp_path / 'token'}"), ["serving"]) == 1
    assert "--token_file=" in capsys.readouterr().err


def test_a_port_that_is_taken(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(parse("--bundle=b", f"--port={port}"), ["serving"]) == 1
    assert f"--port={port} can't be listened at" in capsys.readouterr().err
