/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What IPVS knows of a connection: its protocol state, and what follows from it. The tables are
 * those of the kernel's IPVS (net/netfilter/ipvs/ip_vs_proto_tcp.c, ip_vs_proto_sctp.c).
 */
#pragma once
#include "flow_words.h"

/* flow.word; the state is in both directions' words, all else in the forward one's only. */
#define WORD_STATE 15u
#define WORD_NO_OUTPUT 0x10u /* no answer was seen, nor is one expected (-g, -i) */
#define WORD_CONTROLLED 0x20u /* a template holds it to its destination */
#define WORD_OTHER_FAMILY 0x40u /* the tunnel's outer header is of the other family */
#define WORD_ONE_PACKET 0x80u
#define WORD_TUNNEL_SHIFT 8 /* enum tunnel, two bits */
#define WORD_CSUM 0x400u /* outer checksum */
#define WORD_REMCSUM 0x800u /* remote checksum offload */
#define WORD_TOLD_SHIFT 12 /* the state that backups were told last */
#define WORD_TOLD (15u << WORD_TOLD_SHIFT)
#define WORD_WAITS 0x10000u /* the client's packets are counted until backups are told */
#define WORD_COUNT_SHIFT 17
#define WORD_COUNT (127u << WORD_COUNT_SHIFT)
#define WORD_SYNCED 0x80000000u /* it came from another director */
#define WORD_TUNNEL(word) ((word) >> WORD_TUNNEL_SHIFT & 3)

#define TCP_S_ESTABLISHED 1
#define TCP_S_SYN_RECV 3
#define TCP_S_FIN_WAIT 4
#define TCP_S_TIME_WAIT 5
#define TCP_S_CLOSE 6
#define TCP_ACTIVE 0x40eu /* ESTABLISHED, SYN_SENT, SYN_RECV, SYNACK */
#define SCTP_S_ESTABLISHED 8
#define SCTP_S_CLOSED 13
#define SCTP_ACTIVE (1u << SCTP_S_ESTABLISHED)

enum sctp_event {
	SCTP_DATA, /* and SACK, HEARTBEAT, whatever changes nothing */
	SCTP_INIT,
	SCTP_INIT_ACK,
	SCTP_COOKIE_ECHO,
	SCTP_COOKIE_ACK,
	SCTP_SHUTDOWN,
	SCTP_SHUTDOWN_ACK,
	SCTP_SHUTDOWN_COMPLETE,
	SCTP_ERROR,
	SCTP_ABORT,
	SCTP_EVENTS,
};

/* A row holds the next state for each state in four bits, state 0 (NONE) in the lowest. */
static const u64 tcp_next[] = {
	/* client */
	0x33333333113, /* SYN */
	0x59876555276, /* FIN */
	0x19676541211, /* ACK */
	0x39866663666, /* RST */
	/* real */
	0x39222223212, /* SYN */
	0x59856545245, /* FIN */
	0x11876541211, /* ACK */
	0x66666566266, /* RST */
	/* client, answered past us */
	0x33333333113, /* SYN */
	0x59876545246, /* FIN */
	0x19676541211, /* ACK */
	0x69866663666, /* RST */
};

static const u64 sctp_next[] = {
	/* client */
	0xdcba9876543218, /* DATA */
	0x22ba9876543221, /* INIT */
	0xdcba9876643555, /* INIT_ACK */
	0xdcba9876544224, /* COOKIE_ECHO */
	0xdcba9886543218, /* COOKIE_ACK */
	0xdcba9a7654321a, /* SHUTDOWN */
	0xdcdad87654322d, /* SHUTDOWN_ACK */
	0xdcda9876543ddd, /* SHUTDOWN_COMPLETE */
	0xdcba98d654321d, /* ERROR */
	0xddddddddcddddd, /* ABORT */
	/* real */
	0xdcba9876543218, /* DATA */
	0x55555855555555, /* INIT */
	0xdcba9876543333, /* INIT_ACK */
	0xdcba9877777777, /* COOKIE_ECHO */
	0xdcba9888888888, /* COOKIE_ACK */
	0xdcba9999999999, /* SHUTDOWN */
	0xdcbbb8765bbbbb, /* SHUTDOWN_ACK */
	0xdcba987654321d, /* SHUTDOWN_COMPLETE */
	0xdcba98765ddddd, /* ERROR */
	0xddddddddddddcd, /* ABORT */
	/* client, answered past us */
	0xdcba9876843218, /* DATA */
	0x22ba9876222221, /* INIT */
	0xdcba9876777777, /* INIT_ACK */
	0xdcba9876888888, /* COOKIE_ECHO */
	0xdcba9888588218, /* COOKIE_ACK */
	0xdcba9a7654321a, /* SHUTDOWN */
	0xdcdadd7654322d, /* SHUTDOWN_ACK */
	0xdcdd98765ddddd, /* SHUTDOWN_COMPLETE */
	0xdcba987654321d, /* ERROR */
	0xddddddddcddddd, /* ABORT */
};

/* Which table: 0 what the client sends, 1 what the real sends, 2 the client's where no answer is seen. */
static __always_inline u32 state_table(u32 word, u32 reverse)
{
	return reverse ? 1 : word & WORD_NO_OUTPUT ? 2 : 0;
}

static __always_inline u32 next_tcp(u32 word, u32 reverse, u32 flags)
{
	u32 row, at;

	if (flags & TCP_RST)
		row = 3;
	else if (flags & TCP_SYN)
		row = 0;
	else if (flags & TCP_FIN)
		row = 1;
	else if (flags & TCP_ACK)
		row = 2;
	else
		return TCP_S_CLOSE;
	at = state_table(word, reverse) * 4 + row;
	return at < sizeof(tcp_next) / 8 ? tcp_next[at] >> (word & WORD_STATE) * 4 & 15 : 0;
}

static __always_inline u32 next_sctp(u32 word, u32 reverse, u32 event)
{
	u32 at = state_table(word, reverse) * SCTP_EVENTS + event;

	return at < sizeof(sctp_next) / 8 ? sctp_next[at] >> (word & WORD_STATE) * 4 & 15 : 0;
}

/* How long a connection may be silent. */
static __always_inline u32 ipvs_ticks(const struct flow *f)
{
	struct director *d = director();
	u32 state = f->word & WORD_STATE;

	if (!d)
		return 0;
	return f->ctl & CTL_UDP ? d->udp : f->ctl & CTL_SCTP ? d->sctp[state] : d->tcp[state];
}

/* The common case, at the cost of a comparison: an acknowledgement within a connection. */
static __always_inline int tcp_state_stays(u32 word, u32 flags)
{
	return (word & (WORD_STATE | WORD_WAITS)) == TCP_S_ESTABLISHED &&
	       (flags & (TCP_SYN | TCP_FIN | TCP_RST | TCP_ACK)) == TCP_ACK;
}
