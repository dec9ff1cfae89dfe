# SPDX-License-Identifier: Apache-2.0
"""Small files and what HAProxy 2.6 says of them: lines and wording, without full stops."""

from __future__ import annotations

from dataclasses import dataclass

Said = tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Case:
    """*file* in a message stands for the name of the file; line 0: HAProxy gives none."""

    name: str
    text: str
    errors: Said = ()
    warnings: Said = ()


_TIMES = " timeout client 1s\n timeout server 1s\n timeout connect 1s\n"
_TCP = f"listen l\n mode tcp\n bind :1999\n{_TIMES}"  # the next line is the seventh

CASES = (
    Case(
        "protocols of HTTP are not spoken in mode tcp",
        f"{_TCP} bind :2000 proto h2\n server s 192.0.2.1:1 proto h1\n"
        " server t 192.0.2.1:1 proto none\n",
        errors=(
            (0, "proxy 'l' : MUX protocol 'h2' is not usable for 'bind :2000' at [{file}:7]"),
            (0, "proxy 'l' : MUX protocol 'h1' is not usable for server 's' at [{file}:8]"),
        ),
    ),
    Case(
        "protocols that nobody knows",
        f"{_TCP} bind :2000 proto h9\n server s 192.0.2.1:1 proto h3\n"
        " server t 192.0.2.1:1 proto\n default-server proto h7\n",
        errors=(
            (7, "'bind :2000' in section 'listen' : 'proto' :  unknown MUX protocol 'h9'"),
            (8, "'server l/s' : 'proto' :  unknown MUX protocol 'h3'"),
            (9, "'server l/t' : 'proto' : missing value"),
            (10, "'proto' :  unknown MUX protocol 'h7'"),
        ),
    ),
    Case(
        "a format in a rule of HTTP moves the place of option httplog",
        f"listen l\n mode tcp\n option httplog\n log 192.0.2.9 local0\n bind :1999\n{_TIMES}"
        " http-request set-header X-Port %[dst_port]\n server s 192.0.2.1:1\n",
        warnings=(
            (0, "'http-request' rules ignored for proxy 'l' as they require HTTP mode"),
            (
                9,
                "'option httplog' not usable with proxy 'l' (needs 'mode http')."
                " Falling back to 'option tcplog'",
            ),
        ),
    ),
    Case(
        "a format that asks for a request",
        f"{_TCP} http-request add-header X %[req.hdr(host)]\n server s 192.0.2.1:1\n",
        warnings=(
            (0, "'http-request' rules ignored for proxy 'l' as they require HTTP mode"),
            (7, "HTTP log/header format not usable with proxy 'l' (needs 'mode http')"),
        ),
    ),
    Case(
        "a faulty rule of HTTP ends the reading",
        f"{_TCP} http-request set-header X %[nothing]\n nonsense\n",
        errors=(
            (
                7,
                "error detected in proxy 'l' while parsing 'http-request set-header' rule : failed"
                " to parse sample expression <nothing]> : unknown fetch method 'nothing'",
            ),
        ),
    ),
    Case(
        "formats of every rule of HTTP are read",
        f"{_TCP} http-request set-query %[path]\n http-request add-acl(f) %[src]\n"
        " http-request set-var(txn.a,ifexists) src\n http-request unset-var(txn.a)\n"
        " http-response set-header a b if { path / }\n server s 192.0.2.1:1\n",
        warnings=(
            (
                11,
                "anonymous acl will never match because it uses keyword 'path' which is"
                " incompatible with 'backend http-response header rule'",
            ),
            (11, "HTTP log/header format not usable with proxy 'l' (needs 'mode http')"),
            (0, "'http-request' rules ignored for proxy 'l' as they require HTTP mode"),
            (0, "'http-response' rules ignored for proxy 'l' as they require HTTP mode"),
        ),
    ),
    Case(
        "a fault in the format of a rule about a request's first line",
        f"{_TCP} http-request set-path %[nothing]\n",
        errors=(
            (
                7,
                "error detected in proxy 'l' while parsing 'http-request set-path' rule : failed"
                " to parse sample expression <nothing]> : unknown fetch method 'nothing'",
            ),
        ),
    ),
    Case(
        "more than a format for a request's first line",
        f"{_TCP} http-request set-path %[src] more\n",
        errors=(
            (
                7,
                "error detected in proxy 'l' while parsing 'http-request set-path' rule : expects"
                " exactly 1 argument <format>",
            ),
        ),
    ),
    Case(
        "a condition under which no variable is set",
        f"{_TCP} tcp-request content set-var(txn.a,ifset,when) src\n",
        errors=((7, 'unknown condition "when"'),),
    ),
    Case(
        "an action without what it is about",
        f"{_TCP} http-response replace-header X y\n",
        errors=(
            (
                7,
                "error detected in proxy 'l' while parsing 'http-response replace-header' rule :"
                " expects exactly 3 arguments",
            ),
        ),
    ),
    Case(
        "rules of defaults come first wherever they stand",
        "defaults d\n tcp-request session accept if { src 192.0.2.1 }\n"
        " tcp-request content accept if { src 192.0.2.1 }\n"
        "frontend f from d\n mode tcp\n bind :1999\n timeout client 1s\n"
        " tcp-request connection reject if { src 192.0.2.2 }\n"
        " tcp-request session reject if { src 192.0.2.2 }\n",
    ),
    Case(
        "blanks in the arguments of an expression",
        f'{_TCP} tcp-request content set-var-fmt(req.a) "%[str(a b),regsub(a b,c d)]"\n'
        " server s 192.0.2.1:1\n",
    ),
    Case(
        "a converter that may have no argument",
        f'{_TCP} tcp-request content set-var(req.a) "str(x),json"\n server s 192.0.2.1:1\n',
    ),
    Case(
        "no fetch at all",
        f'{_TCP} tcp-request content set-var(req.a) "(x)"\n',
        errors=((7, "missing fetch method"),),
    ),
    Case(
        "names with nothing between their dots",
        "backend b\n server v a..b:80\n server w _a..b:80\n server x . nonsense\n server y .a:80\n",
        errors=(
            (2, "'server b/v' : Can't create DNS resolution for server 'v'"),
            (3, "'server b/w' : backend 'b', server 'w': failed to parse FQDN '_a..b'"),
            (4, "'server b/x' : Can't create DNS resolution for server 'x'"),
            (5, "'server b/y' : Can't create DNS resolution for server 'y'"),
        ),
    ),
    Case(
        "files of states that are not there",
        "global\n server-state-file /nowhere/global\ndefaults\n load-server-state-from-file local\n"
        f"{_TCP} server s 192.0.2.1:1\n server-state-file-name /nowhere/l\n",
        warnings=(
            (
                0,
                "config: Can't open global server state file '/nowhere/global': No such file or"
                " directory",
            ),
            (
                0,
                "Proxy 'l': Can't open server state file '/nowhere/l': No such file or directory",
            ),
        ),
    ),
    Case(
        "experiments may be permitted",
        f"global\n expose-experimental-directives\n{_TCP} server s 192.0.2.1:1\n",
    ),
    Case(
        "fifty faults of a file are enough",
        "global\n" + " nonsense\n" * 60 + "listen l\n bind :1999 nonsense\n",
        errors=(
            *((line, "unknown keyword 'nonsense' in 'global' section") for line in range(2, 52)),
            (52, "too many fatal errors (50), stopping now"),
        ),
    ),
    Case(
        "a block without its end ends the reading",
        ".if 1\nlisten l\n nonsense\n",
        errors=(
            (3, "unknown keyword 'nonsense' in 'listen' section"),
            (3, "non-terminated '.if' block"),
        ),
    ),
    Case(
        "accounts that are not there",
        f"global\n user nobody-is-called-so\n group nobody-is-called-so\n uid x\n{_TCP}",
        errors=(
            (2, "cannot find user id for 'nobody-is-called-so' (0:Success)"),
            (3, "cannot find group id for 'nobody-is-called-so' (0:Success)"),
        ),
        warnings=((4, "uid: string 'x' is not a number"),),
    ),
    Case(
        "variables of the process",
        "global\n set-var proc.a str(x),upper\n set-var proc.b\n set-var sess.c str(y)\n"
        ' set-var proc.d src\n set-var-fmt proc.e "%[nope]"\n set-var x str(y)\n',
        errors=(
            (
                3,
                "'set-var' requires a process-wide variable name ('proc.<name>') and a sample"
                " expression",
            ),
            (
                4,
                "'set-var': cannot set variable 'sess.c', only scope 'proc' is permitted in the"
                " global section",
            ),
            (
                5,
                "fetch method 'set-var(proc.d)' extracts information from 'client address', none"
                " of which is available here",
            ),
            (6, "failed to parse sample expression <nope]> : unknown fetch method 'nope'"),
            (
                7,
                "invalid variable name 'x'. A variable name must be start by its scope. The scope"
                " can be 'proc', 'sess', 'txn', 'req', 'res' or 'check'",
            ),
        ),
    ),
    Case(
        "misspelt words",
        "global\n demon\nlisten l\n conect 3s\n server s 192.0.2.1:1 resolve-perfer ipv6 ipv9\n"
        " server t 192.0.2.1:1 ipv9\n",
        errors=(
            (2, "unknown keyword 'demon' in 'global' section; did you mean 'daemon' maybe ?"),
            (4, "unknown keyword 'conect' in 'listen' section"),
            (
                5,
                "'server l/s' : unknown keyword 'resolve-perfer'; did you mean 'resolve-prefer'"
                " maybe ?",
            ),
            (6, "'server l/t' : unknown keyword 'ipv9'; did you mean 'ipv4' maybe ?"),
        ),
    ),
    Case(
        "a bracket ends the name of an option",
        f"{_TCP} bind :2000 name( x\n server s 192.0.2.1:1 weight( 10\n",
    ),
    Case(
        "the prefix default repeats the last word",
        f"{_TCP} default server s 192.0.2.1:1\n default bind :2000,\n",
        errors=(
            (
                7,
                "negation/default currently supported only for options, log, busy-polling,"
                " set-dumpable, strict-limits, insecure-fork-wanted and numa-cpu-mapping",
            ),
            (7, "'server l/s' : unknown keyword '192.0.2.1:1'"),
            (
                8,
                "negation/default currently supported only for options, log, busy-polling,"
                " set-dumpable, strict-limits, insecure-fork-wanted and numa-cpu-mapping",
            ),
            (8, "'bind :2000,' in section 'listen': unknown keyword ':2000,'"),
        ),
    ),
    Case(
        "a fault beyond letters of more than a byte",
        'listen l\n acl \u00e4\u00f6 "x\n',
        errors=((2, "unmatched quote at position 11:"),),
    ),
    Case(
        "caches",
        "cache a\n total-max-size 1\n max-age\n max-object-size 600000\ncache a\n process-vary 1\n"
        "cache b\n total-max-size 4096\n nonsense\n",
        errors=(
            (0, '"max-object-size" is limited to an half of "total-max-size" => 524288'),
            (0, "Size not specified for cache 'a'"),
        ),
        warnings=(
            (3, "'max-age' expects an age parameter in seconds"),
            (6, '\'process-vary\' expects "on" or "off" (enable or disable vary processing)'),
            (8, '"total-max-size" (4096) must not be greater than 4095'),
        ),
    ),
    Case(
        "fast open wants what failed tried again",
        f"{_TCP} server s 192.0.2.1:1 tfo\n retry-on none\n",
        warnings=(
            (
                7,
                "'server l/s' : server has tfo activated, the backend should be configured with at"
                " least 'conn-failure', 'empty-response' and 'response-timeout' or we wouldn't be"
                " able to retry the connection on failure",
            ),
        ),
    ),
    Case(
        "fast open with what it wants",
        "defaults\n retry-on all-retryable-errors\n"
        f"{_TCP} server s 192.0.2.1:1 tfo\n server t 192.0.2.1:1 tfo no-tfo\n",
    ),
    Case(
        "when to try again",
        f"{_TCP} retry-on\n retry-on never\n retry-on none 503\n",
        errors=(
            (7, "'retry-on' needs at least one keyword to specify when to retry"),
            (8, "'retry-on': unknown keyword 'never'"),
            (9, "'retry-on' 'none' keyworld only usable alone"),
        ),
    ),
    Case(
        "options that default-server has not",
        "backend b\n default-server no-tlsv12\n server s 192.0.2.1:1 no-tlsv12\n"
        " default-server id 3\n server t 192.0.2.1:1 namespace\n"
        " server u 192.0.2.1:1 namespace nowhere-to-be-found\n",
        errors=(
            (2, "'no-tlsv12' option is not accepted in default-server sections"),
            (4, "'id' option is not accepted in default-server sections"),
            (5, "'server b/t' : 'namespace' : expects <name> as argument"),
            (6, "'server b/u' : Cannot open namespace 'nowhere-to-be-found'"),
        ),
    ),
    Case(
        "two errors of one line",
        "backend b\n server s 192.0.2.1:1 source 192.0.2.2 usesrc 192.0.2.3:1-2\n"
        " server t 192.0.2.1:1 ca-file /nowhere/ca.pem\n default-server ca-file /nowhere/ca.pem\n",
        errors=(
            (
                2,
                "'server b/s' : 'usesrc 192.0.2.3:1-2' : port range not permitted here in"
                " '192.0.2.3:1-2'",
            ),
            (0, "error encountered while processing 'usesrc'"),
            (
                3,
                "'server b/t' : Couldn't open the ca-file '/nowhere/ca.pem' (No such file or"
                " directory)",
            ),
            (0, "'ca-file' : unable to load /nowhere/ca.pem"),
            (4, "Couldn't open the ca-file '/nowhere/ca.pem' (No such file or directory)"),
        ),
    ),
    Case(
        "files of answers are looked for in every mode",
        f"{_TCP} errorfile 503 /nowhere/503.http\n errorfile 999 /dev/null\n errorfile 503\n",
        errors=(
            (7, "errorfile : error opening file '/nowhere/503.http'"),
            (8, "errorfile : status code '999' not handled"),
            (9, "errorfile : expects <status_code> and <file> as arguments"),
        ),
    ),
    Case(
        "sections of answers",
        "http-errors here\n errorfile 503 /dev/null\ndefaults\n errorfiles nowhere\n"
        f"{_TCP} errorfiles here 503\n",
        errors=((0, "proxy 'l': unknown http-errors section 'nowhere' (at {file}:4)"),),
    ),
    Case(
        "keepalives in numbers and seconds",
        f"{_TCP} clitcpka-cnt\n clitcpka-cnt x\n srvtcpka-cnt 09\n srvtcpka-idle 1x\n"
        " clitcpka-intvl 99999999999\nbackend b\n clitcpka-cnt 0x10\n",
        errors=(
            (7, "'clitcpka-cnt' expects an integer value"),
            (8, "'clitcpka-cnt' : unexpected character 'x' in integer value 'x'"),
            (9, "'srvtcpka-cnt' : unexpected character '9' in integer value '09'"),
            (10, "unexpected character 'x' in argument to <srvtcpka-idle>"),
            (
                11,
                "timer overflow in argument '99999999999' to 'clitcpka-intvl' (maximum value is"
                " 2147483647 ms or ~24.8 days)",
            ),
        ),
        warnings=(
            (
                13,
                "clitcpka-cnt will be ignored because backend 'b' has no frontend capability",
            ),
        ),
    ),
    Case(
        "what nobody waits for",
        f"{_TCP} stick-table type string size 1k store gpc0\n"
        " tcp-request content capture req.ssl_sni len 9\n"
        " tcp-request content track-sc0 req.ssl_sni\n tcp-request content capture src len 9\n"
        " server s 192.0.2.1:1\n",
        warnings=tuple(
            (
                0,
                f"proxy 'l' : a 'tcp-request {kind}' rule explicitly depending on request contents"
                " without any 'tcp-request inspect-delay' setting. This means that this rule will"
                " randomly find its contents. This can be fixed by setting the tcp-request"
                " inspect-delay",
            )
            for kind in ("capture", "content track-sc*")
        ),
    ),
    Case(
        "words of sections that carry no HTTP",
        f"{_TCP} http-send-name-header\n balance uri depth x\n bind-process all\n"
        " dynamic-cookie-key x\n",
        errors=(
            (7, "'http-send-name-header' requires a header string"),
            (8, "balance uri : 'depth' expects a positive integer (got 'x')"),
        ),
        warnings=(
            (9, "'bind-process' has no effect, is deprecated, and will be removed in version 2.7"),
        ),
    ),
    Case(
        "tables that are only stored in, states of a file that nobody names",
        f"{_TCP} stick store-response src table nowhere\n load-server-state-from-file global\n",
        errors=((0, "Proxy 'l': unable to find store table 'nowhere'"),),
        warnings=(
            (
                0,
                "backend 'l' configured to load server state file from global section"
                " 'server-state-file' directive. Unfortunately, 'server-state-file' is not set!",
            ),
        ),
    ),
    Case(
        "values of what concerns HAProxy's own threads, compression and files",
        "global\n maxcompcpuusage 101\n h1-case-adjust a\n h1-case-adjust a b\n"
        " h1-case-adjust-file\n cpu-map 1\n cpu-map x 1\n cpu-map 70 1\n cpu-map all 0 x\n"
        " default-path\n default-path there\n default-path origin\n maxsslconn\n"
        " maxsslconn 5 6\n max-spread-checks\n max-spread-checks x\n cpu-map odd 0-3\n"
        " default-path config\n hard-stop-after 5 6\n numa-cpu-mapping x\n",
        errors=(
            (2, "'maxcompcpuusage' expects an integer argument between 0 and 100"),
            (3, "'h1-case-adjust' expects <from> and <to> as argument"),
            (4, "<from> and <to> must not differ execpt the case"),
            (5, "'h1-case-adjust-file' expects <file> as argument"),
            (
                6,
                "cpu-map expects a process number  ('all', 'odd', 'even', a number from 1 to 64 or"
                " a range),  followed by a list of CPU ranges with numbers from 0 to 63",
            ),
            (7, "cpu-map : 'x' is not a valid number/range"),
            (
                8,
                "cpu-map : '70' is not a valid number/range. It supports numbers from 1 to 64",
            ),
            (9, "cpu-map : 'x' is not a CPU range"),
            (
                10,
                "missing default-path mode '' for 'default-path', supported modes include"
                " 'current', 'config', 'parent', and 'origin'",
            ),
            (
                11,
                "unsupported default-path mode 'there' for 'default-path', supported modes include"
                " 'current', 'config', 'parent', and 'origin'",
            ),
            (12, "'default-path origin' expects a directory as an argument"),
            (13, "'maxsslconn' expects an integer argument"),
            (14, "'maxsslconn' cannot handle unexpected argument '6'"),
            (15, "'max-spread-checks' expects an integer argument (0..50)"),
            (16, "unsupported character 'x' in 'max-spread-checks' (wants an integer delay)"),
        ),
    ),
    Case(
        "values of what is tuned",
        "global\n no-memory-trimming x\n profiling.tasks maybe\n tune.h2.max-frame-size 5\n"
        " tune.h2.initial-window-size -1\n grace\n close-spread-time x\n thread-groups two\n"
        " thread-group 2 1-4\n thread-groups 1 1\n tune.fail-alloc 101\n"
        " tune.idle-pool.shared maybe\n",
        errors=(
            (2, "'no-memory-trimming' cannot handle unexpected argument 'x'"),
            (3, "'profiling.tasks' expects either 'on', 'auto', or 'off' but got 'maybe'"),
            (
                4,
                "'tune.h2.max-frame-size' expects a numeric value between 16384 and 16777215",
            ),
            (5, "'tune.h2.initial-window-size' expects a positive numeric value"),
            (6, "'grace' expects <time> as argument"),
            (7, "unexpected character 'x' in argument to <close-spread-time>"),
            (8, "'thread-groups' passed a missing or unparsable integer value in 'two'"),
            (9, "'thread-group' thread-group number must be between 1 and 1 (was 2)"),
            (10, "'thread-groups' cannot handle unexpected argument '1'"),
            (11, "'tune.fail-alloc' expects a numeric value between 0 and 100"),
            (12, "'tune.idle-pool.shared' expects either 'on' or 'off' but got 'maybe'"),
        ),
    ),
    Case(
        "weights keep 32 bits",
        "backend b\n server s 192.0.2.1:1 weight 4294967297\n"
        " server t 192.0.2.1:1 weight 4294967295\n",
        errors=((3, "'server b/t' : weight of server t is not within 0 and 256 (-1)"),),
    ),
    Case(
        "what is spoken to servers for websockets",
        "backend b\n server s 192.0.2.1:1 ws\n server t 192.0.2.1:1 ws h2\n default-server ws h3\n",
        errors=(
            (2, "'server b/s' : 'ws' has to be 'auto', 'h1' or 'h2'"),
            (4, "'ws' has to be 'auto', 'h1' or 'h2'"),
        ),
    ),
    Case(
        "rings",
        "ring r\n format fancy\n size x\n maxlen 0\n description\n nonsense\nring\nring r\n",
        errors=(
            (2, "unknown format 'fancy'"),
            (3, "invalid size 'x' for new sink buffer"),
            (4, "invalid size '0' for new sink buffer"),
            (5, "missing ring description text"),
            (6, "unknown statement 'nonsense'"),
            (7, "missing ring name"),
            (8, "sink named 'r' already exists"),
        ),
    ),
)

