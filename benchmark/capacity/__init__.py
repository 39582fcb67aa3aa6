"""Whether a workload fits: workloads, device profiles, rates, projections.

May be imported by `cli`, `studies`, `ablation`, `selftest`, `charts`.
"""
