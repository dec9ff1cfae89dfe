# SPDX-License-Identifier: Apache-2.0
"""PROXY protocol headers that HAProxy 2.6.12 sent, and with what it was told to send them."""

from __future__ import annotations

EVERYTHING = (
    "send-proxy-v2 proxy-v2-options"
    " crc32c,unique-id,authority,ssl,cert-cn,ssl-cipher,cert-sig,cert-key"
)

# Options of the server line, then the header. The client, where there is TLS, asked for ALPN mqtt
# and the name localhost; its certificate is for "a client", the listener's key is EC256.
SENT: dict[str, list[tuple[str, str]]] = {
    "plain": [
        ("send-proxy", "PROXY TCP4 127.0.0.1 127.0.0.1 45076 21000\r\n"),
        (
            "send-proxy-v2",
            "0d0a0d0a000d0a515549540a2111000c7f0000017f000001e4345209",
        ),
        (
            "send-proxy-v2-ssl",
            "0d0a0d0a000d0a515549540a211100147f0000017f000001ae06520a2000050000000000",
        ),
        (
            "send-proxy-v2-ssl-cn",
            "0d0a0d0a000d0a515549540a211100147f0000017f000001b488520b2000050000000000",
        ),
        (
            "send-proxy-v2 proxy-v2-options crc32c",
            "0d0a0d0a000d0a515549540a211100137f0000017f000001dc28520c030004f1594413",
        ),
        (
            "send-proxy-v2 proxy-v2-options unique-id",
            "0d0a0d0a000d0a515549540a211100217f0000017f000001e454520d05001269642d3132372e302e"
            "302e312d3231303035",
        ),
        (
            "send-proxy-v2 proxy-v2-options authority",
            "0d0a0d0a000d0a515549540a2111000c7f0000017f000001eb46520e",
        ),
        (
            "send-proxy-v2 proxy-v2-options ssl,cert-cn,ssl-cipher,cert-sig,cert-key",
            "0d0a0d0a000d0a515549540a211100147f0000017f000001b620520f2000050000000000",
        ),
        (
            EVERYTHING,
            "0d0a0d0a000d0a515549540a211100307f0000017f000001ceae521003000412d1cc240500126964"
            "2d3132372e302e302e312d32313030382000050000000000",
        ),
        (
            "send-proxy-v2 proxy-v2-options ssl-cipher",
            "0d0a0d0a000d0a515549540a211100147f0000017f000001ac7a52112000050000000000",
        ),
        (
            "send-proxy-v2 proxy-v2-options cert-cn",
            "0d0a0d0a000d0a515549540a211100147f0000017f0000018c1652122000050000000000",
        ),
    ],
    "tls": [
        ("send-proxy", "PROXY TCP4 127.0.0.1 127.0.0.1 52076 21050\r\n"),
        (
            "send-proxy-v2",
            "0d0a0d0a000d0a515549540a211100137f0000017f000001a918523b0100046d717474",
        ),
        (
            "send-proxy-v2-ssl",
            "0d0a0d0a000d0a515549540a211100257f0000017f000001eace523c0100046d71747420000f0100"
            "000000210007544c5376312e33",
        ),
        (
            "send-proxy-v2-ssl-cn",
            "0d0a0d0a000d0a515549540a211100257f0000017f0000018714523d0100046d71747420000f0100"
            "000000210007544c5376312e33",
        ),
        (
            "send-proxy-v2 proxy-v2-options crc32c",
            "0d0a0d0a000d0a515549540a2111001a7f0000017f000001d378523e030004afd5c9010100046d717474",
        ),
        (
            "send-proxy-v2 proxy-v2-options unique-id",
            "0d0a0d0a000d0a515549540a211100287f0000017f000001c23e523f0100046d7174740500126964"
            "2d3132372e302e302e312d3231303535",
        ),
        (
            "send-proxy-v2 proxy-v2-options authority",
            "0d0a0d0a000d0a515549540a2111001f7f0000017f000001a3ce52400100046d7174740200096c6f"
            "63616c686f7374",
        ),
        (
            "send-proxy-v2 proxy-v2-options ssl,cert-cn,ssl-cipher,cert-sig,cert-key",
            "0d0a0d0a000d0a515549540a2111005a7f0000017f000001b63452410100046d7174742000440100"
            "000000210007544c5376312e33250005454332353624001165636473612d776974682d5348413235"
            "36230016544c535f4145535f3235365f47434d5f534841333834",
        ),
        (
            EVERYTHING,
            "0d0a0d0a000d0a515549540a211100827f0000017f000001d8f652420300043ac75b4d0100046d71"
            "74740200096c6f63616c686f737405001269642d3132372e302e302e312d32313035382000440100"
            "000000210007544c5376312e33250005454332353624001165636473612d776974682d5348413235"
            "36230016544c535f4145535f3235365f47434d5f534841333834",
        ),
        (
            "send-proxy-v2 proxy-v2-options ssl-cipher",
            "0d0a0d0a000d0a515549540a2111003e7f0000017f000001a8c452430100046d7174742000280100"
            "000000210007544c5376312e33230016544c535f4145535f3235365f47434d5f534841333834",
        ),
        (
            "send-proxy-v2 proxy-v2-options cert-cn",
            "0d0a0d0a000d0a515549540a211100257f0000017f000001807652440100046d71747420000f0100"
            "000000210007544c5376312e33",
        ),
    ],
    "tls certificate": [
        ("send-proxy", "PROXY TCP4 127.0.0.1 127.0.0.1 52078 21050\r\n"),
        (
            "send-proxy-v2",
            "0d0a0d0a000d0a515549540a211100137f0000017f000001a91a523b0100046d717474",
        ),
        (
            "send-proxy-v2-ssl",
            "0d0a0d0a000d0a515549540a211100257f0000017f000001ead4523c0100046d71747420000f0700"
            "000000210007544c5376312e33",
        ),
        (
            "send-proxy-v2-ssl-cn",
            "0d0a0d0a000d0a515549540a211100307f0000017f000001871c523d0100046d71747420001a0700"
            "000000210007544c5376312e332200086120636c69656e74",
        ),
        (
            "send-proxy-v2 proxy-v2-options crc32c",
            "0d0a0d0a000d0a515549540a2111001a7f0000017f000001d386523e0300046832886e0100046d717474",
        ),
        (
            "send-proxy-v2 proxy-v2-options unique-id",
            "0d0a0d0a000d0a515549540a211100287f0000017f000001c24a523f0100046d7174740500126964"
            "2d3132372e302e302e312d3231303535",
        ),
        (
            "send-proxy-v2 proxy-v2-options authority",
            "0d0a0d0a000d0a515549540a2111001f7f0000017f000001a3dc52400100046d7174740200096c6f"
            "63616c686f7374",
        ),
        (
            "send-proxy-v2 proxy-v2-options ssl,cert-cn,ssl-cipher,cert-sig,cert-key",
            "0d0a0d0a000d0a515549540a211100657f0000017f000001b63652410100046d71747420004f0700"
            "000000210007544c5376312e332200086120636c69656e7425000545433235362400116563647361"
            "2d776974682d534841323536230016544c535f4145535f3235365f47434d5f534841333834",
        ),
        (
            EVERYTHING,
            "0d0a0d0a000d0a515549540a2111008d7f0000017f000001d8fa52420300049d7db7c60100046d71"
            "74740200096c6f63616c686f737405001269642d3132372e302e302e312d323130353820004f0700"
            "000000210007544c5376312e332200086120636c69656e7425000545433235362400116563647361"
            "2d776974682d534841323536230016544c535f4145535f3235365f47434d5f534841333834",
        ),
        (
            "send-proxy-v2 proxy-v2-options ssl-cipher",
            "0d0a0d0a000d0a515549540a2111003e7f0000017f000001a8c652430100046d7174742000280700"
            "000000210007544c5376312e33230016544c535f4145535f3235365f47434d5f534841333834",
        ),
        (
            "send-proxy-v2 proxy-v2-options cert-cn",
            "0d0a0d0a000d0a515549540a211100307f0000017f000001807c52440100046d71747420001a0700"
            "000000210007544c5376312e332200086120636c69656e74",
        ),
    ],
    "tls1.2 certificate": [
        ("send-proxy", "PROXY TCP4 127.0.0.1 127.0.0.1 52084 21050\r\n"),
        (
            "send-proxy-v2",
            "0d0a0d0a000d0a515549540a211100137f0000017f000001a922523b0100046d717474",
        ),
        (
            "send-proxy-v2-ssl",
            "0d0a0d0a000d0a515549540a211100257f0000017f000001eae0523c0100046d71747420000f0700"
            "000000210007544c5376312e32",
        ),
        (
            "send-proxy-v2-ssl-cn",
            "0d0a0d0a000d0a515549540a211100307f0000017f0000018722523d0100046d71747420001a0700"
            "000000210007544c5376312e322200086120636c69656e74",
        ),
        (
            "send-proxy-v2 proxy-v2-options crc32c",
            "0d0a0d0a000d0a515549540a2111001a7f0000017f000001d390523e03000441945f980100046d717474",
        ),
        (
            "send-proxy-v2 proxy-v2-options unique-id",
            "0d0a0d0a000d0a515549540a211100287f0000017f000001c24e523f0100046d7174740500126964"
            "2d3132372e302e302e312d3231303535",
        ),
        (
            "send-proxy-v2 proxy-v2-options authority",
            "0d0a0d0a000d0a515549540a2111001f7f0000017f000001a3ec52400100046d7174740200096c6f"
            "63616c686f7374",
        ),
        (
            "send-proxy-v2 proxy-v2-options ssl,cert-cn,ssl-cipher,cert-sig,cert-key",
            "0d0a0d0a000d0a515549540a2111006c7f0000017f000001b63e52410100046d7174742000560700"
            "000000210007544c5376312e322200086120636c69656e7425000545433235362400116563647361"
            "2d776974682d53484132353623001d45434448452d45434453412d4145533235362d47434d2d5348"
            "41333834",
        ),
        (
            EVERYTHING,
            "0d0a0d0a000d0a515549540a211100947f0000017f000001d9025242030004dbd1f4830100046d71"
            "74740200096c6f63616c686f737405001269642d3132372e302e302e312d32313035382000560700"
            "000000210007544c5376312e322200086120636c69656e7425000545433235362400116563647361"
            "2d776974682d53484132353623001d45434448452d45434453412d4145533235362d47434d2d5348"
            "41333834",
        ),
        (
            "send-proxy-v2 proxy-v2-options ssl-cipher",
            "0d0a0d0a000d0a515549540a211100457f0000017f000001a8ce52430100046d71747420002f0700"
            "000000210007544c5376312e3223001d45434448452d45434453412d4145533235362d47434d2d53"
            "4841333834",
        ),
        (
            "send-proxy-v2 proxy-v2-options cert-cn",
            "0d0a0d0a000d0a515549540a211100307f0000017f000001808a52440100046d71747420001a0700"
            "000000210007544c5376312e322200086120636c69656e74",
        ),
    ],
    "source ipv6": [
        ("send-proxy", "PROXY TCP6 2001:db8::7 ::ffff:127.0.0.1 47408 21100\r\n"),
        (
            "send-proxy-v2",
            "0d0a0d0a000d0a515549540a2121002420010db80000000000000000000000070000000000000000"
            "0000ffff7f000001cb9e526d",
        ),
        (
            "send-proxy-v2 proxy-v2-options crc32c",
            "0d0a0d0a000d0a515549540a2121002b20010db80000000000000000000000070000000000000000"
            "0000ffff7f000001ba5852700300041a1da95f",
        ),
    ],
    "other addresses": [
        ("send-proxy", "PROXY TCP4 198.51.100.9 203.0.113.9 47798 443\r\n"),
        (
            "send-proxy-v2",
            "0d0a0d0a000d0a515549540a2111000cc6336409cb007109b59801bb",
        ),
        (
            "send-proxy-v2 proxy-v2-options crc32c",
            "0d0a0d0a000d0a515549540a21110013c6336409cb007109e4dc01bb030004b7a96aa6",
        ),
    ],
    "ipv6": [
        ("send-proxy", "PROXY TCP6 ::1 ::1 35340 21200\r\n"),
        (
            "send-proxy-v2",
            "0d0a0d0a000d0a515549540a21210024000000000000000000000000000000010000000000000000"
            "0000000000000001999252d1",
        ),
        (
            "send-proxy-v2 proxy-v2-options crc32c",
            "0d0a0d0a000d0a515549540a2121002b000000000000000000000000000000010000000000000000"
            "0000000000000001cec452d40300041c65a48b",
        ),
    ],
    "unix": [
        ("send-proxy", "PROXY UNKNOWN\r\n"),
        (
            "send-proxy-v2",
            "0d0a0d0a000d0a515549540a20000000",
        ),
        (
            "send-proxy-v2-ssl",
            "0d0a0d0a000d0a515549540a200000082000050000000000",
        ),
        (
            "send-proxy-v2-ssl-cn",
            "0d0a0d0a000d0a515549540a200000082000050000000000",
        ),
        (
            "send-proxy-v2 proxy-v2-options crc32c",
            "0d0a0d0a000d0a515549540a20000007030004a9b87e8f",
        ),
        (
            "send-proxy-v2 proxy-v2-options unique-id",
            "0d0a0d0a000d0a515549540a2000000705000469642d2d",
        ),
        (
            "send-proxy-v2 proxy-v2-options authority",
            "0d0a0d0a000d0a515549540a20000000",
        ),
        (
            "send-proxy-v2 proxy-v2-options ssl,cert-cn,ssl-cipher,cert-sig,cert-key",
            "0d0a0d0a000d0a515549540a200000082000050000000000",
        ),
        (
            EVERYTHING,
            "0d0a0d0a000d0a515549540a20000016030004aeea274d05000469642d2d2000050000000000",
        ),
        (
            "send-proxy-v2 proxy-v2-options ssl-cipher",
            "0d0a0d0a000d0a515549540a200000082000050000000000",
        ),
        (
            "send-proxy-v2 proxy-v2-options cert-cn",
            "0d0a0d0a000d0a515549540a200000082000050000000000",
        ),
    ],
    "destination ipv6": [
        ("send-proxy", "PROXY TCP6 ::ffff:127.0.0.1 2001:db8::7 45290 21300\r\n"),
        (
            "send-proxy-v2",
            "0d0a0d0a000d0a515549540a2121002400000000000000000000ffff7f00000120010db800000000"
            "000000000000000799e05335",
        ),
        (
            "send-proxy-v2 proxy-v2-options crc32c",
            "0d0a0d0a000d0a515549540a2121002b00000000000000000000ffff7f00000120010db800000000"
            "000000000000000797385338030004bdefb330",
        ),
    ],
}
