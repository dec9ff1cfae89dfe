# SPDX-License-Identifier: Apache-2.0
"""The names that HAProxy's Prometheus exporter gives to fields of ``show info`` and ``show stat``.

In its order. Dashboards and alerts are written against the names; what they mean is said here in
penstock's words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Metric:
    """*of* are the kinds of rows that have it: F, L, B, S as frontends, listeners and so on."""

    field: str
    name: str
    counter: bool
    help: str
    of: str = ""


def _metrics(text: str) -> tuple[Metric, ...]:
    """Lines of a field, a metric, g or c for a gauge or counter, who has it, and what it is."""
    made = []
    for line in text.strip().splitlines():
        field, name, kind, of, help_ = line.split(None, 4)
        made.append(Metric(field.replace("_SPACE_", " "), name, kind == "c", help_, of))
    return tuple(made)


PROCESS: Final = _metrics("""
Nbthread nbthread g - Threads, or workers, that carry connections.
Nbproc nbproc g - Always 1.
Process_num relative_process_id g - Always 1.
Uptime_sec uptime_seconds g - Seconds since the start.
PoolFailed pool_failures_total c - Allocations of memory that failed.
Ulimit-n max_fds g - File descriptors the process may have.
Maxsock max_sockets g - Sockets the process may have.
Maxconn max_connections g - Connections allowed at once.
Hard_maxconn hard_max_connections g - Connections that could be allowed at most.
CurrConns current_connections g - Connections now.
CumConns connections_total c - Connections accepted.
CumReq requests_total c - Requests received.
MaxSslConns max_ssl_connections g - TLS connections allowed at once; 0: no limit.
CurrSslConns current_ssl_connections g - TLS connections now.
CumSslConns ssl_connections_total c - TLS connections made.
Maxpipes max_pipes g - Pipes for splicing allowed at once; 0: no limit.
PipesUsed pipes_used_total c - Pipes for splicing in use.
PipesFree pipes_free_total c - Pipes for splicing kept for later.
ConnRate current_connection_rate g - Connections in the last second.
ConnRateLimit limit_connection_rate g - Connections allowed a second; 0: no limit.
MaxConnRate max_connection_rate g - Most connections in a second so far.
SessRate current_session_rate g - Sessions in the last second.
SessRateLimit limit_session_rate g - Sessions allowed a second; 0: no limit.
MaxSessRate max_session_rate g - Most sessions in a second so far.
SslRate current_ssl_rate g - TLS connections in the last second.
SslRateLimit limit_ssl_rate g - TLS connections allowed a second; 0: no limit.
MaxSslRate max_ssl_rate g - Most TLS connections in a second so far.
SslFrontendKeyRate current_frontend_ssl_key_rate g - TLS keys made for clients in the last second.
SslFrontendMaxKeyRate max_frontend_ssl_key_rate g - Most TLS keys made for clients in a second.
SslFrontendSessionReuse_pct frontend_ssl_reuse g - Percentage of TLS sessions that were resumed.
SslBackendKeyRate current_backend_ssl_key_rate g - TLS keys made with servers in the last second.
SslBackendMaxKeyRate max_backend_ssl_key_rate g - Most TLS keys made with servers in a second.
SslCacheLookups ssl_cache_lookups_total c - TLS sessions looked for.
SslCacheMisses ssl_cache_misses_total c - TLS sessions looked for in vain.
CompressBpsIn http_comp_bytes_in_total c - Bytes before HTTP compression.
CompressBpsOut http_comp_bytes_out_total c - Bytes after HTTP compression.
CompressBpsRateLim limit_http_comp g - Bytes a second after which compression stops; 0: no limit.
ZlibMemUsage current_zlib_memory g - Memory of zlib.
MaxZlibMemUsage max_zlib_memory g - Memory that zlib may use.
Tasks current_tasks g - Tasks of the process.
Run_queue current_run_queue g - Tasks that wait for their turn.
Idle_pct idle_time_percent g - Percentage of the last second spent waiting.
Stopping stopping g - 1 while the process is stopping.
Jobs jobs g - What would keep the process from stopping.
Unstoppable_SPACE_Jobs unstoppable_jobs g - Jobs that do not end by themselves.
Listeners listeners g - Sockets that are listened on.
ActivePeers active_peers g - Peers that take part in synchronisation.
ConnectedPeers connected_peers g - Peers that are connected.
DroppedLogs dropped_logs_total c - Log messages that could not be sent.
BusyPolling busy_polling_enabled g - 1 when the process never sleeps.
FailedResolutions failed_resolutions c - Names that could not be resolved.
TotalBytesOut bytes_out_total c - Bytes sent to clients and servers.
TotalSplicdedBytesOut spliced_bytes_out_total c - Bytes that were sent without being copied.
BytesOutRate bytes_out_rate g - Bytes sent a second.
CumRecvLogs recv_logs_total c - Log messages received.
Build_SPACE_info build_info g - 1, with the version.
Memmax_bytes max_memory_bytes g - Memory the process may use; 0: no limit.
PoolAlloc_bytes pool_allocated_bytes g - Memory of pools.
PoolUsed_bytes pool_used_bytes g - Memory of pools in use.
Start_time_sec start_time_seconds g - When the process started, in seconds since 1970.
""")

ROWS: Final = _metrics("""
qcur current_queue g BS Connections that wait in the queue now.
qmax max_queue g BS Most connections that ever waited in the queue.
scur current_sessions g FLBS Sessions now.
smax max_sessions g FLBS Most sessions at once so far.
slim limit_sessions g FLBS Sessions allowed at once.
stot sessions_total c FLBS Sessions so far.
bin bytes_in_total c FLBS Bytes from clients.
bout bytes_out_total c FLBS Bytes to clients.
dreq requests_denied_total c FLB Requests that rules denied.
dresp responses_denied_total c FLBS Responses that rules denied.
ereq request_errors_total c FL Requests that were invalid or incomplete.
econ connection_errors_total c BS Connections to servers that failed.
eresp response_errors_total c BS Responses that were invalid or incomplete.
wretr retry_warnings_total c BS Connections to servers that were tried again.
wredis redispatch_warnings_total c BS Connections that went to another server in the end.
status status g FLBS 1 for the state it is in.
weight weight g BS Weight in use.
act active_servers g B Servers in use that are no backups.
bck backup_servers g B Backup servers in use.
chkfail check_failures_total c S Checks that failed.
chkdown check_up_down_total c BS Changes from up to down.
lastchg check_last_change_seconds g BS Seconds since the state changed.
downtime downtime_seconds_total c BS Seconds spent down.
qlimit queue_limit g S Connections that may wait in the queue.
throttle current_throttle g S Percentage of the weight during a slow start.
lbtot loadbalanced_total c BS Times that load balancing chose it.
rate_lim limit_session_rate g F Sessions allowed a second; 0: no limit.
rate_max max_session_rate g FBS Most sessions in a second so far.
check_status check_status g S 1 for the result of the last check.
check_code check_code g S Code that the last check saw.
check_duration check_duration_seconds g S How long the last check took.
hrsp_1xx http_responses_total c FBS HTTP responses, by their class.
hrsp_2xx http_responses_total c FBS HTTP responses, by their class.
hrsp_3xx http_responses_total c FBS HTTP responses, by their class.
hrsp_4xx http_responses_total c FBS HTTP responses, by their class.
hrsp_5xx http_responses_total c FBS HTTP responses, by their class.
hrsp_other http_responses_total c FBS HTTP responses, by their class.
req_rate_max http_requests_rate_max g F Most HTTP requests in a second so far.
req_tot http_requests_total c FB HTTP requests.
cli_abrt client_aborts_total c BS Sessions that clients broke off.
srv_abrt server_aborts_total c BS Sessions that servers broke off.
comp_in http_comp_bytes_in_total c FB Bytes before HTTP compression.
comp_out http_comp_bytes_out_total c FB Bytes after HTTP compression.
comp_byp http_comp_bytes_bypassed_total c FB Bytes that HTTP compression left alone.
comp_rsp http_comp_responses_total c FB HTTP responses that were compressed.
lastsess last_session_seconds g BS Seconds since the last session.
qtime queue_time_average_seconds g BS Average time in the queue, of the last 1024 sessions.
ctime connect_time_average_seconds g BS Average time to connect, of the last 1024 sessions.
rtime response_time_average_seconds g BS Average time to respond, of the last 1024 sessions.
ttime total_time_average_seconds g BS Average time of a session, of the last 1024.
conn_rate_max connections_rate_max g F Most connections in a second so far.
conn_tot connections_total c F Connections so far.
intercepted intercepted_requests_total c F Requests that were answered here.
dcon denied_connections_total c FL Connections that rules denied.
dses denied_sessions_total c FL Sessions that rules denied.
wrew failed_header_rewriting_total c FLBS HTTP headers that could not be rewritten.
connect connection_attempts_total c BS Connections to servers that were tried.
reuse connection_reuses_total c BS Connections to servers that were used again.
cache_lookups http_cache_lookups_total c FB HTTP responses looked for in the cache.
cache_hits http_cache_hits_total c FB HTTP responses found in the cache.
srv_icur idle_connections_current g S Idle connections now.
src_ilim idle_connections_limit g S Idle connections allowed.
qtime_max max_queue_time_seconds g BS Longest time in the queue so far.
ctime_max max_connect_time_seconds g BS Longest time to connect so far.
rtime_max max_response_time_seconds g BS Longest time to respond so far.
ttime_max max_total_time_seconds g BS Longest session so far.
eint internal_errors_total c FLBS Errors of the load balancer itself.
idle_conn_cur unsafe_idle_connections_current g S Idle connections that cannot be shared.
safe_conn_cur safe_idle_connections_current g S Idle connections that can be shared.
used_conn_cur used_connections_current g S Connections in use.
need_conn_est need_connections_current g S Connections that are likely to be needed.
uweight uweight g BS Weight as it was set.
agg_server_status agg_server_status g B Servers in each state.
agg_server_check_status agg_server_check_status g B Servers in each state; the older name.
agg_check_status agg_check_status g B Servers by the result of their last check.
""")

# In each state a metric has one line, as the exporter has them.
SERVER_STATES: Final = ("DOWN", "UP", "MAINT", "DRAIN", "NOLB")
LISTENER_STATES: Final = ("WAITING", "OPEN", "FULL")
PROXY_STATES: Final = ("DOWN", "UP")
CHECK_STATES: Final = (
    *("HANA", "SOCKERR", "L4OK", "L4TOUT", "L4CON", "L6OK", "L6TOUT", "L6RSP"),
    *("L7TOUT", "L7RSP", "L7OK", "L7OKC", "L7STS", "PROCERR", "PROCTOUT", "PROCOK"),
)
# Fields that only proxies of mode http have, and those in milliseconds.
HTTP_ONLY: Final = frozenset(
    {"req_rate_max", "req_tot", "intercepted", "cache_lookups", "cache_hits"}
    | {"comp_in", "comp_out", "comp_byp", "comp_rsp"}
)
MILLISECONDS: Final = frozenset(
    {"qtime", "ctime", "rtime", "ttime", "qtime_max", "ctime_max", "rtime_max", "ttime_max"}
)
