# SPDX-License-Identifier: Apache-2.0
"""``penstock check`` reads certificates, as HAProxy does."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.cli import main

CERTIFICATES = Path(__file__).parents[1] / "engine" / "certificates"


def test_every_line_whose_files_cannot_be_used_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tls.cfg"
    path.write_text(
        "listen l\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n"
        f" bind 127.0.0.1:443 ssl crt {CERTIFICATES}/ca.pem\n"
        f" server s 127.0.0.1:444 ssl ca-file {CERTIFICATES}/make.sh\n"
    )
    with pytest.raises(SystemExit) as end:
        main(["check", str(path)])
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert f"[{path}:5] : No Private Key found in '{CERTIFICATES}/ca.pem.key'." in said
    assert f"[{path}:6] : 'ca-file' : unable to load {CERTIFICATES}/make.sh." in said
