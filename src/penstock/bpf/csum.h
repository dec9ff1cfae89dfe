/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Ones' complement sums (RFC 1071) and their incremental update (RFC 1624, equation 3). */
#pragma once
#include "kernel.h"

/* What replacing one 32-bit word by another adds to a sum. */
static __always_inline u64 diff32(be32 from, be32 to)
{
	return (u64)(u32)~from + to;
}

static __always_inline u64 diff128(const be32 *from, const be32 *to)
{
	return diff32(from[0], to[0]) + diff32(from[1], to[1]) + diff32(from[2], to[2]) +
	       diff32(from[3], to[3]);
}

static __always_inline u64 sum128(const be32 *w)
{
	return (u64)w[0] + w[1] + w[2] + w[3];
}

static __always_inline u32 fold32(u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	return sum;
}

static __always_inline u16 fold16(u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* A checksum field after *diff* has been added to what it covers. */
static __always_inline u16 csum_apply(u16 check, u64 diff)
{
	return ~fold16((u64)(u16)~check + fold32(diff));
}

static __always_inline u64 sum_words(const u32 *w, const u32 count)
{
	u64 sum = 0;

	for (u32 i = 0; i < count; i++)
		sum += w[i];
	return sum;
}

/* What taking words out adds to a sum. */
static __always_inline u64 minus_words(const u32 *w, const u32 count)
{
	u64 sum = 0;

	for (u32 i = 0; i < count; i++)
		sum += (u32)~w[i];
	return sum;
}

/*
 * Where the network card has summed up the whole packet (CHECKSUM_COMPLETE), that sum has to follow
 * what is not made up for by a checksum inside, or the receiving stack logs a hardware failure.
 */
static __always_inline void whole_sum_changes(struct __sk_buff *skb, u64 diff)
{
	csum_update(skb, fold32(diff));
}

/* One less in the hop limit, which no checksum covers. */
#define HOP_LIMIT_DIFF ((u64)(u32)~htons(1))

/* One less in the TTL: the difference of the 16-bit word that it is the upper half of. */
#define TTL_DIFF ((u64)htons(0xfeff))
