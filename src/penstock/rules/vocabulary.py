# SPDX-License-Identifier: Apache-2.0
"""Names and types of fetches, converters and ACL keywords that HAProxy 2.6 knows (manual 7.3).

The tables hold what ``haproxy -dKsmp``, ``-dKcnv`` and ``-dKacl`` print.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final

from penstock.rules.model import Matching


class Type(StrEnum):
    """What a sample can be."""

    ANY = "any"
    BOOL = "bool"
    INT = "sint"
    ADDRESS = "addr"
    IPV4 = "ipv4"
    IPV6 = "ipv6"
    STRING = "str"
    BINARY = "bin"
    METHOD = "meth"


class Checkpoint(Enum):
    """Where a sample is fetched: its bit in the tables, and HAProxy's words for it."""

    CONNECTION = (0, "frontend tcp-request connection rule")
    SESSION = (1, "frontend tcp-request session rule")
    FRONT_CONTENT = (2, "frontend tcp-request content rule")
    FRONT_HEADERS = (3, "frontend http-request header rule")
    USE_BACKEND = (5, "frontend use-backend rule")
    BACK_CONTENT = (6, "backend tcp-request content rule")
    BACK_HEADERS = (7, "backend http-request header rule")
    SERVER = (9, "backend use-server, balance or stick-match rule")
    RESPONSE = (11, "backend tcp-response content rule")
    BACK_RESPONSE_HEADERS = (12, "backend http-response header rule")
    STORE = (14, "backend stick-store rule")
    FRONT_RESPONSE_HEADERS = (16, "frontend http-response header rule")
    LOG = (18, "log-format")
    CHECK = (19, "backend tcp-check rule")
    CONFIGURATION = (20, "configuration parsing")

    @property
    def bit(self) -> int:
        return 1 << self.value[0]

    @property
    def words(self) -> str:
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Signature:
    """Types of arguments (HAProxy's words), how many are needed, and of what makes what."""

    name: str
    arguments: tuple[str, ...]
    needed: int
    output: Type
    input: Type = Type.ANY
    checkpoints: int = 0
    source: str = ""  # what it looks at; "" for what is always there

    def at(self, checkpoint: Checkpoint) -> bool:
        return bool(self.checkpoints & checkpoint.bit)

    @property
    def http(self) -> bool:
        """Whether only HTTP has it."""
        return "HTTP" in self.source


