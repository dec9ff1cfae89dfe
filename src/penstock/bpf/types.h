/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the control plane and the datapath share. Python reads these layouts from the object's
 * BTF; nothing repeats them.
 */
#pragma once
#include "kernel.h"

/*
 * Why a packet was dropped or handed to the host, and other things worth counting. The prefix is
 * the verdict; the rest, in lower case, is the reason's name in metrics.
 */
enum reason {
	PASS_NOT_IP,
	PASS_OTHER_HOST, /* another machine's frame, seen by a promiscuous interface */
	PASS_VLAN, /* tagged: for the VLAN device, whose own hook sees it untagged */
	PASS_NOT_TCP_UDP,
	PASS_NO_SERVICE,
	PASS_MALFORMED,
	PASS_FRAGMENT_WITHOUT_FIRST,
	PASS_NO_FLOW, /* TCP to a service, no flow, not a SYN: the host answers with a reset */
	PASS_REFUSED, /* no real server is up: the host answers with a reset */
	PASS_RULE_REJECT, /* a rule says so: the host answers with a reset */
	PASS_ICMP_OTHER,
	PASS_EXTENSION_HEADER,
	PASS_TO_TC, /* XDP leaves it to the TC program of the same interface */
	DROP_SERVICE_MAXCONN, /* the client's SYN retransmit tries again */
	DROP_REAL_MAXCONN,
	DROP_GLOBAL_MAXCONN,
	DROP_NO_PORT, /* every source port to this real server is in use */
	DROP_TABLE_FULL,
	DROP_NAT_CONFLICT, /* NAT: two flows would look alike on the way back */
	DROP_TTL,
	DROP_NO_ROUTE,
	DROP_NO_EGRESS,
	DROP_TOO_BIG, /* answered with ICMP */
	DROP_UDP_REFUSED, /* no real server is up: answered with ICMP */
	DROP_CROSS_FAMILY, /* not translatable between IPv4 and IPv6 */
	DROP_REWRITE, /* the kernel refused a rewrite (no memory) */
	DROP_RULE, /* silent-drop */
	DROP_UDP_RULE_REJECT, /* a rule says so: answered with ICMP */
	DROP_NO_DESTINATION, /* IPVS: nobody to send to: answered with ICMP, TCP too */
	DROP_DESTINATION_GONE, /* IPVS: of a connection whose destination was deleted */
	DROP_LOAD, /* IPVS: drop_packet */
	DROP_PARTED, /* of a connection that is over for its sender: answered with a reset */
	EVENT_FORWARDED_XDP,
	EVENT_FORWARDED_TC,
	EVENT_FLOW_NEW,
	EVENT_FLOW_CLOSED,
	EVENT_FLOW_EXPIRED,
	EVENT_FLOW_EVICTED, /* a finished or idle UDP flow made room for a new one */
	EVENT_FLOW_RESCHEDULED, /* its real server went away before it answered */
	EVENT_PORT_REUSED_EARLY,
	EVENT_ICMP_TRANSLATED,
	EVENT_FRAGMENT_FORWARDED,
	EVENT_FRAGMENTED, /* too big for the next link, and may be cut: the host's stack does it */
	EVENT_NEIGHBOUR_RESOLVED,
	EVENT_ANSWERED_ICMP,
	EVENT_FLOW_TAKEN_OVER, /* IPVS: it began at another director */
	EVENT_SYNC_LOST, /* IPVS: a change that no backup was told, the ring being full */
	EVENT_TEMPLATE_NEW, /* IPVS: a client was tied to a destination */
	EVENT_LOG_SKIPPED, /* a connection that is not logged, one in so many being enough */
	EVENT_LOG_LOST, /* and one for whose record there was no room */
	REASON_MAX,
};

enum selection {
	SELECT_ROTATE,
	SELECT_SOURCE_MOD,
	SELECT_SOURCE_TOP,
	SELECT_TUPLE,
	SELECT_LEASTCONN,
	SELECT_FIRST,
	SELECT_RANDOM,
	/* IPVS: over the destinations in the order of the kernel's list. */
	SELECT_IPVS_NONE,
	SELECT_IPVS_RR,
	SELECT_IPVS_WRR,
	SELECT_IPVS_LC,
	SELECT_IPVS_WLC,
	SELECT_IPVS_LBLC,
	SELECT_IPVS_LBLCR,
	SELECT_IPVS_DH,
	SELECT_IPVS_SH,
	SELECT_IPVS_SED,
	SELECT_IPVS_NQ,
	SELECT_IPVS_FO,
	SELECT_IPVS_OVF,
	SELECT_IPVS_MH,
	SELECT_IPVS_TWOS,
};

