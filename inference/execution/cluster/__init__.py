"""Many workers on many machines: the blocks that each computes, and the records of all in order.

May be imported by `cli`, `api`, `run`, `benchmark`.
"""
