/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Reading packets: the plain kind by direct access, for both hooks; every other kind for TC. */
#pragma once
#include "conn.h"

enum hook { HOOK_XDP, HOOK_TC };

#define IP_HLEN(af) ((af) == 4 ? 20 : 40)
#define L4_OFFSET(af) (ETH_LEN + IP_HLEN(af))

static __always_inline void *packet(void *ctx, const enum hook hook)
{
	return hook == HOOK_XDP ? (void *)(long)((struct xdp_md *)ctx)->data :
				  (void *)(long)((struct __sk_buff *)ctx)->data;
}

static __always_inline void *packet_end(void *ctx, const enum hook hook)
{
	return hook == HOOK_XDP ? (void *)(long)((struct xdp_md *)ctx)->data_end :
				  (void *)(long)((struct __sk_buff *)ctx)->data_end;
}

/*
 * A packet without IP options, extension headers or fragments: 1 and the request filled in, else
 * 0. Lengths are those the headers claim and the packet has.
 */
static __always_inline int parse_plain(void *ctx, const enum hook hook, const u8 af,
				       struct request *q)
{
	void *data = packet(ctx, hook), *end = packet_end(ctx, hook);
	u32 have = hook == HOOK_XDP ? end - data : ((struct __sk_buff *)ctx)->len;
	u32 claimed;
	struct udphdr *ports;
	u8 proto;

	if (data + L4_OFFSET(af) + sizeof(struct udphdr) > end)
		return 0;
	if (af == 4) {
		struct iphdr *ip = data + ETH_LEN;

		if (ip->ver_ihl != 0x45 || ip->frag_off & htons(IP_MF | IP_OFFSET))
			return 0;
		proto = ip->protocol;
		claimed = ntohs(ip->tot_len);
		q->key.saddr[0] = ip->saddr;
		q->key.daddr[0] = ip->daddr;
	} else {
		struct ip6hdr *ip = data + ETH_LEN;

		if ((ip->ver_tc_flow & htonl(0xf0000000)) != htonl(0x60000000))
			return 0;
		proto = ip->nexthdr;
		claimed = ntohs(ip->payload_len) + 40;
		__builtin_memcpy(q->key.saddr, ip->saddr, 16);
		__builtin_memcpy(q->key.daddr, ip->daddr, 16);
	}
	/* BIG TCP leaves the length zero (RFC 2675 jumbograms, and Linux's IPv4 twin). */
	if (claimed + ETH_LEN > have ||
	    (hook == HOOK_TC && ((struct __sk_buff *)ctx)->gso_size ?
		     0 :
		     claimed < IP_HLEN(af) + (proto == IPPROTO_TCP ? 20 : 8)))
		return 0;
	ports = data + L4_OFFSET(af);
	q->key.sport = ports->sport;
	q->key.dport = ports->dport;
	q->key.proto = proto;
	q->key.af = af;
	if (proto == IPPROTO_TCP) {
		struct tcphdr *tcp = (void *)ports;

		if ((void *)(tcp + 1) > end || tcp->doff >> 4 < 5)
			return 0;
		q->tcp_flags = tcp->flags;
		return 1;
	}
	q->tcp_flags = 0;
	return proto == IPPROTO_UDP;
}

#define TCP_OPTION_END 0
#define TCP_OPTION_NOP 1
#define TCP_OPTION_TIMESTAMP 8

/*
 * Looks at the option in scratch that is at *at* for RFC 7323's timestamp: where the next one is, or
 * 0 when there is no need. A function of its own: the verifier then follows one unknown offset
 * through the loop, and not every way to have come to it.
 */
__noinline u32 next_option(u32 at, u32 len)
{
	struct scratch *s = scratch();
	const u8 *o;

	if (!s || at >= len || at > sizeof(s->tcp_options) - 10)
		return 0;
	o = &s->tcp_options[at];
	if (o[0] == TCP_OPTION_NOP)
		return at + 1;
	if (o[0] == TCP_OPTION_TIMESTAMP)
		s->stamp.timestamp = (u32)o[2] << 24 | o[3] << 16 | o[4] << 8 | o[5];
	if (o[0] == TCP_OPTION_END || o[0] == TCP_OPTION_TIMESTAMP || o[1] < 2)
		return 0;
	return at + o[1];
}

