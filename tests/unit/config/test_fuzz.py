# SPDX-License-Identifier: Apache-2.0
"""Whatever the text: a Configuration or a ConfigError, never another exception."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from haproxy_vocabulary import ANY_PROXY, BIND, GLOBAL, RESOLVERS, SERVER, configurations
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.config.haproxy import LoadResult, keywords, load, loads
from penstock.errors import ConfigError, Diagnostic

FILES = sorted((Path(__file__).parent / "files").rglob("*.cfg"))

_WORDS = sorted(
    {
        word
        for line in itertools.chain(ANY_PROXY, BIND, GLOBAL, RESOLVERS, SERVER)
        for word in line.split()
    }
    | set(keywords.PROXY)
    | set(keywords.GLOBAL)
    | set(keywords.SERVER)
    | set(keywords.BIND)
    | set(keywords.SECTIONS)
    | {f"option {name}" for name in keywords.OPTIONS}
    | {
        "",
        "no",
        "default",
        "from",
        "if",
        "{",
        "}",
        "{ src",
        "²",
        "\udc80",
        "9" * 40,
        "-1",
        "%[src]",
    }
)

VALID = """
global
    maxconn 1000
    log 127.0.0.1:514 local0
defaults base
    mode tcp
    timeout client 30s
    timeout server 30s
    timeout connect 5s
    default-server check inter 2s
frontend web from base
    bind :80,:443
    bind [::1]:8000-8010 interface eth0
    acl inside src 10.0.0.0/8
    use_backend other if inside
    default_backend pool
backend pool from base
    balance random(3)
    hash-type consistent djb2 avalanche
    source 192.0.2.1
    server a 10.0.0.1:80 weight 3 check port 81
    server b [2001:db8::1]:+5 backup port 81
backend other from base
    mode tcp
    option tcp-check
    tcp-check connect port 5
    server-template t 1-3 10.0.0.2:80 id 7
resolvers dns
    nameserver a 127.0.0.1:53
    hold valid 3s
peers p
    peer a 10.0.0.1:1024
"""


def judge(text: str) -> LoadResult | tuple[Diagnostic, ...]:
    try:
        return loads(text, environ={"A": "b c"})
    except ConfigError as error:
        return error.diagnostics


def must_be_judged(text: str) -> None:
    """A configuration or errors at lines that exist, and the same again the next time."""
    verdict = judge(text)
    if isinstance(verdict, LoadResult):
        told = (*verdict.warnings, *verdict.notes)
    else:
        assert verdict
        told = verdict
    lines = text.count("\n") + 1
    assert all(0 <= one.line <= lines and one.message for one in told)
    assert judge(text) == verdict


@given(st.text())
def test_any_text(text: str) -> None:
    must_be_judged(text)


@given(
    st.lists(
        st.lists(st.sampled_from(_WORDS), min_size=1, max_size=8).map(" ".join), max_size=25
    ).map("\n".join)
)
@settings(max_examples=300, deadline=None)
def test_keywords_in_any_order(text: str) -> None:
    must_be_judged(f"listen l\n{text}\n")
    must_be_judged(f"global\n{text}\n")


_HEADS = ["global", "defaults", "defaults d", "frontend f from d", "backend b", "listen l"]
_HEADS += [f"{name} n" for name in sorted(keywords.SECTIONS)]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(_HEADS),
            st.lists(st.lists(st.sampled_from(_WORDS), min_size=1, max_size=6), max_size=4),
        ),
        max_size=6,
    )
)
@settings(max_examples=200, deadline=None)
def test_keywords_in_any_section(sections: list[tuple[str, list[list[str]]]]) -> None:
    text = ""
    for head, lines in sections:
        text += "\n ".join([head, *(" ".join(words) for words in lines)]) + "\n"
    must_be_judged(text)


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=3))
@settings(deadline=None)
def test_any_bytes_in_several_files(contents: list[bytes]) -> None:
    paths = [Path(f"/nowhere/{number}.cfg") for number in range(len(contents))]
    files = dict(zip(paths, contents, strict=True))
    try:
        load(paths, environ={}, resolve=lambda name, family: None, read=files.__getitem__)
    except ConfigError as error:
        assert {one.file for one in error.diagnostics} <= {str(path) for path in paths}


@given(st.sampled_from(FILES), st.data())
@settings(max_examples=200, deadline=None)
def test_lines_of_real_files_lost_doubled_and_moved(path: Path, data: st.DataObject) -> None:
    lines = path.read_text().splitlines()
    text = data.draw(st.lists(st.sampled_from(lines), max_size=2 * len(lines)))
    must_be_judged("\n".join(text) + "\n")


@given(configurations)
@settings(max_examples=200, deadline=None)
def test_composed_files(text: str) -> None:
    must_be_judged(text)


@st.composite
def mutations(draw: st.DrawFn) -> str:
    text = VALID
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        end = min(len(text), at + draw(st.integers(0, 12)))
        new = draw(st.one_of(st.text(max_size=6), st.sampled_from(_WORDS)))
        text = text[:at] + new + text[end:]
    return text


@given(mutations())
@settings(max_examples=400, deadline=None)
def test_mutated_files(text: str) -> None:
    must_be_judged(text)


@pytest.mark.parametrize("line", [*ANY_PROXY, *BIND, *SERVER])
def test_each_line_alone(line: str) -> None:
    must_be_judged(f"listen l\n {line}\n")
    must_be_judged(f"defaults\n {line}\n")


def test_the_file_that_is_mutated_is_valid() -> None:
    assert loads(VALID).configuration.services
