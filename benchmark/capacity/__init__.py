"""Whether a workload fits: workloads, device profiles, rates, projections. Imported by `charts`, studies and the command line."""
