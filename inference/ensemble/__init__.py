"""Records -> probabilities: aggregation, features, neighbourhood, stackers. Sees no photo and no network; imported by `outputs` and `run`."""
