# SPDX-License-Identifier: Apache-2.0
"""IPVS rules: virtual services and destinations as ``ipvsadm`` makes them. Pure, save the journal.

IPVS says "destination" where the rest of penstock says real server; in here its words are kept,
because every listing, message and formula below is stated in them.
"""