# By bits of checkpoints (columns of the output, the first one the lowest) and by source.
_FETCHES: Final = {
    (0x0007FC, "HTTP request headers"): (
        "base:str base32:sint base32+src:bin baseq:str cook([string]):str "
        "cook_cnt([string]):sint cook_val([string]):sint fcgi.docroot:str fcgi.index:str "
        "hdr_cnt([string]):sint hdr_ip([string,integer]):ipv4 hdr_val([string,integer]):sint "
        "http_auth(user_list):bool http_auth_bearer([string]):str "
        "http_auth_group(user_list):str http_auth_pass:str http_auth_type:str "
        "http_auth_user:str path:str pathq:str query:str req.body:bin req.body_len:sint "
        "req.body_param([string]):bin req.body_size:sint req.cook([string]):str "
        "req.cook_cnt([string]):sint req.cook_val([string]):sint "
        "req.fhdr([string,integer]):str req.fhdr_cnt([string]):sint "
        "req.hdr([string,integer]):str req.hdr_cnt([string]):sint "
        "req.hdr_ip([string,integer]):ipv4 req.hdr_names([string]):str "
        "req.hdr_val([string,integer]):sint req.hdrs:bin req.hdrs_bin:bin req.ver:str "
        "req_ver:str url:str url32:sint url32+src:bin url_ip:ipv4 "
        "url_param([string,string]):str url_port:sint urlp([string,string]):str "
        "urlp_val([string,string]):sint "
    ),
    (0x0007FC, "request buffer"): (
        "rdp_cookie([string]):str rdp_cookie_cnt([string]):sint req.len:sint "
        "req.payload(integer,integer):bin req.payload_lv(integer,integer[,string]):bin "
        "req.rdp_cookie([string]):str req.rdp_cookie_cnt([string]):sint req.ssl_alpn:str "
        "req.ssl_ec_ext:bool req.ssl_hello_type:sint req.ssl_sni:str req.ssl_st_ext:sint "
        "req.ssl_ver:sint req_len:sint req_ssl_hello_type:sint req_ssl_sni:str "
        "req_ssl_ver:sint "
    ),
    (0x07FFFC, "HTTP request"): (
        "capture.req.hdr(integer):str capture.req.method:str capture.req.uri:str "
        "capture.req.ver:str capture.res.ver:str http_first_req:bool method:meth "
        "req.proto_http:bool req_proto_http:bool "
    ),
    (0x07FFFE, "client-side connection"): (
        "ssl_c_ca_err:sint ssl_c_ca_err_depth:sint ssl_c_chain_der:bin ssl_c_der:bin "
        "ssl_c_err:sint ssl_c_i_dn([string,integer,string]):str ssl_c_key_alg:str "
        "ssl_c_notafter:str ssl_c_notbefore:str ssl_c_s_dn([string,integer,string]):str "
        "ssl_c_serial:bin ssl_c_sha1:bin ssl_c_sig_alg:str ssl_c_used:bool ssl_c_verify:sint "
        "ssl_c_version:sint ssl_f_der:bin ssl_f_i_dn([string,integer,string]):str "
        "ssl_f_key_alg:str ssl_f_notafter:str ssl_f_notbefore:str "
        "ssl_f_s_dn([string,integer,string]):str ssl_f_serial:bin ssl_f_sha1:bin "
        "ssl_f_sig_alg:str ssl_f_version:sint ssl_fc:bool ssl_fc_alg_keysize:sint "
        "ssl_fc_alpn:str ssl_fc_cipher:str ssl_fc_cipherlist_bin([integer]):str "
        "ssl_fc_cipherlist_hex([integer]):bin ssl_fc_cipherlist_str([integer]):str "
        "ssl_fc_cipherlist_xxh:sint ssl_fc_client_early_traffic_secret:str "
        "ssl_fc_client_handshake_traffic_secret:str ssl_fc_client_random:bin "
        "ssl_fc_client_traffic_secret_0:str ssl_fc_early_exporter_secret:str "
        "ssl_fc_ecformats_bin:str ssl_fc_eclist_bin([integer]):str ssl_fc_err:sint "
        "ssl_fc_err_str:str ssl_fc_exporter_secret:str ssl_fc_extlist_bin([integer]):str "
        "ssl_fc_has_crt:bool ssl_fc_has_early:bool ssl_fc_has_sni:bool ssl_fc_is_resumed:bool "
        "ssl_fc_npn:str ssl_fc_protocol:str ssl_fc_protocol_hello_id:sint "
        "ssl_fc_server_handshake_traffic_secret:str ssl_fc_server_random:bin "
        "ssl_fc_server_traffic_secret_0:str ssl_fc_session_id:bin ssl_fc_session_key:bin "
        "ssl_fc_sni:str ssl_fc_unique_id:bin ssl_fc_use_keysize:sint ssl_s_chain_der:bin "
        "ssl_s_der:bin ssl_s_i_dn([string,integer,string]):str ssl_s_key_alg:str "
        "ssl_s_notafter:str ssl_s_notbefore:str ssl_s_s_dn([string,integer,string]):str "
        "ssl_s_serial:bin ssl_s_sha1:bin ssl_s_sig_alg:str ssl_s_version:sint "
    ),
    (0x07FFFF, ""): (
        "dst_conn:sint fe_client_timeout:sint fe_defbe:str fe_id:sint fe_name:str so_id:sint "
        "so_name:str "
    ),
    (0x0BF800, "HTTP response headers"): (
        "res.body:bin res.body_len:sint res.body_size:sint res.cook([string]):str "
        "res.cook_cnt([string]):sint res.cook_val([string]):sint "
        "res.fhdr([string,integer]):str res.fhdr_cnt([string]):sint "
        "res.hdr([string,integer]):str res.hdr_cnt([string]):sint "
        "res.hdr_ip([string,integer]):ipv4 res.hdr_names([string]):str "
        "res.hdr_val([string,integer]):sint res.hdrs:bin res.hdrs_bin:bin res.ver:str "
        "resp_ver:str scook([string]):str scook_cnt([string]):sint scook_val([string]):sint "
        "shdr([string,integer]):str shdr_cnt([string]):sint shdr_ip([string,integer]):ipv4 "
        "shdr_val([string,integer]):sint "
    ),
    (0x0BF800, "response buffer"): (
        "rep_ssl_hello_type:sint res.len:sint res.payload(integer,integer):bin "
        "res.payload_lv(integer,integer[,string]):bin res.ssl_hello_type:sint "
    ),
    (0x0BFFFC, "HTTP request headers,HTTP response headers"): (
        "cookie([string]):str hdr([string,integer]):str internal.htx.data:sint "
        "internal.htx.free:sint internal.htx.free_data:sint internal.htx.has_eom:bool "
        "internal.htx.nbblks:sint internal.htx.size:sint internal.htx.used:sint "
        "internal.htx_blk.data(string):bin internal.htx_blk.hdrname(string):str "
        "internal.htx_blk.hdrval(string):str internal.htx_blk.size(string):sint "
        "internal.htx_blk.start_line(string):str internal.htx_blk.type(string):str "
    ),
    (0x0BFFFC, "request buffer,response buffer"): (
        "distcc_body(string[,integer]):bin distcc_param(string[,integer]):sint "
        "payload(integer,integer):bin payload_lv(integer,integer[,string]):bin "
    ),
    (0x0FF800, "HTTP response"): (
        "capture.res.hdr(integer):str res.comp:bool res.comp_algo:str status:sint "
    ),
    (0x0FF800, "server address"): (
        "bc_dst:sint bc_dst_port:sint bc_err:sint bc_err_str:str bc_http_major:sint "
        "bc_src:sint bc_src_port:sint "
    ),
    (0x0FF800, "server-side connection"): (
        "ssl_bc:bool ssl_bc_alg_keysize:sint ssl_bc_alpn:str ssl_bc_cipher:str "
        "ssl_bc_client_random:bin ssl_bc_err:sint ssl_bc_err_str:str ssl_bc_is_resumed:bool "
        "ssl_bc_npn:str ssl_bc_protocol:str ssl_bc_server_random:bin ssl_bc_session_id:bin "
        "ssl_bc_session_key:bin ssl_bc_unique_id:bin ssl_bc_use_keysize:sint "
    ),
    (0x0FFC00, "HTTP response"): ("res.cache_hit:bool res.cache_name:str "),
    (0x0FFC00, "server"): ("srv_id:sint srv_name:str "),
    (0x0FFFC0, "backend"): (
        "be_id:sint be_name:str be_server_timeout:sint be_tunnel_timeout:sint "
        "cur_server_timeout:sint cur_tunnel_timeout:sint "
    ),
    (0x0FFFFF, ""): (
        "dst:ipv4 dst_is_local:bool dst_port:sint fc_dst:ipv4 fc_dst_is_local:bool "
        "fc_dst_port:sint fc_err:sint fc_err_str:str fc_fackets([string]):sint "
        "fc_http_major:sint fc_lost([string]):sint fc_pp_authority:str fc_pp_unique_id:str "
        "fc_rcvd_proxy:bool fc_reordering([string]):sint fc_retrans([string]):sint "
        "fc_rtt([string]):sint fc_rttvar([string]):sint fc_sacked([string]):sint fc_src:ipv4 "
        "fc_src_is_local:bool fc_src_port:sint fc_unacked([string]):sint "
        "sc0_kbytes_in([table]):sint sc0_kbytes_out([table]):sint sc1_kbytes_in([table]):sint "
        "sc1_kbytes_out([table]):sint sc2_kbytes_in([table]):sint "
        "sc2_kbytes_out([table]):sint sc_kbytes_in(integer[,table]):sint "
        "sc_kbytes_out(integer[,table]):sint src:ipv4 src_bytes_in_rate(table):sint "
        "src_bytes_out_rate(table):sint src_clr_gpc(integer,table):sint "
        "src_clr_gpc0(table):sint src_clr_gpc1(table):sint src_conn_cnt(table):sint "
        "src_conn_cur(table):sint src_conn_rate(table):sint src_get_gpc(integer,table):sint "
        "src_get_gpc0(table):sint src_get_gpc1(table):sint src_get_gpt(integer,table):sint "
        "src_get_gpt0(table):sint src_gpc0_rate(table):sint src_gpc1_rate(table):sint "
        "src_gpc_rate(integer,table):sint src_http_err_cnt(table):sint "
        "src_http_err_rate(table):sint src_http_fail_cnt(table):sint "
        "src_http_fail_rate(table):sint src_http_req_cnt(table):sint "
        "src_http_req_rate(table):sint src_inc_gpc(integer,table):sint "
        "src_inc_gpc0(table):sint src_inc_gpc1(table):sint src_is_local:bool "
        "src_kbytes_in(table):sint src_kbytes_out(table):sint src_port:sint "
        "src_sess_cnt(table):sint src_sess_rate(table):sint src_updt_conn_cnt(table):sint "
    ),
    (0x2FFFFF, ""): (
        "avg_queue(backend):sint be_conn(backend):sint be_conn_free(backend):sint "
        "be_sess_rate(backend):sint connslots(backend):sint cpu_calls:sint cpu_ns_avg:sint "
        "cpu_ns_tot:sint fe_conn(frontend):sint fe_req_rate(frontend):sint "
        "fe_sess_rate(frontend):sint internal.strm.is_htx:bool last_rule_file:str "
        "last_rule_line:sint lat_ns_avg:sint lat_ns_tot:sint nbsrv(backend):sint "
        "prio_class:sint prio_offset:sint queue(backend):sint sc0_bytes_in_rate([table]):sint "
        "sc0_bytes_out_rate([table]):sint sc0_clr_gpc0([table]):sint "
        "sc0_clr_gpc1([table]):sint sc0_conn_cnt([table]):sint sc0_conn_cur([table]):sint "
        "sc0_conn_rate([table]):sint sc0_get_gpc0([table]):sint sc0_get_gpc1([table]):sint "
        "sc0_get_gpt0([table]):sint sc0_gpc0_rate([table]):sint sc0_gpc1_rate([table]):sint "
        "sc0_http_err_cnt([table]):sint sc0_http_err_rate([table]):sint "
        "sc0_http_fail_cnt([table]):sint sc0_http_fail_rate([table]):sint "
        "sc0_http_req_cnt([table]):sint sc0_http_req_rate([table]):sint "
        "sc0_inc_gpc0([table]):sint sc0_inc_gpc1([table]):sint sc0_sess_cnt([table]):sint "
        "sc0_sess_rate([table]):sint sc0_tracked([table]):bool sc0_trackers([table]):sint "
        "sc1_bytes_in_rate([table]):sint sc1_bytes_out_rate([table]):sint "
        "sc1_clr_gpc(integer[,table]):sint sc1_clr_gpc0([table]):sint "
        "sc1_clr_gpc1([table]):sint sc1_conn_cnt([table]):sint sc1_conn_cur([table]):sint "
        "sc1_conn_rate([table]):sint sc1_get_gpc0([table]):sint sc1_get_gpc1([table]):sint "
        "sc1_get_gpt0([table]):sint sc1_gpc0_rate([table]):sint sc1_gpc1_rate([table]):sint "
        "sc1_http_err_cnt([table]):sint sc1_http_err_rate([table]):sint "
        "sc1_http_fail_cnt([table]):sint sc1_http_fail_rate([table]):sint "
        "sc1_http_req_cnt([table]):sint sc1_http_req_rate([table]):sint "
        "sc1_inc_gpc0([table]):sint sc1_inc_gpc1([table]):sint sc1_sess_cnt([table]):sint "
        "sc1_sess_rate([table]):sint sc1_tracked([table]):bool sc1_trackers([table]):sint "
        "sc2_bytes_in_rate([table]):sint sc2_bytes_out_rate([table]):sint "
        "sc2_clr_gpc0([table]):sint sc2_clr_gpc1([table]):sint sc2_conn_cnt([table]):sint "
        "sc2_conn_cur([table]):sint sc2_conn_rate([table]):sint sc2_get_gpc0([table]):sint "
        "sc2_get_gpc1([table]):sint sc2_get_gpt0([table]):sint sc2_gpc0_rate([table]):sint "
        "sc2_gpc1_rate([table]):sint sc2_http_err_cnt([table]):sint "
        "sc2_http_err_rate([table]):sint sc2_http_fail_cnt([table]):sint "
        "sc2_http_fail_rate([table]):sint sc2_http_req_cnt([table]):sint "
        "sc2_http_req_rate([table]):sint sc2_inc_gpc0([table]):sint "
        "sc2_inc_gpc1([table]):sint sc2_sess_cnt([table]):sint sc2_sess_rate([table]):sint "
        "sc2_tracked([table]):bool sc2_trackers([table]):sint "
        "sc_bytes_in_rate(integer[,table]):sint sc_bytes_out_rate(integer[,table]):sint "
        "sc_clr_gpc(integer,integer[,table]):sint sc_clr_gpc0(integer[,table]):sint "
        "sc_clr_gpc1(integer[,table]):sint sc_conn_cnt(integer[,table]):sint "
        "sc_conn_cur(integer[,table]):sint sc_conn_rate(integer[,table]):sint "
        "sc_get_gpc(integer,integer[,table]):sint sc_get_gpc0(integer[,table]):sint "
        "sc_get_gpc1(integer[,table]):sint sc_get_gpt(integer,integer[,table]):sint "
        "sc_get_gpt0(integer[,table]):sint sc_gpc0_rate(integer[,table]):sint "
        "sc_gpc1_rate(integer[,table]):sint sc_gpc_rate(integer,integer[,table]):sint "
        "sc_http_err_cnt(integer[,table]):sint sc_http_err_rate(integer[,table]):sint "
        "sc_http_fail_cnt(integer[,table]):sint sc_http_fail_rate(integer[,table]):sint "
        "sc_http_req_cnt(integer[,table]):sint sc_http_req_rate(integer[,table]):sint "
        "sc_inc_gpc(integer,integer[,table]):sint sc_inc_gpc0(integer[,table]):sint "
        "sc_inc_gpc1(integer[,table]):sint sc_sess_cnt(integer[,table]):sint "
        "sc_sess_rate(integer[,table]):sint sc_tracked(integer[,table]):bool "
        "sc_trackers(integer[,table]):sint srv_conn(server):sint srv_conn_free(server):sint "
        "srv_is_up(server):bool srv_iweight(server):sint srv_queue(server):sint "
        "srv_sess_rate(server):sint srv_uweight(server):sint srv_weight(server):sint "
        "stopping:bool table_avl(table):sint table_cnt(table):sint wait_end:bool "
    ),
    (0x3FFFFF, ""): (
        "always_false:bool always_true:bool bin(string):bin bool(string):bool "
        "date([integer,string]):sint date_us:sint env(string):str hostname:str "
        "int(integer):sint ipv4(IPv4_address):ipv4 ipv6(IPv6_address):ipv6 meth(string):meth "
        "nbproc:sint proc:sint rand([integer]):sint str(string):str thread:sint unique-id:str "
        "uuid([integer]):str var(string[,string]):any "
    ),
}