enum forwarding { FORWARD_FULLNAT, FORWARD_NAT, FORWARD_DIRECT, FORWARD_TUNNEL };
enum tunnel { TUNNEL_NONE, TUNNEL_IPIP, TUNNEL_GUE, TUNNEL_GRE };
enum port_mode { PORT_FIXED, PORT_SAME, PORT_OFFSET };

#define NAME_LEN 128
#define DIGEST_LEN 16

/*
 * An address is four words; IPv4 uses the first and leaves the others zero. With proto 0 the first
 * is a firewall mark; port 0 stands for all ports.
 */
struct vip_key {
	be32 addr[4];
	be16 port;
	u8 proto;
	u8 af; /* 4 or 6 */
};

struct vip {
	u32 service;
	u32 ifindex; /* only packets from this interface; 0: any */
};

struct address_key {
	be32 addr[4];
	u32 af;
};

/* Replaced as a whole: a hash map swaps the element in one pointer write. */
struct service {
	u8 digest[DIGEST_LEN];
	u32 pool; /* 0: none */
	u32 flags; /* SERVICE_* */
	u32 persist; /* ticks that a client stays with its destination */
	u32 fwmark;
	be32 mask[4]; /* what of a client's address counts for that */
	be16 port; /* 0: all */
	u16 spare;
	u32 rules; /* SERVICE_RULES: the first of its steps, and how many */
	u32 rules_len;
	char name[NAME_LEN];
};

#define SERVICE_IPVS 1u
#define SERVICE_PERSISTENT 2u
#define SERVICE_OPS 4u /* every datagram is scheduled anew */
#define SERVICE_TAKEOVER 8u /* schedules what began elsewhere */
#define SERVICE_RULES 16u /* say who may open a flow */
#define SERVICE_LOGGED 32u
#define SERVICE_LOGGED_EARLY 64u /* when the real has answered, not at the end */
#define SERVICE_REALS_TIMEOUT 128u /* of two silent ends it was the real that was waited for */

struct pool {
	u8 digest[DIGEST_LEN];
	u32 base; /* first entry in the tables map */
	u32 len; /* 0: nobody is up */
	u32 selection;
	u16 avalanche;
	u16 draws;
	u32 rotation; /* SELECT_ROTATE's counter */
	u32 balance_factor; /* percent of its share a real may have; 0: any load */
	u32 total_weight; /* of the reals in the table */
	u32 hash_base; /* SELECT_IPVS_SH, DH, MH: their table of ids; the other one is the list */
	u32 hash_len; /* 0: nobody */
	u32 flags; /* POOL_* */
	u32 max_weight; /* SELECT_IPVS_WRR: where its level starts (kernel: mark->mw) */
	u32 step; /* and by how much it goes down (mark->di) */
	char name[NAME_LEN];
};

#define POOL_FALLBACK 1u /* another one where the hash's is not available */
#define POOL_HASH_PORT 2u

struct real {
	be32 addr[4];
	be32 snat[4]; /* source towards this real (FULLNAT) */
	u8 af;
	u8 forwarding;
	u8 port_mode;
	u8 proto;
	u16 port; /* host order; PORT_OFFSET: added modulo 65536 */
	u16 snat_first; /* `source addr:first-last`; 0: the instance's range */
	u16 snat_last;
	u16 source_given; /* the configuration named the source address */
	u8 tunnel; /* TUNNEL_* */
	u8 tunnel_flags; /* WORD_CSUM, WORD_REMCSUM of ipvs_state.h, divided by 256 */
	be16 tunnel_port;
	u32 retired;
	char pool[NAME_LEN];
	char name[NAME_LEN];
};

/* Written by both sides, one aligned word at a time, through mmap here and atomics there. */
struct service_live {
	u32 conns;
	u32 maxconn; /* 0: none */
	u32 ticks_connect; /* timeouts; 0: never */
	u32 ticks_idle;
	u32 ticks_half; /* one side has sent FIN */
	u32 spare;
	u64 total;
	u64 pad[4];
};

