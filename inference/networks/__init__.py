"""Inputs -> outputs of networks: one engine a module, batched forward passes, the precision check. Imported by `execution` and `run`."""