_CONVERTERS: Final = (
    "add(string):sint>sint add_item(string,string[,string]):str>str "
    "aes_gcm_dec(integer,string,string,string):bin>bin and(string):sint>sint b64dec:str>bin "
    "base64:bin>str be2dec(string[,integer,integer]):bin>str "
    "be2hex(string[,integer,integer]):bin>str bool:sint>bool bytes(integer[,integer]):bin>bin "
    "capture-req(integer):str>str capture-res(integer):str>str "
    "concat(string[,string,string]):str>str cpl:sint>sint crc32([integer]):bin>sint "
    "crc32c([integer]):bin>sint cut_crlf:str>str debug([string,string]):any>any "
    "digest(string):bin>bin div(string):sint>sint djb2([integer]):bin>sint even:sint>bool "
    "field(integer,string[,integer]):str>str fix_is_valid:bin>bool "
    "fix_tag_value(string):bin>bin hex:bin>str hex2i:str>sint hmac(string,string):bin>bin "
    "host_only:str>str htonl:sint>bin http_date([integer,string]):sint>str "
    "iif(string,string):bool>str in_table(table):any>bool "
    "ipmask(IPv4_mask[,IPv6_mask]):addr>ipv4 json(string):str>str "
    "json_query(string[,string]):str>any jwt_header_query([string,string]):bin>any "
    "jwt_payload_query([string,string]):bin>any jwt_verify(string,string):bin>sint "
    "language(string[,string]):str>str length:str>sint lower:str>str "
    "ltime(string[,integer]):sint>str ltrim(string):str>str map(string[,string]):str>str "
    "map_beg(string[,string]):str>str map_beg_int(string[,integer]):str>sint "
    "map_beg_ip(string[,string]):str>addr map_dir(string[,string]):str>str "
    "map_dir_int(string[,integer]):str>sint map_dir_ip(string[,string]):str>addr "
    "map_dom(string[,string]):str>str map_dom_int(string[,integer]):str>sint "
    "map_dom_ip(string[,string]):str>addr map_end(string[,string]):str>str "
    "map_end_int(string[,integer]):str>sint map_end_ip(string[,string]):str>addr "
    "map_int(string[,string]):sint>str map_int_int(string[,integer]):sint>sint "
    "map_int_ip(string[,string]):sint>addr map_ip(string[,string]):addr>str "
    "map_ip_int(string[,integer]):addr>sint map_ip_ip(string[,string]):addr>addr "
    "map_reg(string[,string]):str>str map_reg_int(string[,integer]):str>sint "
    "map_reg_ip(string[,string]):str>addr map_regm(string[,string]):str>str "
    "map_str(string[,string]):str>str map_str_int(string[,integer]):str>sint "
    "map_str_ip(string[,string]):str>addr map_sub(string[,string]):str>str "
    "map_sub_int(string[,integer]):str>sint map_sub_ip(string[,string]):str>addr "
    "mod(string):sint>sint mqtt_field_value(string,string):bin>str mqtt_is_valid:bin>bool "
    "mul(string):sint>sint nbsrv:str>sint neg:sint>sint not:sint>bool odd:sint>bool "
    "or(string):sint>sint port_only:str>sint "
    "protobuf(Protocol_buffers_field_number[,string]):bin>bin "
    "regsub(regex,string[,string]):str>str rtrim(string):str>str sdbm([integer]):bin>sint "
    "secure_memcmp(string):bin>bool set-var(string[,string,string,string,string]):any>any "
    "sha1:bin>bin sha2([integer]):bin>bin srv_queue:str>sint strcmp(string):str>sint "
    "sub(string):sint>sint table_bytes_in_rate(table):any>sint "
    "table_bytes_out_rate(table):any>sint table_conn_cnt(table):any>sint "
    "table_conn_cur(table):any>sint table_conn_rate(table):any>sint "
    "table_expire(table[,integer]):any>sint table_gpc(integer,table):any>sint "
    "table_gpc0(table):any>sint table_gpc0_rate(table):any>sint table_gpc1(table):any>sint "
    "table_gpc1_rate(table):any>sint table_gpc_rate(integer,table):any>sint "
    "table_gpt(integer,table):any>sint table_gpt0(table):any>sint "
    "table_http_err_cnt(table):any>sint table_http_err_rate(table):any>sint "
    "table_http_fail_cnt(table):any>sint table_http_fail_rate(table):any>sint "
    "table_http_req_cnt(table):any>sint table_http_req_rate(table):any>sint "
    "table_idle(table[,integer]):any>sint table_kbytes_in(table):any>sint "
    "table_kbytes_out(table):any>sint table_server_id(table):any>sint "
    "table_sess_cnt(table):any>sint table_sess_rate(table):any>sint "
    "table_trackers(table):any>sint ub64dec:str>bin ub64enc:bin>str "
    "ungrpc(Protocol_buffers_field_number[,string]):bin>bin unset-var(string):any>any "
    "upper:str>str url_dec([integer]):str>str url_enc(string):str>str "
    "utime(string[,integer]):sint>str word(integer,string[,integer]):str>str "
    "wt6([integer]):bin>sint xor(string):sint>sint xxh3([integer]):bin>sint "
    "xxh32([integer]):bin>sint xxh64([integer]):bin>sint "
)

