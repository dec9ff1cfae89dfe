# SPDX-License-Identifier: Apache-2.0
"""Log formats are read as HAProxy reads them, and made into lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_logs import DATES, NOW

from penstock.logs.format import VARIABLES, FormatError, Reading, beyond_packets, read_format
from penstock.logs.line import Setting, compile_line, unsupported
from penstock.logs.model import Shape
from penstock.logs.record import Record
from penstock.rules.patterns import Sources
from penstock.rules.vocabulary import Checkpoint

READING = Reading((Checkpoint.LOG,), Sources())
SETTING = Setting(DATES, "vm", 4711)


def record(**more: object) -> Record:
    made = Record("fe", "be", NOW, client="192.0.2.1", client_port=1234, wanted="2001:db8::1")
    made.wanted_port, made.server, made.queued, made.connected, made.closed = 80, "s1", 1, 5, 1000
    for name, value in more.items():
        setattr(made, name, value)
    return made


def line(text: str, **more: object) -> str:
    return compile_line(read_format(text, READING), SETTING)(record(**more))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("%ci:%cp %fi:%fp", "192.0.2.1:1234 2001:db8::1:80"),
        ("%{+X}ci%{+X}cp %{+X}fp", "C000020104D2 0050"),
        ("%{+Q}b %{+Q}B %{+Q}cp", '"be" 0 1234'),
        ("%Tw/%Tc/%Td/%Tt %ts %tsc", "1/4/995/1000 -- ----"),
        ("[%t] %Ts %ms", "[28/Nov/2026:17:44:56.568] 1795887896 568"),
        ("%T | %Tl", "28/Nov/2026:17:44:56 +0000 | 28/Nov/2026:17:44:56 +0000"),
        ("%pid %H %{+X}pid", "4711 vm 1267"),
        ("100%% %b%f-%-", "100% befe--"),
        ("  a   b  ", "a b "),
        ("%{+Q}o %b %{-Q}b %f", ' "be" be "fe"'.strip()),
        ("%bi %{-M}bi|%{+Q}bi", '- |""'),
        ("%hr %s  %hrl .", "s1 ."),
        ("%[int(1),add(2)]", "-"),
    ],
)
def test_a_line(text: str, wanted: str) -> None:
    assert line(text) == wanted


def test_captures_stand_in_braces_and_are_escaped() -> None:
    assert line("%hr|%{+Q}hr %hrl", captures=("a", None, 'b"|')) == (
        '{a||b#22#7C}|"{a||b#22#7C}" a - b#22#7C'
    )


def test_structured_data_are_escaped() -> None:
    assert line("%{+E}b", backend='a"]\\') == 'a\\"\\]\\\\'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("%", "truncated line after '%'"),
        ("%{+Q", "truncated line after '+Q'"),
        ("%{+Q}-", "parse argument modifier without variable name near '%{+Q}'"),
        ("%r", "format variable 'r' is reserved for HTTP mode"),
        ("%[src", "missing ']' after 'src'"),
        ("%[src foo]", "expected ']' after 'src', but found ' '"),
        ("%[foo]", "failed to parse sample expression <foo]> : unknown fetch method 'foo'"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(FormatError) as refused:
        read_format(text, READING)
    assert str(refused.value) == message


def test_a_single_percent_sign() -> None:
    with pytest.raises(FormatError, match="unexpected variable name near '5' at position 1"):
        read_format("%5", READING)


@given(st.text(alphabet=st.characters(codec="ascii", exclude_characters="% "), max_size=40))
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert line(text) == text


@given(st.text(alphabet="%{}[]+-QXEM,()abcifpst srch0 ", max_size=30))
def test_anything_is_read_or_refused(text: str) -> None:
    try:
        made = read_format(text, READING)
    except FormatError:
        return
    compile_line(made, SETTING)(record())


@given(
    st.lists(st.sampled_from(sorted(VARIABLES)), min_size=1, max_size=6),
    st.sampled_from(["", "{+Q}", "{+X}", "{+E}", "{-M}"]),
)
def test_variables_stand_where_they_are_written(names: list[str], flags: str) -> None:
    together = line("|".join(f"%{flags}{name}" for name in names))
    assert together == "|".join(line(f"%{flags}{name}") for name in names)


def test_what_is_known_only_at_the_end() -> None:
    assert not read_format("%ci %b %s %t", READING).waits_for_end
    assert read_format("%ci %B", READING).waits_for_end


def test_what_packets_do_not_tell_and_what_nobody_does() -> None:
    assert beyond_packets(read_format("%[src] %[be_name,upper]", READING)) is None
    assert beyond_packets(read_format("%ci %[fc_rtt]", READING)) == "fc_rtt"
    assert beyond_packets(read_format("%[src,table_gpc0(t)]", READING)) == "table_gpc0"
    assert list(unsupported(read_format("%[cpu_calls] %[src]", READING))) == ["cpu_calls"]
    assert line("%[cpu_calls]") == "-"


def test_flags_of_a_format() -> None:
    (variable,) = read_format("%{+Q,+X,foo,-Q}b", READING).parts
    assert getattr(variable, "shape", None) == Shape.MANDATORY | Shape.HEXADECIMAL
