/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Summing packets up by reading them, for what cannot be known from their headers. */
#pragma once
#include "scratch.h"
#include "csum.h"

#define SUM_CHUNKS 160 /* of 64 bytes: jumbo frames */

/* The sum of up to 64 bytes of the packet from *at* on; those from *end* on count as nothing. */
__noinline u32 sum_chunk(struct __sk_buff *skb, u32 at, u32 end)
{
	struct scratch *s = scratch();
	u32 n = end - at;

	if (!s || at >= end)
		return 0;
	if (n > sizeof(s->bytes))
		n = sizeof(s->bytes);
	__builtin_memset(s->bytes, 0, sizeof(s->bytes));
	n -= 1;
	opaque(n);
	n = (n & 63) + 1; /* as the verifier has to see it */
	if (skb_load_bytes(skb, at, s->bytes, n))
		return 0;
	return fold32(sum_words((const u32 *)s->bytes, sizeof(s->bytes) / 4));
}

/*
 * The folded sum of the IP packet's *len* bytes, for what cannot be known without reading. What pads
 * the frame behind them need not be zeros.
 */
__noinline u32 sum_packet(struct __sk_buff *skb, u32 len)
{
	u64 sum = 0;

	for (u32 i = 0; i < SUM_CHUNKS; i++)
		sum += sum_chunk(skb, ETH_LEN + i * 64, ETH_LEN + len);
	return fold32(sum);
}