# keyword=fetch/matching
_KEYWORDS: Final = (
    "base=base/str base_beg=base/beg base_dir=base/dir base_dom=base/dom base_end=base/end "
    "base_len=base/len base_reg=base/reg base_sub=base/sub cook=req.cook/str "
    "cook_beg=req.cook/beg cook_dir=req.cook/dir cook_dom=req.cook/dom cook_end=req.cook/end "
    "cook_len=req.cook/len cook_reg=req.cook/reg cook_sub=req.cook/sub hdr=req.hdr/str "
    "hdr_beg=req.hdr/beg hdr_dir=req.hdr/dir hdr_dom=req.hdr/dom hdr_end=req.hdr/end "
    "hdr_len=req.hdr/len hdr_reg=req.hdr/reg hdr_sub=req.hdr/sub "
    "http_auth_group=http_auth_group/str method=method/str path=path/str path_beg=path/beg "
    "path_dir=path/dir path_dom=path/dom path_end=path/end path_len=path/len "
    "path_reg=path/reg path_sub=path/sub payload=req.payload/bin "
    "payload_lv=req.payload_lv/bin req.ssl_ver=req.ssl_ver/int "
    "req_rdp_cookie=req.rdp_cookie/str req_rdp_cookie_cnt=req.rdp_cookie_cnt/int "
    "req_ssl_sni=req.ssl_sni/str req_ssl_ver=req.ssl_ver/int req_ver=req.ver/str "
    "resp_ver=res.ver/str scook=res.cook/str scook_beg=res.cook/beg scook_dir=res.cook/dir "
    "scook_dom=res.cook/dom scook_end=res.cook/end scook_len=res.cook/len "
    "scook_reg=res.cook/reg scook_sub=res.cook/sub shdr=res.hdr/str shdr_beg=res.hdr/beg "
    "shdr_dir=res.hdr/dir shdr_dom=res.hdr/dom shdr_end=res.hdr/end shdr_len=res.hdr/len "
    "shdr_reg=res.hdr/reg shdr_sub=res.hdr/sub ssl_fc_sni_end=ssl_fc_sni/end "
    "ssl_fc_sni_reg=ssl_fc_sni/reg url=url/str url_beg=url/beg url_dir=url/dir "
    "url_dom=url/dom url_end=url/end url_len=url/len url_reg=url/reg url_sub=url/sub "
    "urlp=urlp/str urlp_beg=urlp/beg urlp_dir=urlp/dir urlp_dom=urlp/dom urlp_end=urlp/end "
    "urlp_len=urlp/len urlp_reg=urlp/reg urlp_sub=urlp/sub "
)

