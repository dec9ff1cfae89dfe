# SPDX-License-Identifier: Apache-2.0
"""Lists of patterns that change: what becomes of rules in both engines, and what stays the same."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from penstock.admission import AddressTest, NetworkSet
from penstock.config.haproxy import loads
from penstock.control.listed import References
from penstock.model import Configuration, EngineKind
from penstock.rules.references import VersionError

TEXT = """
defaults
    mode tcp
    timeout connect 1s
    timeout client 1s
    timeout server 1s
frontend k
    bind :80
    tcp-request connection reject if {{ src -f {ips} }}
    tcp-request connection reject if {{ dst_port 99 }}
    default_backend b
frontend p
    bind :81
    acl bad src -f {ips} 9.9.9.9
    tcp-request inspect-delay 1s
    tcp-request content reject if bad
    use_backend %[req.ssl_sni,map({names},b)]
    default_backend b
backend b
    server s1 10.0.0.1:80
"""


@pytest.fixture
def files(tmp_path: Path) -> Configuration:
    ips, names = tmp_path / "ips", tmp_path / "names"
    ips.write_text("10.0.0.0/8\n")
    names.write_text("a.com b\n")
    return loads(TEXT.format(ips=ips, names=names), name="f.cfg").configuration


def looked_in(configuration: Configuration) -> list[NetworkSet]:
    """The networks that the kernel engine looks in."""
    (service,) = [one for one in configuration.services if one.engine is EngineKind.KERNEL]
    assert service.admission is not None
    rules = [rule for stage in service.admission.stages for rule in stage]
    return [one.networks for rule in rules for one in rule.tests if isinstance(one, AddressTest)]


def test_nothing_changed_is_the_same_configuration(files: Configuration) -> None:
    assert References(files).applied() is files


def test_lists_are_numbered_in_the_order_of_the_files(files: Configuration) -> None:
    told = [(one.number, one.description.rpartition("/")[2]) for one in References(files)]
    assert told == [
        (0, "ips' used by acl at file 'f.cfg' line 9, by acl at file 'f.cfg' line 14"),
        (1, "acl 'src' file 'f.cfg' line 9"),
        (2, "acl 'dst_port' file 'f.cfg' line 10"),
        (3, "acl 'src' file 'f.cfg' line 14"),
        (4, "names' used by map at file 'f.cfg' line 17"),
    ]


def test_a_list_changes_in_both_engines_and_other_rules_stay(files: Configuration) -> None:
    references = References(files)
    one = references.find("#0", maps=False)
    assert one is not None
    one.entries.append(references.places.entry("192.0.2.0/24", None))
    one.changed = True
    made = references.applied()
    wanted = NetworkSet.of([ip_network("10.0.0.0/8"), ip_network("192.0.2.0/24")])
    assert looked_in(files) != [wanted]
    assert looked_in(made) == [wanted]
    before, after = files.services, made.services
    (rule,) = after[1].front.tcp_rules
    assert rule.condition is not None
    (criterion,) = rule.condition.alternatives[0][0].criteria
    assert [str(pattern) for pattern in criterion.patterns] == [
        "10.0.0.0/8",
        "192.0.2.0/24",
        "9.9.9.9/32",
    ]
    assert after[0].front.tcp_rules[1] is before[0].front.tcp_rules[1]
    assert after[1].front.routes is before[1].front.routes
    assert made.pools == files.pools


def test_a_map_changes_where_it_names_backends(files: Configuration) -> None:
    references = References(files)
    one = references.find("#4", maps=True)
    assert one is not None
    assert one.assign("a.com", "c")
    (route,) = references.applied().services[1].front.routes
    (part,) = route.format
    assert not isinstance(part, str)
    assert part.converters[0].entries == (("a.com", "c"),)


def test_what_is_prepared_is_not_in_force_until_it_is_committed(files: Configuration) -> None:
    references = References(files)
    one = references.find("#0", maps=False)
    assert one is not None
    version = one.prepare()
    one.entries.append(references.places.entry("192.0.2.0/24", None, version))
    assert references.applied() is files
    with pytest.raises(VersionError):
        one.commit(version + 1)
    one.commit(version)
    assert looked_in(references.applied()) == [NetworkSet.of([ip_network("192.0.2.0/24")])]


def test_an_empty_list_matches_nobody(files: Configuration) -> None:
    references = References(files)
    one = references.find("#0", maps=False)
    assert one is not None
    one.clear(None)
    assert looked_in(references.applied()) == [NetworkSet.of([])]
