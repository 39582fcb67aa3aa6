"""One question a module, one committed file of figures each.

May be imported by `cli`.
"""
