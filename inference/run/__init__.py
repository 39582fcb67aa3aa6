"""The order of things: resume, photos to records, records to submission, merge, plan. The only room that knows it; imported by the API, the command line and the packages above."""
