# SPDX-License-Identifier: Apache-2.0
"""The fields of ``show stat`` and ``show info``, in HAProxy 2.6's order, with its descriptions.

Each line of the tables is a name (``+`` for a blank), what ``typed`` tells of it (origin, nature
and scope, a letter each; the type of its values) and its description (management guide, 9.1, 9.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_ORIGINS: Final = {"M": "Metric", "S": "Status", "K": "Key", "C": "Config", "P": "Product"}
_NATURES: Final = {
    **{"G": "Gauge", "L": "Limit", "m": "Min", "M": "Max", "R": "Rate", "C": "Counter"},
    **{"D": "Duration", "A": "Age", "T": "Time", "N": "Name", "O": "Output", "a": "Avg"},
}
_SCOPES: Final = {"C": "Cluster", "P": "Process", "S": "Service", "s": "System"}


@dataclass(frozen=True, slots=True)
class Field:
    place: int
    name: str
    tags: str  # three letters
    type: str  # u32, s32, u64, str
    description: str

    def tagged(self, tags: str) -> str:
        """*tags* as in HAProxy's JSON."""
        origin, nature, scope = tuple(tags)
        return (
            f'"tags":{{"origin":"{_ORIGINS[origin]}","nature":"{_NATURES[nature]}",'
            f'"scope":"{_SCOPES[scope]}"}}'
        )


def _read(table: str) -> tuple[Field, ...]:
    lines = table.replace("\n    ", " ").strip().splitlines()
    return tuple(_field(place, line) for place, line in enumerate(lines))


def _field(place: int, line: str) -> Field:
    name, tags, type_, description = line.split(" ", 3)
    return Field(place, name.replace("+", " "), tags, type_, description)


