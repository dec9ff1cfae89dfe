/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Outer headers of IPVS's tunnels: IPIP (RFC 2003, 2473, 4213), GUE (draft-ietf-intarea-gue) and
 * GRE (RFC 2784), as the kernel's IPVS sends them.
 */
#pragma once
#include "rewrite.h"

#define GUE_PORT_FIRST 32768u /* ip_local_port_range's default, as udp_flow_src_port() takes */
#define GUE_PORTS 28232u
#define GUE_REMCSUM htonl(0x80000000) /* in the private flags: GUE_PFLAG_REMCSUM */
#define GRE_CSUM htons(0x8000)

struct gue {
	u8 hlen; /* version, control bit and the options' length in words */
	u8 proto;
	be16 flags;
};

struct gue_remcsum {
	be32 flags;
	be16 start;
	be16 offset;
};

struct gre {
	be16 flags;
	be16 proto;
};

/* What the tunnel adds, after the outer IP header. */
static __always_inline u32 tunnel_size(u32 word)
{
	switch (WORD_TUNNEL(word)) {
	case TUNNEL_GUE:
		return sizeof(struct udphdr) + sizeof(struct gue) +
		       (word & WORD_REMCSUM ? sizeof(struct gue_remcsum) : 0);
	case TUNNEL_GRE:
		return sizeof(struct gre) + (word & WORD_CSUM ? 4 : 0);
	default:
		return 0;
	}
}

static __always_inline be16 ethertype(u8 af)
{
	return af == 4 ? htons(ETH_P_IP) : htons(ETH_P_IPV6);
}

/* What TOS, TTL and length of a plain packet say to its outer header; its TTL is final already. */
static __always_inline void outer_of(const void *l3, const u8 af, struct outer *o, u32 pmtu_disc)
{
	if (af == 4) {
		const struct iphdr *ip = l3;

		o->tos = ip->tos;
		o->ttl = ip->ttl;
		o->inner_len = ntohs(ip->tot_len);
		o->frag_off = pmtu_disc ? ip->frag_off & htons(IP_DF) : 0;
	} else {
		const struct ip6hdr *ip = l3;

		o->tos = ntohl(ip->ver_tc_flow) >> 20;
		o->ttl = ip->hop_limit;
		o->inner_len = ntohs(ip->payload_len) + 40;
		o->frag_off = 0; /* what is too big was told so before (ip_vs_prepare_tunneled_skb()) */
	}
	o->inner_af = af;
}

/*
 * The sum of a plain TCP or UDP packet's words, without reading its payload: a correct header sums
 * up to nothing, a transport to what its pseudo header is short of that. *left*: the transport's
 * checksum where it is left to the receiver (the field then holds the pseudo header's sum), or
 * NOT_LEFT.
 */
#define NOT_LEFT 0x10000u
static __always_inline u64 inner_sum(const void *l3, const u8 af, u16 pseudo, u32 left)
{
	u16 sum = left == NOT_LEFT ? ~pseudo : ~left;

	return af == 4 ? sum : sum_words(l3, 10) + sum;
}

static __always_inline u16 spread_port(u32 spread)
{
	return GUE_PORT_FIRST + ((u64)(u32)mix(spread + 1) * GUE_PORTS >> 32);
}

static __always_inline void write_outer_ip4(struct iphdr *ip, const struct outer *o, u32 payload)
{
	u64 sum;

	ip->ver_ihl = 0x45;
	ip->tos = o->tos;
	ip->tot_len = htons(20 + payload);
	/* An identification matters only to what may be cut (RFC 6864). */
	ip->id = o->frag_off ? 0 : prandom_u32();
	ip->frag_off = o->frag_off;
	ip->ttl = o->ttl;
	ip->protocol = o->tunnel == TUNNEL_GUE ? IPPROTO_UDP :
		       o->tunnel == TUNNEL_GRE ? IPPROTO_GRE :
		       o->inner_af == 4	       ? IPPROTO_IPIP :
						 IPPROTO_IPV6;
	ip->check = 0;
	ip->saddr = o->saddr[0];
	ip->daddr = o->daddr[0];
	sum = sum_words((const u32 *)ip, 5);
	ip->check = ~fold16(sum);
}

static __always_inline void write_outer_ip6(struct ip6hdr *ip, const struct outer *o, u32 payload)
{
	ip->ver_tc_flow = htonl(6u << 28 | (u32)o->tos << 20);
	ip->payload_len = htons(payload);
	ip->nexthdr = o->tunnel == TUNNEL_GUE ? IPPROTO_UDP :
		      o->tunnel == TUNNEL_GRE ? IPPROTO_GRE :
		      o->inner_af == 4	      ? IPPROTO_IPIP :
						IPPROTO_IPV6;
	ip->hop_limit = o->ttl;
	__builtin_memcpy(ip->saddr, o->saddr, 16);
	__builtin_memcpy(ip->daddr, o->daddr, 16);
}

