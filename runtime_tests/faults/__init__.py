"""The promises of RELIABILITY: each a test, with a positive control that shows it can fail."""