STAT_FIELDS: Final = _read("""
pxname KNS str Proxy name
svname KNS str Server name
qcur MGP u32 Number of current queued connections
qmax MMP u32 Highest value of queued connections encountered since process started
scur MGP u32 Number of current sessions on the frontend, backend or server
smax MMP u32 Highest value of current sessions encountered since process started
slim CLP u32 Frontend/listener/server's maxconn, backend's fullconn
stot MCP u64 Total number of sessions since process started
bin MCP u64 Total number of request bytes since process started
bout MCP u64 Total number of response bytes since process started
dreq MCP u64 Total number of denied requests since process started
dresp MCP u64 Total number of denied responses since process started
ereq MCP u64 Total number of invalid requests since process started
econ MCP u64 Total number of failed connections to server since the worker process started
eresp MCP u64 Total number of invalid responses since the worker process started
wretr MCP u64 Total number of server connection retries since the worker process started
wredis MCP u64 Total number of server redispatches due to connection failures since the worker
    process started
status SGP str Frontend/listen status: OPEN/WAITING/FULL/STOP; backend: UP/DOWN; server: last
    check status
weight MaP u32 Server's effective weight, or sum of active servers' effective weights for a
    backend
act MGP u32 Total number of active UP servers with a non-zero weight
bck MGP u32 Total number of backup UP servers with a non-zero weight
chkfail MCP u64 Total number of failed individual health checks per server/backend, since the
    worker process started
chkdown MCP u64 Total number of failed checks causing UP to DOWN server transitions, per
    server/backend, since the worker process started
lastchg MAP u32 How long ago the last server state changed, in seconds
downtime MCP u32 Total time spent in DOWN state, for server or backend
qlimit CGS u32 Limit on the number of connections in queue, for servers only (maxqueue argument)
pid KGP u32 Relative worker process number (1)
iid KGS u32 Frontend or Backend numeric identifier ('id' setting)
sid KGS u32 Server numeric identifier ('id' setting)
throttle MaP u32 Throttling ratio applied to a server's maxconn and weight during the slowstart
    period (0 to 100%)
lbtot MCP u64 Total number of requests routed by load balancing since the worker process started
    (ignores queue pop and stickiness)
tracked CNS str Name of the other server this server tracks for its state
type CGS u32 Type of the object (Listener, Frontend, Backend, Server)
rate MRP u32 Total number of sessions processed by this object over the last second (sessions for
    listeners/frontends, requests for backends/servers)
rate_lim CLP u32 Limit on the number of sessions accepted in a second (frontend only, 'rate-limit
    sessions' setting)
rate_max MMP u32 Highest value of sessions per second observed since the worker process started
check_status MOP str Status report of the server's latest health check, prefixed with '*' if a
    check is currently in progress
check_code MOP u32 HTTP/SMTP/LDAP status code reported by the latest server health check
check_duration MDP u64 Total duration of the latest server health check, in milliseconds
hrsp_1xx MCP u64 Total number of HTTP responses with status 100-199 returned by this object since
    the worker process started
hrsp_2xx MCP u64 Total number of HTTP responses with status 200-299 returned by this object since
    the worker process started
hrsp_3xx MCP u64 Total number of HTTP responses with status 300-399 returned by this object since
    the worker process started
hrsp_4xx MCP u64 Total number of HTTP responses with status 400-499 returned by this object since
    the worker process started
hrsp_5xx MCP u64 Total number of HTTP responses with status 500-599 returned by this object since
    the worker process started
hrsp_other MCP u64 Total number of HTTP responses with status <100, >599 returned by this object
    since the worker process started (error -1 included)
hanafail MCP u64 Total number of failed checks caused by an 'on-error' directive after an
    'observe' condition matched
req_rate MRP u32 Number of HTTP requests processed over the last second on this object
req_rate_max MMP u32 Highest value of http requests observed since the worker process started
req_tot MCP u64 Total number of HTTP requests processed by this object since the worker process
    started
cli_abrt MCP u64 Total number of requests or connections aborted by the client since the worker
    process started
srv_abrt MCP u64 Total number of requests or connections aborted by the server since the worker
    process started
comp_in MCP u64 Total number of bytes submitted to the HTTP compressor for this object since the
    worker process started
comp_out MCP u64 Total number of bytes emitted by the HTTP compressor for this object since the
    worker process started
comp_byp MCP u64 Total number of bytes that bypassed HTTP compression for this object since the
    worker process started (CPU/memory/bandwidth limitation)
comp_rsp MCP u64 Total number of HTTP responses that were compressed for this object since the
    worker process started
lastsess MAP s32 How long ago some traffic was seen on this object on this worker process, in
    seconds
last_chk MOP str Short description of the latest health check report for this server (see also
    check_desc)
last_agt MOP str Short description of the latest agent check report for this server (see also
    agent_desc)
qtime MaP u32 Time spent in the queue, in milliseconds, averaged over the 1024 last requests
    (backend/server)
ctime MaP u32 Time spent waiting for a connection to complete, in milliseconds, averaged over the
    1024 last requests (backend/server)
rtime MaP u32 Time spent waiting for a server response, in milliseconds, averaged over the 1024
    last requests (backend/server)
ttime MaP u32 Total request+response time (request+queue+connect+response+processing), in
    milliseconds, averaged over the 1024 last requests (backend/server)
agent_status MOP str Status report of the server's latest agent check, prefixed with '*' if a
    check is currently in progress
agent_code MOP u32 Numeric code reported by agent if any (unused for now)
agent_duration MDP u64 Total duration of the latest server agent check, in milliseconds
check_desc MOP str Textual description of the latest health check report for this server
agent_desc MOP str Textual description of the latest agent check report for this server
check_rise CGS u32 Number of successful health checks before declaring a server UP (server 'rise'
    setting)
check_fall CGS u32 Number of failed health checks before declaring a server DOWN (server 'fall'
    setting)
check_health CGS u32 Current server health check level (0..fall-1=DOWN, fall..rise-1=UP)
agent_rise CGS u32 Number of successful agent checks before declaring a server UP (server 'rise'
    setting)
agent_fall CGS u32 Number of failed agent checks before declaring a server DOWN (server 'fall'
    setting)
agent_health CGS u32 Current server agent check level (0..fall-1=DOWN, fall..rise-1=UP)
addr CGS str Server's address:port, shown only if show-legends is set, or at levels oper/admin for
    the CLI
cookie CNS str Backend's cookie name or Server's cookie value, shown only if show-legends is set,
    or at levels oper/admin for the CLI
mode CGS str 'mode' setting (tcp/http/health/cli)
algo CGS str Backend's load balancing algorithm, shown only if show-legends is set, or at levels
    oper/admin for the CLI
conn_rate MRP u32 Number of new connections accepted over the last second on the frontend for this
    worker process
conn_rate_max MMP u32 Highest value of connections per second observed since the worker process
    started
conn_tot MCP u64 Total number of new connections accepted on this frontend since the worker
    process started
intercepted MCP u64 Total number of HTTP requests intercepted on the frontend
    (redirects/stats/services) since the worker process started
dcon MCP u64 Total number of incoming connections blocked on a listener/frontend by a tcp-request
    connection rule since the worker process started
dses MCP u64 Total number of incoming sessions blocked on a listener/frontend by a tcp-request
    connection rule since the worker process started
wrew MCP u64 Total number of failed HTTP header rewrites since the worker process started
connect MCP u64 Total number of outgoing connection attempts on this backend/server since the
    worker process started
reuse MCP u64 Total number of reused connection on this backend/server since the worker process
    started
cache_lookups MCP u64 Total number of HTTP requests looked up in the cache on this
    frontend/backend since the worker process started
cache_hits MCP u64 Total number of HTTP requests not found in the cache on this frontend/backend
    since the worker process started
srv_icur MGP u32 Current number of idle connections available for reuse on this server
src_ilim CLP u32 Limit on the number of available idle connections on this server (server
    'pool_max_conn' directive)
qtime_max MMP u32 Maximum observed time spent in the queue, in milliseconds (backend/server)
ctime_max MMP u32 Maximum observed time spent waiting for a connection to complete, in
    milliseconds (backend/server)
rtime_max MMP u32 Maximum observed time spent waiting for a server response, in milliseconds
    (backend/server)
ttime_max MMP u32 Maximum observed total request+response time
    (request+queue+connect+response+processing), in milliseconds (backend/server)
eint MCP u64 Total number of internal errors since process started
idle_conn_cur MGP u32 Current number of unsafe idle connections
safe_conn_cur MGP u32 Current number of safe idle connections
used_conn_cur MGP u32 Current number of connections in use
need_conn_est MGP u32 Estimated needed number of connections
uweight MaP u32 Server's user weight, or sum of active servers' user weights for a backend
agg_server_status MGP u32 Backend's aggregated gauge of servers' status
agg_server_check_status MGP u32 Backend's aggregated gauge of servers' state check status
agg_check_status MGP u32 Backend's aggregated gauge of servers' state check status
ssl_sess MCP u64 Total number of ssl sessions established
ssl_reused_sess MCP u64 Total number of ssl sessions reused
ssl_failed_handshake MCP u64 Total number of failed handshake
h2_headers_rcvd MCP u64 Total number of received HEADERS frames
h2_data_rcvd MCP u64 Total number of received DATA frames
h2_settings_rcvd MCP u64 Total number of received SETTINGS frames
h2_rst_stream_rcvd MCP u64 Total number of received RST_STREAM frames
h2_goaway_rcvd MCP u64 Total number of received GOAWAY frames
h2_detected_conn_protocol_errors MCP u64 Total number of connection protocol errors
h2_detected_strm_protocol_errors MCP u64 Total number of stream protocol errors
h2_rst_stream_resp MCP u64 Total number of RST_STREAM sent on detected error
h2_goaway_resp MCP u64 Total number of GOAWAY sent on detected error
h2_open_connections MGP u64 Count of currently open connections
h2_backend_open_streams MGP u64 Count of currently open streams
h2_total_connections MCP u64 Total number of connections
h2_backend_total_streams MCP u64 Total number of streams
h1_open_connections MGP u64 Count of currently open connections
h1_open_streams MGP u64 Count of currently open streams
h1_total_connections MCP u64 Total number of connections
h1_total_streams MCP u64 Total number of streams
h1_bytes_in MCP u64 Total number of bytes received
h1_bytes_out MCP u64 Total number of bytes send
h1_spliced_bytes_in MCP u64 Total number of bytes received using kernel splicing
h1_spliced_bytes_out MCP u64 Total number of bytes sendusing kernel splicing
""")

