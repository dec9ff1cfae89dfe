/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What one function tells the next about a packet, and room for it beyond the 512-byte stack. */
#pragma once
#include "flow.h"

/* What the general parser finds; offsets are from the start of the frame. */
struct layout {
	u32 l4;
	u32 end; /* of what the headers claim */
	u32 proto;
	u32 fragment; /* FRAGMENT_* */
	be32 id;
};

enum { FRAGMENT_NONE, FRAGMENT_FIRST, FRAGMENT_LATER };

/* What a packet's addresses and ports become. */
struct target {
	be32 saddr[4];
	be32 daddr[4];
	be16 sport;
	be16 dport;
};

enum hop_kind { HOP_NONE, HOP_LOCAL, HOP_NEIGHBOUR };

struct hop {
	be32 src[4];
	be32 dst[4]; /* in: the packet's new destination; out: the next hop */
	be16 sport;
	be16 dport;
	u8 af; /* in: of the addresses; out: of the next hop */
	u8 proto;
	u16 port;
	u32 kind;
	u32 ifindex;
	u32 mtu;
	u8 dmac[6];
	u8 complete; /* dmac is known */
	u8 direct; /* in: where the packet goes is not what it says */
	u8 or_host; /* in: without a route it is the host's (a local route to a whole network) */
};

/* Of a SYN or FIN: where its sender's sequence numbers and clock are. */
struct stamp {
	u32 seq; /* the one after the segment */
	u32 ack;
	u32 timestamp; /* 0: none */
};

/* What an outer header is made of. */
struct outer {
	be32 saddr[4];
	be32 daddr[4];
	u64 inner_sum; /* of the inner packet's words */
	u32 spread; /* what receivers' queues are chosen by */
	u16 inner_len;
	be16 frag_off;
	be16 port; /* GUE's */
	u16 csum_start; /* remote checksum offload: where, in the inner packet */
	u16 csum_at;
	u8 af;
	u8 inner_af;
	u8 tunnel;
	u8 csum;
	u8 remcsum;
	u8 tos;
	u8 ttl;
	u8 zero;
};

/* Programs on one CPU do not interrupt each other, so one a CPU is enough. */
struct scratch {
	struct request request;
	struct layout layout;
	struct target target;
	struct hop hop;
	struct fragment_key fragment;
	struct key back;
	struct rewrite to;
	struct rewrite from;
	struct stamp stamp;
	struct outer outer;
	struct cache_key cached; /* lblcr's */
	u32 service; /* that a new flow is for */
	u32 tracked; /* table that its source is counted in; 0: none */
	u32 turned; /* enum turned, when rules refused it */
	u8 tcp_options[40];
	u8 packet[112];
	u8 bytes[64]; /* of a packet that has to be summed up */
};
PERCPU_MAP(scratches, 1, u32, struct scratch);

static __always_inline struct scratch *scratch(void)
{
	u32 zero = 0;

	return map_lookup(&scratches, &zero);
}