/* Sets scratch->stamp to that of a SYN or FIN. Returns 0. */
__noinline u32 read_stamp(struct __sk_buff *skb, u32 af, u32 l4)
{
	struct scratch *s = scratch();
	struct tcphdr tcp;
	be16 claimed;
	u32 len, end, at = 0;

	if (!s)
		return 0;
	s->stamp.seq = s->stamp.ack = s->stamp.timestamp = 0;
	if (l4 > 1024 || skb_load_bytes(skb, l4, &tcp, sizeof(tcp)) ||
	    skb_load_bytes(skb, ETH_LEN + (af == 4 ? 2 : 4), &claimed, sizeof(claimed)))
		return 0;
	end = skb->gso_size ? skb->len : ETH_LEN + ntohs(claimed) + (af == 4 ? 0 : 40);
	len = (tcp.doff >> 4) * 4;
	s->stamp.seq = ntohl(tcp.seq) + (end - l4 - len) + 1;
	s->stamp.ack = ntohl(tcp.ack);
	if (len <= sizeof(tcp))
		return 0;
	len -= sizeof(tcp);
	if (len > sizeof(s->tcp_options) ||
	    skb_load_bytes(skb, l4 + sizeof(tcp), s->tcp_options, len))
		return 0;
	for (int i = 0; i < sizeof(s->tcp_options); i++) {
		at = next_option(at, len);
		if (!at)
			break;
	}
	return 0;
}

#define MAX_EXTENSIONS 6
#define NEXTHDR_HOP 0
#define NEXTHDR_ROUTING 43
#define NEXTHDR_FRAGMENT 44
#define NEXTHDR_DEST 60
#define NEXTHDR_NONE 59

/* Fills addresses, layout and, when the packet has them, ports. 0, or the reason to let it pass. */
static __always_inline u32 parse_ip4(struct __sk_buff *skb, struct request *q, struct layout *l)
{
	struct iphdr ip;
	u16 frag;

	if (skb_load_bytes(skb, ETH_LEN, &ip, sizeof(ip)))
		return PASS_MALFORMED;
	if (ip.ver_ihl < 0x45 || ip.ver_ihl > 0x4f)
		return PASS_MALFORMED;
	frag = ntohs(ip.frag_off);
	l->l4 = ETH_LEN + (ip.ver_ihl & 15) * 4;
	l->proto = ip.protocol;
	l->id = ip.id;
	l->fragment = frag & IP_OFFSET ? FRAGMENT_LATER : frag & IP_MF ? FRAGMENT_FIRST : 0;
	q->key.saddr[0] = ip.saddr;
	q->key.daddr[0] = ip.daddr;
	l->end = skb->gso_size ? skb->len : ETH_LEN + ntohs(ip.tot_len);
	return l->l4 > l->end || l->end > skb->len ? PASS_MALFORMED : 0;
}

