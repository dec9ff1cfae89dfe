# SPDX-License-Identifier: Apache-2.0
"""What the verifier has to look at before it takes the datapath.

It gives up after a million instructions, and its later versions do not all look at the same ones:
the ceilings leave a program room for both.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.kernel.objects import ObjectFile
from penstock.kernel.programs import ProgramInfo

pytestmark = pytest.mark.root

LIMIT = 1_000_000  # BPF_COMPLEXITY_LIMIT_INSNS
CEILINGS = {
    "penstock_tc": 150_000,
    "penstock_xdp": 48_000,
    "penstock_reply": 40_000,
    "penstock_sweep": 25_000,
    "penstock_sync": 40_000,
    "penstock_cut": 25_000,
}


@pytest.fixture(scope="module")
def infos(built_object: Path) -> dict[str, ProgramInfo]:
    with ObjectFile(built_object) as found:
        found.load()
        programs = {}
        for name in found.program_names:
            with found.program(name) as program:
                programs[name] = program.info()
    return programs


def test_every_program_has_a_ceiling(infos: dict[str, ProgramInfo]) -> None:
    assert set(infos) == set(CEILINGS)
    assert max(CEILINGS.values()) <= LIMIT / 4


@pytest.mark.parametrize("name", CEILINGS)
def test_verifier_sees_no_more_than_the_ceiling(infos: dict[str, ProgramInfo], name: str) -> None:
    seen = infos[name].verified_instructions
    if not seen:
        pytest.skip("needs Linux 5.16, which counts what the verifier sees")
    assert seen <= CEILINGS[name]