# Manual 7.4.
PREDEFINED_ACLS: Final[dict[str, tuple[str, ...]]] = {
    "FALSE": ("always_false",),
    "HTTP": ("req.proto_http",),
    "HTTP_1.0": ("req.ver", "1.0"),
    "HTTP_1.1": ("req.ver", "1.1"),
    "HTTP_2.0": ("req.ver", "2.0"),
    "HTTP_CONTENT": ("req.hdr_val(content-length)", "gt", "0"),
    "HTTP_URL_ABS": ("url_reg", "^[^/:]*://"),
    "HTTP_URL_SLASH": ("url_beg", "/"),
    "HTTP_URL_STAR": ("url", "*"),
    "LOCALHOST": ("src", "127.0.0.1/8"),
    "METH_CONNECT": ("method", "CONNECT"),
    "METH_DELETE": ("method", "DELETE"),
    "METH_GET": ("method", "GET", "HEAD"),
    "METH_HEAD": ("method", "HEAD"),
    "METH_OPTIONS": ("method", "OPTIONS"),
    "METH_POST": ("method", "POST"),
    "METH_PUT": ("method", "PUT"),
    "METH_TRACE": ("method", "TRACE"),
    "RDP_COOKIE": ("req.rdp_cookie_cnt", "gt", "0"),
    "REQ_CONTENT": ("req.len", "gt", "0"),
    "TRUE": ("always_true",),
    "WAIT_END": ("wait_end",),
}

