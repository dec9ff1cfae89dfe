# SPDX-License-Identifier: Apache-2.0
"""Whatever words a file holds: they are read and can be asked, or refused with a sentence."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rule_subject import SOURCES, subject

from penstock.rules.actions import ACTIONS, Line, read_tcp_rule
from penstock.rules.arguments import RuleError
from penstock.rules.conditions import read_condition
from penstock.rules.converters import compile_converter
from penstock.rules.evaluate import compile_condition, compile_expression
from penstock.rules.fetches import UnsupportedError
from penstock.rules.model import Call, Expression, Stage
from penstock.rules.program import compile_rules
from penstock.rules.support import refusals
from penstock.rules.vocabulary import ACL_KEYWORDS, CONVERTERS, FETCHES, Checkpoint
from penstock.terms import Origin

noise = st.text("srx_1059-+.:,()/\\'\"!{}|%[]éA", max_size=8)
arguments = st.lists(
    st.sampled_from(["", "1", "-1", "0", "txn.a", "a", "us", "10.0.0.0", "numbers", "8"]) | noise,
    max_size=3,
).map(lambda given: f"({','.join(given)})" if given else "")
calls = st.tuples(st.sampled_from(sorted(CONVERTERS)), arguments).map("".join)
samples = st.tuples(
    st.sampled_from(sorted({*FETCHES, *ACL_KEYWORDS})), arguments, st.lists(calls, max_size=2)
).map(lambda parts: ",".join([parts[0] + parts[1], *parts[2]]))
flags = st.sampled_from(
    ["-i", "-n", "-M", "-m", "-f", "-u", "--", "str", "int", "ip", "bin", "reg", "len", "found"]
)
patterns = st.sampled_from(["1", "1:5", "ge", "10.0.0.0/8", "::1", "00", "a", "(", "numbers"])
criteria = st.tuples(samples, st.lists(flags | patterns | noise, max_size=4)).map(
    lambda parts: ["{", parts[0], *parts[1], "}"]
)
words = st.lists(criteria | noise.map(lambda word: [word]), max_size=3).map(
    lambda groups: [word for group in groups for word in group]
)


@given(words)
def test_conditions(said: list[str]) -> None:
    try:
        read = read_condition(said, {}, SOURCES, Origin())
        test = compile_condition(read)
    except (RuleError, UnsupportedError) as error:
        assert str(error)
        return
    test(subject(request=b"\x16\x03\x01\x00\x05hello"))
    assert test(subject(final=True)) is not None


names = sorted(
    {
        name.removesuffix("(*)")
        for actions in ACTIONS.values()
        for name in actions.replace("'", "").replace(" ... ", ", ").split(", ")
    }
)


@given(
    st.sampled_from(list(Stage)),
    st.tuples(st.sampled_from(names), arguments).map("".join),
    st.lists(samples | noise, max_size=3),
    words,
)
def test_rules(stage: Stage, action: str, rest: list[str], said: list[str]) -> None:
    line = Line(
        [*stage.split(), action, *rest, *(["if", *said] if said else [])],
        stage,
        "frontend 'f'",
        tuple(Checkpoint),
        {},
        SOURCES,
        Origin(),
    )
    try:
        rule = read_tcp_rule(line)
    except RuleError as error:
        assert error.message
        return
    if not list(refusals([rule])):
        compile_rules([rule], stage).run(subject(final=True))


_ARGUMENTS = {
    **{"integer": "1", "string": "txn.a", "table": "t", "regex": "a", "server": "b/s"},
    **{"IPv4 address": "192.0.2.1", "IPv6 address": "::1", "IPv4 mask": "8"},
}


def _arguments(kinds: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_ARGUMENTS.get(kind, "x") for kind in kinds)


def test_what_is_left_out() -> None:
    """This list is to become shorter."""
    left: set[str] = set()
    for signature in FETCHES.values():
        given = _arguments(signature.arguments[: signature.needed])
        try:
            call = Call(signature.name, ("00",) if signature.name == "bin" else given)
            compile_expression(Expression(call))
        except UnsupportedError:
            left.add(signature.name)
    for signature in CONVERTERS.values():
        given = _arguments(signature.arguments[: signature.needed])
        try:
            compile_converter(Call(signature.name, given), "x")
        except UnsupportedError:
            left.add(signature.name)
    assert sorted(left) == [
        *("aes_gcm_dec", "bc_err", "bc_err_str", "bc_http_major", "capture-req", "capture-res"),
        *("cpu_calls", "cpu_ns_avg", "cpu_ns_tot", "distcc_body", "distcc_param"),
        *("fcgi.docroot", "fcgi.index", "http_auth", "http_auth_group", "http_date"),
        *("internal.htx.data", "internal.htx.free", "internal.htx.free_data"),
        *("internal.htx.has_eom", "internal.htx.nbblks", "internal.htx.size"),
        *("internal.htx.used", "internal.htx_blk.data", "internal.htx_blk.hdrname"),
        *("internal.htx_blk.hdrval", "internal.htx_blk.size", "internal.htx_blk.start_line"),
        *("internal.htx_blk.type", "internal.strm.is_htx", "json_query", "jwt_header_query"),
        *("jwt_payload_query", "jwt_verify", "language", "lat_ns_avg", "lat_ns_tot", "meth"),
        *("prio_class", "prio_offset", "protobuf", "ungrpc", "xxh3", "xxh64"),
    ]