# These come from HAProxy's modules; "-" stands before them in a CSV line.
FIRST_OF_MODULES: Final = next(one.place for one in STAT_FIELDS if one.name == "ssl_sess")

INFO_FIELDS: Final = _read("""
Name POS str Product name
Version POS str Product version
Release_date POS str Date of latest source code update
Nbthread CGS u32 Number of started threads (global.nbthread)
Nbproc CGS u32 Number of started worker processes (historical, always 1)
Process_num KGP u32 Relative worker process number (1)
Pid SGP u32 This worker process identifier for the system
Uptime MDP str How long ago this worker process was started (days+hours+minutes+seconds)
Uptime_sec MDP u32 How long ago this worker process was started (seconds)
Memmax_MB CLP u32 Worker process's hard limit on memory usage in MB (-m on command line)
PoolAlloc_MB MGP u32 Amount of memory allocated in pools (in MB)
PoolUsed_MB MGP u32 Amount of pool memory currently used (in MB)
PoolFailed MCP u32 Number of failed pool allocations since this worker was started
Ulimit-n CLP u32 Hard limit on the number of per-process file descriptors
Maxsock CLP u32 Hard limit on the number of per-process sockets
Maxconn CLP u32 Hard limit on the number of per-process connections (configured or imposed by
    Ulimit-n)
Hard_maxconn CLP u32 Hard limit on the number of per-process connections (imposed by Memmax_MB or
    Ulimit-n)
CurrConns MGP u32 Current number of connections on this worker process
CumConns MCP u32 Total number of connections on this worker process since started
CumReq MCP u32 Total number of requests on this worker process since started
MaxSslConns MMP u32 Hard limit on the number of per-process SSL endpoints (front+back),
    0=unlimited
CurrSslConns MGP u32 Current number of SSL endpoints on this worker process (front+back)
CumSslConns MCP u32 Total number of SSL endpoints on this worker process since started
    (front+back)
Maxpipes CLP u32 Hard limit on the number of pipes for splicing, 0=unlimited
PipesUsed MGP u32 Current number of pipes in use in this worker process
PipesFree MGP u32 Current number of allocated and available pipes in this worker process
ConnRate MRP u32 Number of front connections created on this worker process over the last second
ConnRateLimit CLP u32 Hard limit for ConnRate (global.maxconnrate)
MaxConnRate MMP u32 Highest ConnRate reached on this worker process since started (in connections
    per second)
SessRate MRP u32 Number of sessions created on this worker process over the last second
SessRateLimit CLP u32 Hard limit for SessRate (global.maxsessrate)
MaxSessRate MRP u32 Highest SessRate reached on this worker process since started (in sessions per
    second)
SslRate MRP u32 Number of SSL connections created on this worker process over the last second
SslRateLimit CLP u32 Hard limit for SslRate (global.maxsslrate)
MaxSslRate MMP u32 Highest SslRate reached on this worker process since started (in connections
    per second)
SslFrontendKeyRate MGP u32 Number of SSL keys created on frontends in this worker process over the
    last second
SslFrontendMaxKeyRate MMP u32 Highest SslFrontendKeyRate reached on this worker process since
    started (in SSL keys per second)
SslFrontendSessionReuse_pct MGP u32 Percent of frontend SSL connections which did not require a
    new key
SslBackendKeyRate MRP u32 Number of SSL keys created on backends in this worker process over the
    last second
SslBackendMaxKeyRate MMP u32 Highest SslBackendKeyRate reached on this worker process since
    started (in SSL keys per second)
SslCacheLookups MCP u32 Total number of SSL session ID lookups in the SSL session cache on this
    worker since started
SslCacheMisses MCP u32 Total number of SSL session ID lookups that didn't find a session in the
    SSL session cache on this worker since started
CompressBpsIn MRP u32 Number of bytes submitted to the HTTP compressor in this worker process over
    the last second
CompressBpsOut MRP u32 Number of bytes emitted by the HTTP compressor in this worker process over
    the last second
CompressBpsRateLim CLP u32 Limit of CompressBpsOut beyond which HTTP compression is automatically
    disabled
ZlibMemUsage MGP u32 Amount of memory currently used by HTTP compression on the current worker
    process (in bytes)
MaxZlibMemUsage CLP u32 Limit on the amount of memory used by HTTP compression above which it is
    automatically disabled (in bytes, see global.maxzlibmem)
Tasks MGP u32 Total number of tasks in the current worker process (active + sleeping)
Run_queue MGP u32 Total number of active tasks+tasklets in the current worker process
Idle_pct MaP u32 Percentage of last second spent waiting in the current worker thread
node COS str Node name (global.node)
description COS str Node description (global.description)
Stopping MGP u32 1 if the worker process is currently stopping, otherwise zero
Jobs MGP u32 Current number of active jobs on the current worker process (frontend connections,
    master connections, listeners)
Unstoppable+Jobs MGP u32 Current number of unstoppable jobs on the current worker process (master
    connections)
Listeners MGP u32 Current number of active listeners on the current worker process
ActivePeers MGP u32 Current number of verified active peers connections on the current worker
    process
ConnectedPeers MGP u32 Current number of peers having passed the connection step on the current
    worker process
DroppedLogs MGP u32 Total number of dropped logs for current worker process since started
BusyPolling MGP u32 1 if busy-polling is currently in use on the worker process, otherwise zero
    (config.busy-polling)
FailedResolutions MGP u32 Total number of failed DNS resolutions in current worker process since
    started
TotalBytesOut MGP u64 Total number of bytes emitted by current worker process since started
TotalSplicdedBytesOut MGP u64 Total number of bytes emitted by current worker process through a
    kernel pipe since started
BytesOutRate MRP u64 Number of bytes emitted by current worker process over the last second
DebugCommandsIssued MGP u32 Number of debug commands issued on this process (anything > 0 is
    unsafe)
CumRecvLogs MCP u32 Total number of log messages received by log-forwarding listeners on this
    worker process since started
Build+info POS str Build info
Memmax_bytes CLP u32 Worker process's hard limit on memory usage in byes (-m on command line)
PoolAlloc_bytes MGP u64 Amount of memory allocated in pools (in bytes)
PoolUsed_bytes MGP u64 Amount of pool memory currently used (in bytes)
Start_time_sec MDP u32 Start time in seconds
Tainted SGP str Experimental features used
""")