static __always_inline void write_gue(struct udphdr *udp, const struct outer *o, const u8 af,
				      const u32 remcsum)
{
	const u32 size = sizeof(*udp) + sizeof(struct gue) +
			 (remcsum ? sizeof(struct gue_remcsum) : 0);
	struct gue *gue = (void *)(udp + 1);
	u32 len = size + o->inner_len;
	u64 sum;
	u16 check;

	udp->sport = htons(spread_port(o->spread));
	udp->dport = o->port;
	udp->len = htons(len);
	udp->check = 0;
	gue->hlen = remcsum ? sizeof(struct gue_remcsum) / 4 : 0;
	gue->proto = o->inner_af == 4 ? IPPROTO_IPIP : IPPROTO_IPV6;
	gue->flags = remcsum ? htons(1) : 0; /* GUE_FLAG_PRIV */
	if (remcsum) {
		struct gue_remcsum *option = (void *)(gue + 1);

		option->flags = GUE_REMCSUM;
		option->start = htons(o->csum_start);
		option->offset = htons(o->csum_at);
	}
	if (!o->csum)
		return;
	sum = o->inner_sum + sum_words((const u32 *)udp, size / 4) + htonl(len) +
	      htonl(IPPROTO_UDP);
	sum += af == 4 ? (u64)o->saddr[0] + o->daddr[0] : sum128(o->saddr) + sum128(o->daddr);
	check = ~fold16(sum);
	udp->check = check ? check : 0xffff;
}

static __always_inline void write_gre(struct gre *gre, const struct outer *o, const u32 csum)
{
	gre->flags = csum ? GRE_CSUM : 0;
	gre->proto = ethertype(o->inner_af);
	if (csum) {
		u32 *check = (void *)(gre + 1);

		*check = 0;
		*(u16 *)check = ~fold16(sum_words((const u32 *)gre, 2) + o->inner_sum);
	}
}

/*
 * Writes the outer headers at *l3*, where there is room for them up to *end*; 0 when there is not.
 */
static __always_inline int write_outer(void *l3, void *end, const struct outer *o, const u8 af)
{
	void *next = l3 + IP_HLEN(af);
	u32 size = 0;

	if (next > end)
		return 0;
	if (o->tunnel == TUNNEL_GUE) {
		size = sizeof(struct udphdr) + sizeof(struct gue);
		if (o->remcsum) {
			size += sizeof(struct gue_remcsum);
			if (next + sizeof(struct udphdr) + sizeof(struct gue) +
				    sizeof(struct gue_remcsum) > end)
				return 0;
			write_gue(next, o, af, 1);
		} else {
			if (next + sizeof(struct udphdr) + sizeof(struct gue) > end)
				return 0;
			write_gue(next, o, af, 0);
		}
	} else if (o->tunnel == TUNNEL_GRE) {
		size = sizeof(struct gre);
		if (o->csum) {
			size += 4;
			if (next + sizeof(struct gre) + 4 > end)
				return 0;
			write_gre(next, o, 1);
		} else {
			if (next + sizeof(struct gre) > end)
				return 0;
			write_gre(next, o, 0);
		}
	}
	if (af == 4)
		write_outer_ip4(l3, o, size + o->inner_len);
	else
		write_outer_ip6(l3, o, size + o->inner_len);
	return 1;
}

/* Outer sources that receivers' queues are spread by, where the outer header has no ports. */
static __always_inline void spread_source(struct outer *o)
{
	struct director *d = director();

	if (!d || !d->tunnel_source || o->tunnel == TUNNEL_GUE)
		return;
	if (o->af == 4) {
		o->saddr[0] = (d->tunnel_source & htonl(0xffff0000)) |
			      htonl((u32)mix(o->spread + 1) & 0xffff);
		return;
	}
	o->saddr[0] = htonl(0x01000000); /* 100::/64, the discard prefix (RFC 6666) */
	o->saddr[1] = o->saddr[2] = 0;
	o->saddr[3] = (u32)mix(o->spread + 1);
}

/* One hop less, in place. */
static __always_inline void age_packet(void *l3, const u8 af)
{
	if (af == 4) {
		struct iphdr *ip = l3;

		ip->ttl -= 1;
		ip->check = csum_apply(ip->check, TTL_DIFF);
	} else {
		((struct ip6hdr *)l3)->hop_limit -= 1;
	}
}
