# SPDX-License-Identifier: Apache-2.0
"""Requests and replies survive the wire, and neighbouring versions understand each other."""

from __future__ import annotations

import json
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.api.wire import (
    Connections,
    DirectorInfo,
    Done,
    GetStatus,
    PoolStatus,
    RealStatus,
    ReasonStatus,
    Refused,
    Reload,
    Reply,
    Request,
    Rules,
    RulesDone,
    RuleTable,
    ServiceStatus,
    SetState,
    SetWeight,
    Status,
    TrafficStatus,
)
from penstock.ipvs.model import Flush

# Surrogates are no text; whatever else a name or an error may hold must get through.
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
COUNT = st.integers(0, 2**64 - 1)
SECONDS = st.floats(0, 1e9)
TRAFFIC = st.builds(TrafficStatus, *[COUNT] * 6)
REAL = st.builds(RealStatus, TEXT, TEXT, TEXT, COUNT, COUNT, st.booleans(), TEXT, SECONDS, TRAFFIC)
POOL = st.builds(PoolStatus, TEXT, TEXT, TEXT, st.lists(REAL, max_size=3).map(tuple))
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
SERVICE = st.builds(ServiceStatus, TEXT, TEXT, TEXTS, TEXT, TEXT, TEXT, COUNT, TEXT, TRAFFIC)
STATUS = st.builds(
    Status,
    *(TEXT, COUNT, SECONDS, st.booleans(), COUNT, COUNT, COUNT, COUNT, TEXT),
    st.lists(SERVICE, max_size=2).map(tuple),
    st.lists(POOL, max_size=2).map(tuple),
    st.lists(st.builds(ReasonStatus, TEXT, TEXT, COUNT), max_size=2).map(tuple),
)
REQUESTS = st.one_of(
    st.just(GetStatus()),
    st.just(Reload()),
    st.builds(SetWeight, TEXT, TEXT, st.integers(-(2**63), 2**63 - 1), st.booleans()),
    st.builds(SetState, TEXT, TEXT, TEXT),
)
REPLIES = st.one_of(STATUS, st.builds(Done, TEXT, TEXTS), st.builds(Refused, TEXT))

EXAMPLES = (  # of all that have fields without a default
    SetWeight("p", "s", 1),
    SetState("p", "s", "ready"),
    Rules((Flush(),)),
    Status("1", 2, 3.0, True, 4, 5, 6, 7, "", (), (), ()),
    Done(""),
    Refused(""),
    RulesDone((0,)),
    RuleTable(()),
    Connections(()),
    DirectorInfo(900, 120, 300, (), {"sync_threshold": 3}),
)


@given(REQUESTS)
def test_requests_round_trip_on_one_line(request: Request) -> None:
    line = msgspec.json.encode(request)
    assert b"\n" not in line
    assert msgspec.json.decode(line, type=Request) == request


@given(REPLIES)
def test_replies_round_trip_on_one_line(reply: Reply) -> None:
    line = msgspec.json.encode(reply)
    assert b"\n" not in line
    assert msgspec.json.decode(line, type=Reply) == reply


@pytest.mark.parametrize("kind", get_args(Request) + get_args(Reply))
def test_a_field_of_a_newer_version_is_passed_over(kind: type[msgspec.Struct]) -> None:
    """An older daemon meets a newer command, or the other way round."""
    config = kind.__struct_config__
    example = next((one for one in EXAMPLES if type(one) is kind), None)
    known = msgspec.to_builtins(kind() if example is None else example)
    sent = {**known, config.tag_field: config.tag, "new_in_the_next_version": [1]}
    found = msgspec.json.decode(
        json.dumps(sent), type=Request if kind in get_args(Request) else Reply
    )
    assert type(found) is kind


@pytest.mark.parametrize(
    "line", ["", "{}", "[]", "null", '{"do": "dance"}', '{"do": "weight", "value": "x"}', "\udcff"]
)
def test_what_is_no_request_is_an_error(line: str) -> None:
    with pytest.raises(msgspec.MsgspecError):
        msgspec.json.decode(line.encode(errors="surrogateescape"), type=Request)
