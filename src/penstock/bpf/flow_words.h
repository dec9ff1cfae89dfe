/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The words in which flows are spoken of: control bits, ages, keys, and what a packet asks for. */
#pragma once
#include "maps.h"

#define CTL_STATE 3u
#define SLOT_FREE 0u
#define SLOT_BUSY 1u
#define SLOT_LIVE 2u
#define CTL_REVERSE 0x4u
#define CTL_UDP 0x8u
#define CTL_COUNTED 0x10u /* this (forward) slot is in the live counts */
#define CTL_REPLIED 0x20u
#define CTL_FIN_CLIENT 0x40u
#define CTL_FIN_REAL 0x80u
#define CTL_CLOSED 0x100u /* finished; still translates what comes late */
#define CTL_CROSS 0x200u /* the other direction is of the other family */
#define CTL_REAL_WAITS 0x400u /* reverse: the real sent FIN first, so TIME_WAIT is with it */
#define CTL_STAMPED 0x800u /* reverse: closing is a timestamp, not a sequence number */
/*
 * Nothing is forwarded, and what comes is answered with a reset: both directions were cut; or this is
 * the reverse one, its client went on, and the real's TIME_WAIT holds the port.
 */
#define CTL_PARTED 0x1000u
#define CTL_INACTIVE 0x400u /* IPVS, forward: one of the inactive connections */
#define CTL_IPVS 0x2000u
#define CTL_SCTP 0x4000u
#define CTL_ONEWAY 0x8000u /* IPVS, forward: the real answers past us, there is no other direction */
#define CTL_LIFE_SHIFT 16
#define CTL_PROTO (CTL_UDP | CTL_SCTP)

#define HOP_RANGE 32
#define NO_SLOT 0xffffffffu
#define NO_TICK 0xffffffffu
#define TICKS(seconds) ((u32)((seconds) * 1000000000ULL >> 26))
#define EVICT_AGE TICKS(2)
#define EVICT_UDP_AGE TICKS(10)
#define EVICT_SYN_AGE TICKS(3) /* past the client's second SYN (RFC 6298: 1 s, then 2 s) */
#define CLOSED_AGE TICKS(60) /* the real's TIME_WAIT (Linux: 60 s) */

struct key {
	be32 saddr[4];
	be32 daddr[4];
	be16 sport;
	be16 dport;
	u8 proto;
	u8 af; /* 4 or 6 */
	u16 zero;
};

struct rewrite {
	be32 saddr[4];
	be32 daddr[4];
	be16 sport;
	be16 dport;
	u32 ctl;
	u32 real;
	u32 service;
	u32 peer;
	u32 word;
	u32 table;
};

/* A packet that may open a flow, without access to the packet itself. */
struct request {
	struct key key;
	u32 ifindex;
	u32 tcp_flags; /* SCTP: enum sctp_event */
	u32 mark;
};

static __always_inline struct flow *flow_at(const u8 af, u32 slot)
{
	return af == 4 ? map_lookup(&flows4, &slot) : map_lookup(&flows6, &slot);
}

static __always_inline u64 *begun_at(u32 af, u32 slot)
{
	return af == 4 ? map_lookup(&begun4, &slot) : map_lookup(&begun6, &slot);
}

static __always_inline u32 ctl_of_proto(u8 proto)
{
	return proto == IPPROTO_UDP ? CTL_UDP : proto == IPPROTO_SCTP ? CTL_SCTP : 0;
}

static __always_inline u8 proto_of(u32 ctl)
{
	return ctl & CTL_UDP ? IPPROTO_UDP : ctl & CTL_SCTP ? IPPROTO_SCTP : IPPROTO_TCP;
}