# Much that is wrong with sections as a whole, and the order in which HAProxy tells of it.
WHOLE = """\
resolvers r
mailers m
 mailer a 192.0.2.1:25
backend first
 mode tcp
 balance url_param x
 cookie c insert
 option httplog
 option forwardfor
 option prefer-last-server
 option checkcache
 http-check expect status 200
 tcp-check connect
 external-check command true
 email-alert from a@b
 use-server nobody if { src 192.0.2.1 }
 stick on src table nowhere
 acl a src_conn_rate(nowhere) gt 1
 redirect prefix / if TRUE
 http-request deny
 stats enable
 server t 192.0.2.1:1 ssl proto h2
 server s 192.0.2.1 cookie x check port 0 resolvers none
listen second
 mode tcp
 option httplog
 default_backend none
 use_backend %[none] if { src 192.0.2.1 }
 unique-id-format %[none]
 error-log-format %[none]
 monitor-uri /
 http-request set-header a %[path]
 server s 192.0.2.1:1 proto h2
listen third
 mode tcp
 bind :1999 ssl
 dispatch 192.0.2.1:1
 balance roundrobin
 log-format x
"""
IN_ORDER = (
    "backend 'first' : 'option httplog' directive is ignored",
    "a 'redirect' rule placed after a 'use-server' rule",
    "a 'http-request' rule placed after a 'redirect' rule",
    "a 'http-request' rule placed after a 'use_backend' rule",
    "cookie will be ignored for backend 'first'",
    "Layer 7 hash not possible for backend 'first'",
    "'option httplog' not usable with backend 'first'",
    "backend 'first' uses http-check rules",
    "'email-alert' will be ignored for backend 'first'",
    "'external-check command' will be ignored for backend 'first'",
    "Proxy 'first': 'external-check command' does not have a leading '/'",
    "backend 'first' : unable to find server 'nobody'",
    "Proxy 'first': unable to find stick-table 'nowhere'",
    "unable to find table 'nowhere' referenced",
    "missing timeouts for backend 'first'",
    "backend 'first' uses tcp-check rules",
    "'server first/t' : verify is enabled by default",
    "'stats' statement ignored for backend 'first'",
    "'http-request' rules ignored for backend 'first'",
    "'redirect' rules ignored for backend 'first'",
    "'option forwardfor' ignored for backend 'first'",
    "'option checkcache' ignored for backend 'first'",
    "'option prefer-last-server' ignored for backend 'first'",
    "backend 'first' : ignoring cookie for server 's'",
    "backend 'first' : MUX protocol 'h2'",
    "monitor-uri will be ignored for proxy 'second'",
    "HTTP log/header format not usable with proxy 'second'",
    "'option httplog' not usable with proxy 'second'",
    "proxy 'second' has no 'bind' directive",
    "Proxy 'second': unable to find required default_backend: 'none'",
    "failed to parse use_backend rule",
    "failed to parse unique-id",
    "failed to parse error-log-format",
    "missing timeouts for proxy 'second'",
    "log format ignored for proxy 'second'",
    "'http-request' rules ignored for proxy 'second'",
    "proxy 'second' : MUX protocol 'h2'",
    "dispatch address of proxy 'third' will be ignored",
    "missing timeouts for proxy 'third'",
    "log format ignored for proxy 'third'",
    "Proxy 'third': no SSL certificate specified",
    "Removing incomplete section 'mailers m'",
    "resolvers 'r'",
    "backend 'first', server 's': unable to find required resolvers 'none'",
    "config: backend 'first': server 's' has neither service port nor check port",
)
