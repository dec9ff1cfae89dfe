# SPDX-License-Identifier: Apache-2.0
"""Real traffic in network namespaces: every test gets networks of its own, and none survives it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # ipvs_model, which tests share
sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "mail"))  # mail_server

from prepared import Source

from penstock.lab import network as lab
from penstock.lab.balancer import Balancer
from penstock.lab.director import directed
from penstock.lab.network import Network
from penstock.lab.rig import Rig
from penstock.lab.rules import Director
from penstock.lab.topology import Site, two_armed

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.root)
            item.add_marker(pytest.mark.needs(*lab.PROGRAMS, "ss"))


@pytest.fixture(scope="session")
def source() -> Iterator[Source]:
    """What daemons are forked from."""
    with Source() as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def _forked(request: pytest.FixtureRequest) -> Iterator[None]:
    """Daemons of this directory's tests are forked."""
    if lab.missing() is not None:
        yield
        return
    before = Balancer.starts
    Balancer.starts = request.getfixturevalue("source").start
    yield
    Balancer.starts = staticmethod(before)


@pytest.fixture
def network() -> Iterator[Network]:
    with Network("pst") as made:
        yield made


@pytest.fixture(params=["tc", "xdp"])
def hook(request: pytest.FixtureRequest) -> str:
    """Each test runs on both hooks."""
    if request.param == "xdp":
        _need("ethtool")
    return str(request.param)


@pytest.fixture
def build(network: Network, tmp_path: Path, hook: str) -> Callable[[Callable[..., Site]], Rig]:
    """Makes a rig of a topology for the hook under test."""

    def make(topology: Callable[..., Site] = two_armed) -> Rig:
        return Rig(topology(network), tmp_path, hook)

    return make


@pytest.fixture
def rig(network: Network, tmp_path: Path) -> Rig:
    """Two-armed on TC, with servers at port 80: for tests that no hook matters to."""
    made = Rig(two_armed(network), tmp_path)
    made.serve(80)
    return made


@pytest.fixture(scope="module", params=["tc", "xdp"])
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rig]:
    """One two-armed rig for a whole module; the module starts penstock on what it needs."""
    if request.param == "xdp":
        _need("ethtool")
    with Network("pst") as made:
        rig = Rig(two_armed(made), tmp_path_factory.mktemp("shared"), str(request.param))
        rig.serve(80)
        yield rig


@pytest.fixture(scope="module")
def directed_network(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Director]:
    """One director's network for a whole module, with a penstock for IPVS rules in it.

    On TC, where a module does not parametrize it with its hooks.
    """
    hook = getattr(request, "param", "tc")
    if hook == "xdp":
        _need("ethtool")
    with Network("psv") as made:
        director = Director(directed(made), tmp_path_factory.mktemp("director"), hook)
        director.start()
        yield director


@pytest.fixture
def director(directed_network: Director) -> Iterator[Director]:
    """The module's director without rules, connections held or settings of other tests."""
    yield directed_network
    directed_network.reset()


def _need(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"needs the program {program}")