struct real_live {
	u32 conns;
	u32 weight;
	u32 available;
	u32 maxconn; /* 0: none */
	u32 minconn; /* below fullconn the limit follows the load; 0: it does not */
	u32 fullconn;
	u64 total;
	/* IPVS: conns counts all its connections, these are the active ones among them. */
	u32 active;
	u32 persist; /* templates */
	u32 upper; /* thresholds (ipvsadm -x, -y); 0: none */
	u32 lower;
	u32 overloaded;
	u32 gone; /* deleted: packets of its connections are dropped */
	u32 errors; /* connections that it refused, or did not answer */
	u32 errors_in_a_row; /* since the last that it took */
};

/*
 * How connections to a real began and ended, for the statistics. Times are ms. Written once or twice a
 * connection, by atomics, as its real_live is; of HAProxy's services only.
 */
struct outcome {
	u64 answered;
	u64 ended; /* of those */
	u64 connect_time; /* of all that were answered: from the SYN to the answer */
	u64 total_time; /* of all that have ended */
	u64 client_aborts; /* the client reset it, or was silent for too long */
	u64 real_aborts;
	u64 real_resets; /* of those, by a reset */
	u64 redispatched; /* not answered, and begun anew with another real */
};

/* Connections for which a service opened no flow. Indexed by enum turned. */
struct turnings {
	u64 nobody; /* to send to */
	u64 connections; /* tcp-request connection reject */
	u64 sessions; /* tcp-request session reject */
	u64 requests; /* tcp-request content reject, or silent-drop there */
	u64 dropped; /* silent-drop before that */
	u64 spare[3];
};

enum turned {
	TURNED_NOBODY,
	TURNED_CONNECTION,
	TURNED_SESSION,
	TURNED_REQUEST,
	TURNED_DROPPED,
	TURNED_MAX,
};

struct traffic {
	u64 packets_in;
	u64 bytes_in;
	u64 packets_out;
	u64 bytes_out;
};

/* An interface the datapath may send through. */
struct port {
	u32 ifindex;
	u32 mtu;
	u8 mac[6];
	u8 loopback;
	u8 xdp_redirect; /* can take packets from an XDP redirect */
	u8 xdp_tx; /* can send back by XDP_TX */
	u8 pad[3];
};

/* Settings that change while running, and totals on a cache line of their own. */
struct control {
	u32 next_hop_generation; /* bumped when a route or a neighbour changes */
	u32 snat_first; /* source ports for FULLNAT, host order, inclusive */
	u32 snat_last;
	u32 maxconn; /* of all services together; 0: none */
	u64 hash_seed; /* for whoever adopts the tables */
	u64 format; /* digest of everything in this file, written by the loader */
	u32 gone; /* deleted IPVS destinations that still have connections */
	u32 quiescent_udp; /* expire_quiescent_udp */
	u32 sync_threshold; /* a client's packets until backups are told; 0: no master runs */
	u32 sync_refresh; /* sweeps after which they are told again; 0: never */
	u32 sync_persist; /* templates are told, not the connections they hold */
	u32 sync_round; /* of sweeps */
	u32 cut_real; /* whose connections penstock_cut ends */
	u32 cut_af; /* not 0: it ends one alone, in this family's table */
	u32 cut_slot; /* where that is */
	u32 cut_life; /* and in which of the slot's lives */
	u32 cut_count; /* and how many it has ended */
	u32 log_one_in; /* of connections that are to be logged, one in so many is */
	u32 conns;
	u32 flows;
	u32 swept; /* result of the last sweep: flows removed */
	u32 cut_cause; /* why penstock_cut ends them: a letter, as HAProxy logs it */
	u32 pad[8];
};

/*
 * One direction of a flow. Both directions are entries of their own, so that an established
 * packet costs one lookup: one cache line in IPv4, two neighbouring ones in IPv6.
 *
 * ctl is the only word that says what the slot is; see flow.h for its bits and life.
 */
