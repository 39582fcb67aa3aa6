"""A block of sequences -> its records: the job, the worker that does it, the deadline policy. Imported by `run`."""
