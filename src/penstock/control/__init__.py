# SPDX-License-Identifier: Apache-2.0
"""The running state and who changes it: ``controller`` owns it, the rest is what it is made of.

What is configured, edited, overridden and measured becomes what is ``desired``; ``plan`` and
``reconcile`` bring the engines there.
"""
