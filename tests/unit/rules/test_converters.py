# SPDX-License-Identifier: Apache-2.0
"""Converters: what HAProxy 2.6.12 gave for each, written to a page by ``http-request return``."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rule_subject import SOURCES, FakeProcess, subject

from penstock.rules.arguments import RuleError
from penstock.rules.calendar import civil_time
from penstock.rules.evaluate import compile_expression, sample_of
from penstock.rules.expressions import read_expression
from penstock.rules.samples import WAITING, to_text

# An empty text: there is no sample. Files of maps are those of rule_subject.
MEASURED = [
    ("str(abc),crc32", "891568578"),
    ("str(abc),crc32(1)", "930845320"),
    ("str(abc),crc32c", "910901175"),
    ("str(abc),djb2", "193485963"),
    ("str(abc),djb2(1)", "2235766107"),
    ("str(abc),sdbm", "807794786"),
    ("str(abc),sdbm(1)", "659243622"),
    ("str(abc),wt6", "2483038440"),
    ("str(abc),wt6(1)", "266135527"),
    ("str(hello world this is long),wt6", "3224589413"),
    ("str(abc),xxh32", "852579327"),
    ("str(abc),xxh32(7)", "1473238068"),
    ("str(hello world this is a long text),xxh32", "3428773531"),
    ("str(AbC),lower", "abc"),
    ("str(AbC),upper", "ABC"),
    ("str(abc),length", "3"),
    ("str(abc),hex", "616263"),
    ("str(ff),hex2i", "255"),
    ("int(5),add(3)", "8"),
    ("int(5),sub(8)", "-3"),
    ("int(5),mul(-3)", "-15"),
    ("int(-7),div(2)", "-3"),
    ("int(-7),mod(2)", "-1"),
    ("int(7),div(0)", "9223372036854775807"),
    ("int(7),mod(0)", "0"),
    ("int(6),and(3)", "2"),
    ("int(6),or(3)", "7"),
    ("int(6),xor(3)", "5"),
    ("int(6),neg", "-6"),
    ("int(6),cpl", "-7"),
    ("int(6),not", "0"),
    ("int(0),not", "1"),
    ("int(6),bool", "1"),
    ("int(6),odd", "0"),
    ("int(6),even", "1"),
    ("int(9223372036854775807),add(1)", "9223372036854775807"),
    ("int(-9223372036854775807),sub(10)", "-9223372036854775808"),
    ("int(9223372036854775807),mul(2)", "9223372036854775807"),
    ("src,ipmask(8)", "127.0.0.0"),
    ("ipv6(2001:db8::1),ipmask(8,32)", "2001:db8::"),
    ("ipv4(10.1.2.3),ipmask(255.255.0.0)", "10.1.0.0"),
    ("str(hello),bytes(1,3)", "ell"),
    ("str(hello),bytes(1)", "ello"),
    ("str(hello),bytes(9)", ""),
    ("str(hello),bytes(3,9)", "lo"),
    ("str(f1_f2_f3__f5),field(5,_)", "f5"),
    ("str(f1_f2_f3__f5),field(2,_,0)", "f2_f3__f5"),
    ("str(f1_f2_f3__f5),field(2,_,2)", "f2_f3"),
    ("str(f1_f2_f3__f5),field(-2,_,3)", "f2_f3_"),
    ("str(f1_f2_f3__f5),field(-3,_,0)", "f1_f2_f3"),
    ("str(f1_f2_f3__f5),field(9,_)", ""),
    ("str(f1_f2_f3__f5),field(-9,_)", ""),
    ("str(f1_f2_f3__f5),field(4,_)", ""),
    ("str(f1_f2_f3__f5),field(-1,_)", "f5"),
    ("str(f1_f2_f3__f5),field(-1,_,0)", "f1_f2_f3__f5"),
    ("str(f1_f2_f3__f5),field(1,_,9)", "f1_f2_f3__f5"),
    ("str(f1_f2_f3__f5),field(-1,_,9)", "f1_f2_f3__f5"),
    ("str(f1_f2_f3__f5),word(4,_)", "f5"),
    ("str(f1_f2_f3__f5),word(2,_,0)", "f2_f3__f5"),
    ("str(f1_f2_f3__f5),word(3,_,2)", "f3__f5"),
    ("str(f1_f2_f3__f5),word(-2,_,3)", "f1_f2_f3"),
    ("str(f1_f2_f3__f5),word(-3,_,0)", "f1_f2"),
    ("str(f1_f2_f3__f5),word(2,_,-1)", "f2_f3__f5"),
    ("str(f1_f2_f3__f5),field(-3,_,-7)", "f1_f2_f3"),
    ("str(x),digest(shake128),hex", "E472C5E394F30FF8D5D33803F9593E63"),
    ("str(/f1/f2/f3/f4),word(1,/)", "f1"),
    ("str(/f1/f2/f3/f4),word(-1,/)", "f4"),
    ("str(/f1/f2/f3/f4),word(9,/)", ""),
    ("str(/f1/f2/f3/f4),word(-9,/)", ""),
    ("str(/f1/f2/f3/f4),word(1,/,0)", "f1/f2/f3/f4"),
    ("str(/f1/f2/f3/f4),word(-1,/,0)", "/f1/f2/f3/f4"),
    ("str(/f1/f2/f3/f4),word(-2,/,0)", "/f1/f2/f3"),
    ("str(/f1/f2/f3/f4),word(-2,/,2)", "f2/f3"),
    ("str(//a//b//),word(2,/,0)", "b//"),
    ("str(//a//b//),field(3,/,0)", "a//b//"),
    ("str(//a//b//),field(1,/)", ""),
    ("str(//a//b//),field(-1,/)", ""),
    ("str(),field(1,/)", ""),
    ("str(),word(1,/)", ""),
    ("str(abcabc),regsub(b,X)", "aXcabc"),
    ("str(abcabc),regsub(b,X,g)", "aXcaXc"),
    ("str(abcABC),regsub(B,X,gi)", "aXcAXC"),
    ("str(abc),base64", "YWJj"),
    ("str(YWJj),b64dec", "abc"),
    ("str(YWJj=),b64dec", ""),
    ("str(ab?>),ub64enc", "YWI_Pg"),
    ("str(YWI_Pg),ub64dec", "ab?>"),
    ("str(abc),sha1,hex", "A9993E364706816ABA3E25717850C26C9CD0D89D"),
    ("str(abc),sha2,hex", "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"),
    (
        "str(abc),sha2(512),hex",
        "DDAF35A193617ABACC417349AE20413112E6FA4E89A97EA20A9EEEE64B55D39A2192992A274FC1A836BA3C23A3FEEBBD454D4423643CE80E2A9AC94FA54CA49F",
    ),
    ("str(abc),digest(md5),hex", "900150983CD24FB0D6963F7D28E17F72"),
    ("int(1700000000),utime(%Y-%m-%dT%H:%M:%SZ)", "2023-11-14T22:13:20Z"),
    ("int(1700000000),utime(%a %d %b %e %j %U %W %y %I%p)", "Tue 14 Nov 14 318 46 46 23 10PM"),
    ("int(1700000000),ltime(%H:%M)", "22:13"),
    ("int(1700000000),utime(%D %F %T %R %u %w %C)", "11/14/23 2023-11-14 22:13:20 22:13 2 2 20"),
    ("str(abc),concat(x)", "abcx"),
    ("str(abc),concat(x,txn.nope,y)", "abcxy"),
    ("str(www.a.com:80),host_only", "www.a.com"),
    ("str([::1]:80),host_only", "[::1]"),
    ("str([::1]),host_only", "[::1]"),
    ("str(::1),host_only", ":"),
    ("str(www.a.com:80),port_only", "80"),
    ("str([::1]:8080),port_only", "8080"),
    ("str(::1),port_only", "1"),
    ("str(www),port_only", "0"),
    ("str(a%20b%41),url_dec", "a bA"),
    ("str(a b&c/d),url_enc", "a%20b%26c%2Fd"),
    ("str(abc),iif(yes,no)", "no"),
    ("bool(1),iif(yes,no)", "yes"),
    ("bool(false),iif(yes,no)", "no"),
    ("str(xxabcxx),ltrim(x)", "abcxx"),
    ("str(xxabcxx),rtrim(x)", "xxabc"),
    ("bin(01020304050607),be2hex(:,2)", "0102:0304:0506:07"),
    ("bin(01020304050607),be2dec(:,2)", "258:772:1286:7"),
    ("bin(01020304050607),be2hex(:,2,1)", "0102:0304:0506"),
    ("bin(01020304050607),be2dec(:,3,1)", "66051:263430"),
    ("bin(01020304050607),be2hex", "01020304050607"),
    ("bin(01020304050607),hex", "01020304050607"),
    ("bin(01020304),bytes(1,2),hex", "0203"),
    ("str(a),map(numbers)", "1"),
    ("str(abc),map(numbers)", "3"),
    ("str(abcd),map(numbers,zz)", "zz"),
    ("str(abcd),map_beg(numbers)", "3"),
    ("str(xabc),map_end(numbers)", "3"),
    ("str(xabc),map_sub(numbers)", "1"),
    ("str(x/a/b),map_dir(numbers)", "1"),
    ("str(x.ab.c),map_dom(numbers)", "2"),
    ("str(abc),map_str_int(numbers,9)", "3"),
    ("src,map_ip(networks)", "one"),
    ("ipv4(10.1.1.1),map_ip(networks)", "ten"),
    ("ipv4(11.1.1.1),map_ip(networks,none)", "none"),
    ("ipv6(::ffff:10.1.1.1),map_ip(networks,none)", "ten"),
    ("int(5),map_int(ranges)", "five"),
    ("int(15),map_int(ranges)", "teens"),
    ("str(abc),map_regm(expressions)", "xbcy"),
    ("str(abc),map_reg(expressions)", "x\\1y"),
    ("str(15),add(1)", "16"),
    ("str(x15),add(1)", "1"),
    ("src,add(1)", "2130706434"),
    ("int(3232235777),ipmask(24)", "192.168.1.0"),
    ("str(10.1.2.3),ipmask(24)", "10.1.2.0"),
    ("str(abc),strcmp(txn.nope)", ""),
    ("str(abc),json(utf8s)", "abc"),
    ("bool(true)", "1"),
    ("bool(false)", "0"),
    ("int(-5)", "-5"),
    ("str(a),lower,hex,length", "2"),
    ("str(abc),hex,bytes(0,2),hex2i", "97"),
    ("str(-5),bool", "1"),
    ("int(0),bool", "0"),
    ("src,hex", "7F000001"),
    ("int(258),hex", "0000000000000102"),
    ("bool(1),hex", "0000000000000001"),
    ("ipv6(::1),hex", "00000000000000000000000000000001"),
]


@pytest.mark.parametrize(("text", "expected"), MEASURED, ids=lambda value: value)
def test_measured(text: str, expected: str) -> None:
    read = read_expression([text], 0, SOURCES)
    sample = sample_of(compile_expression(read.expression)(subject()))
    assert ("" if sample is None else to_text(sample)) == expected


_FIX = b"8=FIX.4.2\x019=5\x0135=0\x0110="
_CONNECT = bytes.fromhex("100c00044d5154540402003c0000")


@pytest.mark.parametrize(
    ("text", "request_", "expected"),
    [
        ("fix_is_valid", _FIX + b"161\x01", True),
        ("fix_is_valid", _FIX + b"164\x01", False),
        ("fix_is_valid", _FIX, WAITING),
        ("fix_tag_value(MsgType)", _FIX, b"0"),
        ("fix_tag_value(49)", _FIX + b"161\x01", None),
        ("fix_tag_value(49)", _FIX, WAITING),
        ("mqtt_is_valid", _CONNECT, True),
        ("mqtt_is_valid", b"\x11" + _CONNECT[1:], False),
        ("mqtt_is_valid", _CONNECT[:-1], WAITING),
        ("mqtt_field_value(connect,flags)", _CONNECT, b"2"),
        ("mqtt_field_value(connect,username)", _CONNECT, None),
        ("mqtt_field_value(connect,flags)", _CONNECT[:-1], WAITING),
    ],
)
def test_what_is_decided_does_not_wait_for_more(
    text: str, request_: bytes, expected: object
) -> None:
    """All of a buffer may change with what comes; a verdict on its first bytes does not."""
    read = read_expression([f"req.payload(0,0),{text}"], 0, SOURCES)
    found = compile_expression(read.expression)(subject(request=request_))
    assert found == expected
    assert type(found) is type(expected)


def test_variables() -> None:
    one = subject(variables={"txn.a": "x", "txn.n": 4})

    def value(text: str) -> object:
        return sample_of(compile_expression(read_expression([text], 0, SOURCES).expression)(one))

    assert value("str(b),concat(-,txn.a,!)") == "b-x!"
    assert value("int(3),mul(txn.n)") == 12
    assert value("str(x),strcmp(txn.a)") == 0
    assert value("str(w),strcmp(txn.a)") == -1
    assert value("str(new),set-var(txn.a)") == "new"
    assert value("var(txn.a)") == "new"
    assert value("str(l),add_item(;,txn.a)") == "l;new"
    one.set_variable("txn.key", "a2V5")
    signed = (
        "6e9ef29b75fffc5b7abae527d58fdadb2fe42e7219011976917343065f58ed4a"  # openssl dgst -hmac
    )
    for key in ("a2V5", "txn.key"):
        found = value(f"str(message),hmac(sha256,{key})")
        assert isinstance(found, bytes)
        assert found.hex() == signed
    one.set_variable("txn.key", "not Base64")
    assert value("str(message),hmac(sha256,txn.key)") is None
    assert value("str(message),hmac(sha256,txn.nope)") is None
    assert value("str(x),unset-var(txn.a)") == "x"
    assert value("var(txn.a)") is None
    assert value("var(txn.a,other)") == "other"


@given(st.integers(0, 4_000_000_000))
def test_dates_as_datetime_has_them(seconds: int) -> None:
    template = "%Y-%m-%d %H:%M:%S %j %a %b %U %W %w %I %p %y"
    expected = datetime.fromtimestamp(seconds, tz=UTC).strftime(template)
    assert civil_time(seconds, template) == expected


def test_local_time() -> None:
    read = read_expression(["date,ltime(%F %T %z)"], 0, SOURCES)
    one = subject(process=FakeProcess(east=-12600))
    assert compile_expression(read.expression)(one) == "2023-11-14 18:43:20 -0330"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("src,nope", "unknown converter 'nope'"),
        ("src,lower(1)", "invalid arg 1 in converter 'lower' : expected ')' before '1)'"),
        ("bin(00),add(1)", "converter 'add' cannot be applied"),
        ("str(a)b", "missing comma after fetch keyword 'str'"),
        (
            "str(a),map(none)",
            "invalid args in converter 'map' : failed to open pattern file <none>",
        ),
        ("", "missing fetch method"),
        (
            "str(a),hmac(nope,a2V5)",
            "invalid args in converter 'hmac' : algorithm must be a valid OpenSSL message digest"
            " name.",
        ),
        (
            "str(a),hmac(sha256,!!)",
            "invalid args in converter 'hmac' : failed to parse key : argument needs to be base64"
            " encoded, and can either be a string or a variable",
        ),
        (
            "bin(00),fix_tag_value(nope)",
            "invalid args in converter 'fix_tag_value' : Unknown FIX tag name 'nope'",
        ),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(RuleError) as raised:
        read_expression([text], 0, SOURCES)
    assert raised.value.message == message