struct flow {
	u32 ctl;
	u32 hop; /* bit d: the slot d places on has its home here */
	u32 seen; /* tick of the last packet */
	u32 peer; /* slot of the other direction */
	u32 real;
	u32 hop_stamp; /* when dmac and port were looked up; 0: never */
	u16 service;
	u16 port; /* index of the egress port */
	u8 dmac[6];
	u8 dist; /* distance from its home, and DIST_LOGGED of journal.h */
	u8 table; /* forward: of sources, whose live connection this is; 0: none. Reverse: see closing */
	union {
		/*
		 * From the client's FIN. Forward: the sequence number after it; reverse: what the
		 * real compares the next SYN with, that number or a timestamp. Before that, forward:
		 * when the flow began, ms of the monotonic clock; the other direction's table has
		 * the bits above.
		 */
		u32 closing;
		u32 word; /* IPVS: WORD_*, see ipvs_state.h */
	};
};

struct flow4 {
	struct flow f;
	be16 sport;
	be16 dport;
	be32 saddr;
	be32 daddr;
	be32 nsaddr; /* what the packet is rewritten to */
	be32 ndaddr;
	be16 nsport;
	be16 ndport;
};

struct flow6 {
	struct flow f;
	be16 sport;
	be16 dport;
	be32 saddr[4];
	be32 daddr[4];
	be32 nsaddr[4];
	be32 ndaddr[4];
	be16 nsport;
	be16 ndport;
	u32 spare[4];
};

_Static_assert(sizeof(struct flow4) == 64, "an IPv4 flow is one cache line");
_Static_assert(sizeof(struct flow6) == 128, "an IPv6 flow is two cache lines");

/* Of a flow that is logged, by its forward slot; the top bit of the key is set for IPv6. */
struct flow_log {
	u64 begun; /* ns of the monotonic clock */
	u64 answered; /* 0: not yet */
	u64 bytes_in; /* payload, from the client */
	u64 bytes_out;
	u32 packets_in;
	u32 packets_out;
};

/* Why a record was written. */
enum log_how {
	LOG_BOTH_ENDED,
	LOG_CLIENT_RESET,
	LOG_REAL_RESET,
	LOG_SILENT, /* ctl says who was waited for */
	LOG_CUT,
	LOG_ANSWERED,
	LOG_REFUSED, /* there was no real */
};

struct log_record {
	be32 client[4];
	be32 vip[4];
	be32 source[4];
	be32 target[4];
	be16 client_port;
	be16 vip_port;
	be16 source_port;
	be16 target_port;
	u64 begun; /* all three: ns of the monotonic clock */
	u64 answered;
	u64 ended;
	u64 bytes_in;
	u64 bytes_out;
	u32 packets_in;
	u32 packets_out;
	u32 service;
	u32 real; /* 0 may be one, or none: how tells */
	u32 ctl;
	u32 one_in; /* of so many, if more than one */
	u8 how;
	u8 af;
	u8 cause; /* LOG_CUT: the letter */
	u8 pad[5];
};

/*
 * A persistence template: where a client (by the service's mask) goes. Its vip is the service's
 * address, or with proto 0 its mark; port 0 ties all ports.
 */
struct template_key {
	be32 client[4];
	be32 vip[4];
	be16 port;
	u8 proto;
	u8 af;
};

struct template {
	u32 real;
	u32 seen; /* tick of the last connection */
	u32 ticks; /* may be silent for */
	u32 controls; /* its connections; it does not end before them */
	u32 assured; /* one of them was answered */
	be16 port; /* of the destination, for the listing */
	u16 synced; /* another director's */
};

/* lblc and lblcr: the destinations that an address is served by, most recent first. */
#define CACHE_SET 16
struct cache_key {
	u32 pool;
	be32 addr[4];
};

struct cache {
	u32 used; /* tick */
	u32 changed;
	u32 len;
	u32 reals[CACHE_SET];
};

/* What holds for all of IPVS: net.ipv4.vs.* and the timeouts, in ticks. */
#define STATES 16
struct director {
	u32 conn_reuse_mode;
	u32 expire_nodest_conn;
	u32 expire_quiescent_template;
	u32 sloppy_tcp;
	u32 sloppy_sctp;
	u32 pmtu_disc;
	u32 drop_rate; /* one new connection in so many is dropped; 0: none */
	u32 drop_counter;
	u32 all_ports; /* there are services with port 0 */
	u32 ftp; /* there are services with port 21 */
	u32 cache_ticks; /* lblc_expiration */
	u32 cache_set_ticks; /* lblcr_expiration */
	be32 tunnel_source; /* a /16 that outer IPv4 sources are spread over; 0: the route's */
	u32 spare[3];
	u32 tcp[STATES];
	u32 sctp[STATES];
	u32 udp;
	u32 pad[15];
};

