# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from penstock.errors import CapabilityError
from penstock.kernel.probe import (
    Capabilities,
    check_kernel,
    check_privilege,
    effective_capabilities,
    kernel_version,
)

STATUS = "Name:\tpython3\nCapPrm:\t0000000000000000\nCapEff:\t000001fffeffffff\nCapBnd:\t0\n"


@pytest.mark.parametrize(
    ("release", "version"),
    [("6.1.0-18-amd64", (6, 1)), ("5.15.0-101-generic", (5, 15)), ("6.18+", (6, 18))],
)
def test_kernel_versions(release: str, version: tuple[int, int]) -> None:
    assert kernel_version(release) == version
    check_kernel(version)


def test_an_old_kernel_gets_one_sentence() -> None:
    with pytest.raises(CapabilityError, match=r"^Linux 5\.14 is too old .* needs 5\.15 or later$"):
        check_kernel((5, 14))
    with pytest.raises(CapabilityError, match="cannot tell"):
        kernel_version("custom")


def test_privileges() -> None:
    check_privilege(effective_capabilities(STATUS))
    check_privilege(1 << 12 | 1 << 38 | 1 << 39)
    check_privilege(1 << 12 | 1 << 21)  # CAP_SYS_ADMIN stands for the newer ones
    with pytest.raises(CapabilityError, match="missing here: CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN"):
        check_privilege(effective_capabilities("Name:\tnobody\nCapEff:\t0000000000000000\n"))
    with pytest.raises(CapabilityError, match=r"missing here: CAP_NET_ADMIN$"):
        check_privilege(1 << 38 | 1 << 39)


def test_an_interpreting_kernel_is_worth_a_warning() -> None:
    assert Capabilities((6, 1), tcx=False, jit=True).warnings == ()
    assert "bpf_jit_enable=1" in Capabilities((6, 1), tcx=False, jit=False).warnings[0]