_SIGNATURE = re.compile(r"(?P<name>[^(:]+)(?:\((?P<arguments>[^)]*)\))?:(?P<types>\S+)")


def _signature(text: str, checkpoints: int, source: str = "") -> Signature:
    found = _SIGNATURE.fullmatch(text)
    if found is None:
        raise AssertionError(text)
    needed, _, optional = (found["arguments"] or "").partition("[")
    required = [one.replace("_", " ") for one in needed.split(",") if one]
    others = [one.replace("_", " ") for one in optional.rstrip("]").split(",") if one]
    before, _, after = found["types"].rpartition(">")
    return Signature(
        found["name"],
        (*required, *others),
        len(required),
        Type(after),
        Type(before or "any"),
        checkpoints,
        source,
    )


FETCHES: Final[dict[str, Signature]] = {
    signature.name: signature
    for (checkpoints, source), names in _FETCHES.items()
    for signature in (_signature(text, checkpoints, source) for text in names.split())
}
CONVERTERS: Final[dict[str, Signature]] = {
    signature.name: signature for signature in (_signature(text, 0) for text in _CONVERTERS.split())
}
ACL_KEYWORDS: Final[dict[str, tuple[str, Matching]]] = {
    keyword: (fetch, Matching(matching))
    for keyword, _, rest in (text.partition("=") for text in _KEYWORDS.split())
    for fetch, _, matching in (rest.partition("/"),)
}