/*
 * Rules on who may open a flow, as steps: a test goes on at *then* or *otherwise*, an action at
 * *then*, and all of them further down.
 */
enum step_kind {
	STEP_ACCEPT,
	STEP_REJECT,
	STEP_DROP,
	STEP_SOURCE, /* address in networks *of* */
	STEP_DESTINATION,
	STEP_SOURCE_PORT, /* low <= number <= high, as all that follow */
	STEP_DESTINATION_PORT,
	STEP_TRACK, /* counts the connection in table *of* */
	STEP_INCREMENT, /* gpc0 of whom it is counted for */
	STEP_RATE, /* of the source in table *of* */
	STEP_LIVE,
	STEP_TOTAL,
	STEP_GPC0,
	STEP_GPC0_INCREMENTED,
};

#define STEP_IPV4 1u /* the table has no other sources */
#define STEP_TRACKED 2u /* holds only where the connection is counted in the table */

struct step {
	u8 kind;
	u8 flags; /* STEP_IPV4, STEP_TRACKED */
	u16 spare;
	u32 then;
	u32 otherwise;
	u32 low;
	u32 high;
	u32 of; /* of a refusal: enum turned */
	u32 period; /* of the table's rate, ms */
	u32 expire; /* ms without a connection until a source is forgotten; 0: never */
};

struct network4 {
	u32 prefix;
	be32 addr;
};

struct network6 {
	u32 prefix;
	be32 addr[4];
};

/* IPv4 as ::ffff:a.b.c.d */
struct source_key {
	be32 addr[4];
};

/* What is known of a source. Times are milliseconds. */
struct source {
	u32 since; /* when the period began that is counted now */
	u32 rate; /* connections in it */
	u32 before; /* and in the one before */
	u32 conns; /* live */
	u32 total;
	u32 gpc0;
	u32 seen; /* when one was counted, or ended */
	u32 spare;
};

/* By number: what a set of networks or a table of sources was made from. */
struct label {
	u8 digest[DIGEST_LEN];
};

struct fragment_key {
	be32 saddr[4];
	be32 daddr[4];
	be32 id;
	u16 proto;
	u16 af;
};

struct fragment {
	u32 slot;
	u32 ctl; /* of the flow then: a reused slot is told by its generation */
};

/* IP_VS_CONN_F_* of include/uapi/linux/ip_vs.h, as backups are told them. */
#define SYNC_METHOD 7u
#define SYNC_LOCAL 1u
#define SYNC_TUNNEL 2u
#define SYNC_ROUTE 3u
#define SYNC_NO_OUTPUT 0x80u
#define SYNC_INACTIVE 0x100u
#define SYNC_TEMPLATE 0x1000u

/* What a master tells its backups, or a backup is told: a connection or a template. */
struct sync_record {
	be32 client[4];
	be32 vip[4];
	be32 dest[4];
	u16 cport; /* host order, all three */
	u16 vport;
	u16 dport;
	u8 proto; /* 0: the template of a mark */
	u8 af;
	u32 flags; /* SYNC_* */
	u32 state;
	u32 fwmark;
	u32 ticks; /* may be silent for */
	u32 service; /* at a backup: found by the control plane */
	u32 real;
};

/* One of the records that a backup takes at once. */
#define SYNC_BATCH 64
enum sync_outcome { SYNC_REFUSED, SYNC_NEW, SYNC_UPDATED };
struct sync_entry {
	struct sync_record record;
	u32 pending;
	u32 outcome; /* enum sync_outcome */
};

/* A connection that was cut: what its two ends are addressed by, and from. */
#define CUT_BATCH 4096
struct cut_record {
	be32 client[4];
	be32 vip[4];
	be32 real[4];
	be32 source[4]; /* that the real knows its client by */
	be16 client_port;
	be16 vip_port;
	be16 real_port;
	be16 source_port;
	u8 client_af; /* 0: nobody is to be told */
	u8 real_af;
	u8 spare[6];
};
