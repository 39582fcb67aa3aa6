"""The order of things: resume, photos to records, records to submission, merge, plan. The only room that knows it.

May be imported by `cli`, `api`, `models`, `benchmark`.
"""
