/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The far end of the tunnels that IPVS opens, for real servers on kernels without ipip, fou and gre.
 *
 * At TC ingress: takes off an outer IPv4 or IPv6 header with what GRE or GUE put behind it, and hands
 * the inner packet up. What is not addressed to a tunnel passes untouched.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define swap16(x) ((u16)__builtin_bswap16(x))

struct __sk_buff {
	u32 len;
};

static long (*load_bytes)(const void *skb, u32 offset, void *to, u32 len) = (void *)26;
static long (*store_bytes)(void *skb, u32 offset, const void *from, u32 len, u64 flags) = (void *)9;
static long (*adjust_room)(void *skb, int len_diff, u32 mode, u64 flags) = (void *)50;

enum { TCX_NEXT = -1, SHOT = 2 };
enum { ETHERNET = 14, IN_MAC = 1 };
enum { FIXED_GSO = 1 << 0, DECAP_IPV4 = 1 << 7, DECAP_IPV6 = 1 << 8 };
enum { IPIP = 4, UDP = 17, IP6IP = 41, GRE = 47 };
enum { MOST = 1024 }; /* 16-bit words of a payload whose checksum was left to us */

const volatile u16 gue_port = 6080;

struct remote_checksum {
	u16 start;
	u16 offset;
};

/* GUE: the whole header's length, 0 for what it is not; the inner protocol and checksum beside it. */
static u32 gue(struct __sk_buff *skb, u32 at, u8 *inner, struct remote_checksum *left)
{
	u8 head[4];
	u16 port;
	u32 private;

	if (load_bytes(skb, at + 2, &port, 2) || swap16(port) != gue_port)
		return 0;
	if (load_bytes(skb, at + 8, head, 4))
		return 0;
	if (head[0] & 0xe0) /* version 0, data */
		return 0;
	*inner = head[1];
	if (head[3] & 1) { /* private flags, the first of which is remote checksum offload */
		if (load_bytes(skb, at + 12, &private, 4))
			return 0;
		if (__builtin_bswap32(private) & 0x80000000 && load_bytes(skb, at + 16, left, 4))
			return 0;
	}
	return 8 + 4 + (head[0] & 0x1f) * 4;
}

static u32 gre(struct __sk_buff *skb, u32 at, u8 *inner)
{
	u16 head[2];

	if (load_bytes(skb, at, head, 4))
		return 0;
	if (swap16(head[0]) & ~0x8000) /* nothing but a checksum */
		return 0;
	if (swap16(head[1]) == 0x0800)
		*inner = IPIP;
	else if (swap16(head[1]) == 0x86dd)
		*inner = IP6IP;
	else
		return 0;
	return swap16(head[0]) & 0x8000 ? 8 : 4;
}

static int finish(struct __sk_buff *skb, u32 start, u32 offset)
{
	u64 sum = 0;
	u16 word;
	u8 last;
	u32 at = start;

	for (u32 number = 0; number < MOST; number++) {
		if (at + 2 > skb->len)
			break;
		if (load_bytes(skb, at, &word, 2))
			return SHOT;
		sum += word;
		at += 2;
	}
	if (at + 1 == skb->len) {
		if (load_bytes(skb, at, &last, 1))
			return SHOT;
		sum += last; /* padded with a zero behind it; little endian */
		at++;
	}
	if (at != skb->len)
		return SHOT;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	word = (u16)~sum;
	return store_bytes(skb, offset, &word, 2, 0) ? SHOT : TCX_NEXT;
}

SEC("tc")
int tunnel_end(struct __sk_buff *skb)
{
	struct remote_checksum left = {0, 0};
	u8 first, proto, inner;
	u32 outer, behind = 0;

	if (load_bytes(skb, ETHERNET, &first, 1))
		return TCX_NEXT;
	if (first >> 4 == 4) {
		outer = (first & 15) * 4;
		if (load_bytes(skb, ETHERNET + 9, &proto, 1))
			return TCX_NEXT;
	} else if (first >> 4 == 6) {
		outer = 40;
		if (load_bytes(skb, ETHERNET + 6, &proto, 1))
			return TCX_NEXT;
	} else {
		return TCX_NEXT;
	}
	inner = proto;
	if (proto == UDP)
		behind = gue(skb, ETHERNET + outer, &inner, &left);
	else if (proto == GRE)
		behind = gre(skb, ETHERNET + outer, &inner);
	if ((proto == UDP || proto == GRE) && !behind)
		return TCX_NEXT;
	if (inner != IPIP && inner != IP6IP)
		return TCX_NEXT;
	if (adjust_room(skb, -(int)(outer + behind), IN_MAC,
			FIXED_GSO | (inner == IPIP ? DECAP_IPV4 : DECAP_IPV6)))
		return SHOT;
	if (left.offset)
		return finish(skb, ETHERNET + swap16(left.start), ETHERNET + swap16(left.offset));
	return TCX_NEXT;
}

char _license[] SEC("license") = "Dual BSD/GPL";