static __always_inline u32 parse_ip6(struct __sk_buff *skb, struct request *q, struct layout *l)
{
	struct ip6hdr ip;
	struct {
		u8 next;
		u8 len;
		be16 frag_off;
		be32 id;
	} ext;

	if (skb_load_bytes(skb, ETH_LEN, &ip, sizeof(ip)))
		return PASS_MALFORMED;
	if ((ip.ver_tc_flow & htonl(0xf0000000)) != htonl(0x60000000))
		return PASS_MALFORMED;
	l->end = skb->gso_size ? skb->len : ETH_LEN + 40 + ntohs(ip.payload_len);
	if (l->end > skb->len)
		return PASS_MALFORMED;
	__builtin_memcpy(q->key.saddr, ip.saddr, 16);
	__builtin_memcpy(q->key.daddr, ip.daddr, 16);
	l->proto = ip.nexthdr;
	l->l4 = ETH_LEN + 40;
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		if (l->proto != NEXTHDR_HOP && l->proto != NEXTHDR_ROUTING &&
		    l->proto != NEXTHDR_DEST && l->proto != NEXTHDR_FRAGMENT)
			return 0;
		if (l->l4 > 512 || l->l4 + sizeof(ext) > l->end ||
		    skb_load_bytes(skb, l->l4, &ext, sizeof(ext)))
			return PASS_MALFORMED;
		if (l->proto == NEXTHDR_FRAGMENT) {
			l->id = ext.id;
			l->fragment = ntohs(ext.frag_off) & 0xfff8 ? FRAGMENT_LATER :
				      ntohs(ext.frag_off) & 1	   ? FRAGMENT_FIRST :
								     FRAGMENT_NONE;
			l->l4 += 8;
			l->proto = ext.next;
			if (l->fragment == FRAGMENT_LATER)
				return 0;
			continue;
		}
		/* A routing header with segments left is for the host, not for a service. */
		if (l->proto == NEXTHDR_ROUTING && (ext.frag_off & htons(0x00ff)))
			return PASS_EXTENSION_HEADER;
		l->l4 += (ext.len + 1) * 8;
		l->proto = ext.next;
	}
	return PASS_EXTENSION_HEADER;
}

#define SCTP_HEAD 16 /* the common header and a chunk's (RFC 9260) */
#define SCTP_CHUNK_ABORT 6

/* What a packet's first chunk does to its association; an ABORT behind a cookie counts first. */
static __always_inline u32 sctp_event(struct __sk_buff *skb, u32 at)
{
	/* Four bits each by chunk type: DATA, INIT, INIT ACK, SACK, HEARTBEAT, … */
	const u64 events = 0x700438659000210ULL;
	struct {
		u8 type;
		u8 flags;
		be16 len;
	} chunk;
	u8 type;

	if (skb_load_bytes(skb, at, &chunk, sizeof(chunk)))
		return SCTP_DATA;
	type = chunk.type;
	if (type == 10 || type == 11) { /* COOKIE ECHO, COOKIE ACK */
		at += (ntohs(chunk.len) + 3) & ~3u;
		if (!skb_load_bytes(skb, at, &chunk, sizeof(chunk)) &&
		    chunk.type == SCTP_CHUNK_ABORT)
			type = SCTP_CHUNK_ABORT;
	}
	return type < 15 ? events >> type * 4 & 15 : SCTP_DATA;
}

static __always_inline u32 parse_any(struct __sk_buff *skb, const u8 af, struct request *q,
				     struct layout *l)
{
	u32 why = af == 4 ? parse_ip4(skb, q, l) : parse_ip6(skb, q, l);
	struct tcphdr tcp;

	if (why)
		return why;
	q->key.af = af;
	q->key.proto = l->proto;
	if (l->fragment == FRAGMENT_LATER ||
	    (l->proto != IPPROTO_TCP && l->proto != IPPROTO_UDP && l->proto != IPPROTO_SCTP))
		return 0;
	if (l->l4 + (l->proto == IPPROTO_UDP ? sizeof(struct udphdr) :
		     l->proto == IPPROTO_TCP ? sizeof(tcp) : SCTP_HEAD) > l->end)
		return PASS_MALFORMED;
	if (l->l4 > 1024)
		return PASS_EXTENSION_HEADER;
	if (l->proto == IPPROTO_TCP) {
		if (skb_load_bytes(skb, l->l4, &tcp, sizeof(tcp)) || tcp.doff >> 4 < 5)
			return PASS_MALFORMED;
		q->tcp_flags = tcp.flags;
	} else if (skb_load_bytes(skb, l->l4, &tcp, sizeof(struct udphdr))) {
		return PASS_MALFORMED;
	} else if (l->proto == IPPROTO_SCTP) {
		q->tcp_flags = sctp_event(skb, l->l4 + 12);
	}
	q->key.sport = tcp.sport;
	q->key.dport = tcp.dport;
	return 0;
}
