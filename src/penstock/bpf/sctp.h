/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * SCTP's checksum (CRC-32C, RFC 9260 appendix A) after a change of ports, from the change alone:
 * a CRC is linear, so what the ports' difference adds to it is the difference times x^(8n), n the
 * bytes from the ports to the packet's end. Addresses are not in it.
 */
#pragma once
#include "scratch.h"

#define CRC32C 0x82f63b78u /* the polynomial, reflected */
#define SCTP_CHECK 8 /* offset of the checksum */

/* x^(8 * 2^i) modulo the polynomial, reflected: i squarings of x^8. */
static const u32 crc_powers[16] = {
	0x00800000, 0x00008000, 0x82f63b78, 0x6ea2d55c,
	0x18b8ea18, 0x510ac59a, 0xb82be955, 0xb8fdb1e7,
	0x88e56f72, 0x74c360a4, 0xe4172b16, 0x0d65762a,
	0x35d73a62, 0x28461564, 0xbf455269, 0xe2ea32dc,
};

/* The product of two polynomials, reflected, modulo CRC-32C's. */
__noinline u32 crc_times(u32 a, u32 b)
{
	u32 product = 0;

	for (int i = 0; i < 32; i++) {
		if (a & 0x80000000)
			product ^= b;
		a <<= 1;
		b = b >> 1 ^ (b & 1 ? CRC32C : 0);
	}
	return product;
}

/* *change*: the old ports XOR the new ones as they lie in the packet. Returns 0, or 1. */
__noinline int sctp_ports_changed(struct __sk_buff *skb, u32 l4, u32 change)
{
	struct scratch *s = scratch();
	u32 len, check, delta = change;

	if (!s)
		return 1;
	if (!change)
		return 0;
	if (l4 > 1024 || skb_load_bytes(skb, l4 + SCTP_CHECK, &check, 4))
		return 1;
	if (!check)
		return 0; /* left to the sender's device */
	len = s->layout.end - l4;
	for (int i = 0; i < 16; i++)
		if (len >> i & 1)
			delta = crc_times(delta, crc_powers[i]);
	check ^= delta;
	return skb_store_bytes(skb, l4 + SCTP_CHECK, &check, 4, F_RECOMPUTE_CSUM) != 0;
}
