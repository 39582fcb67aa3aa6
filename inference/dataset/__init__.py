"""Which sequences there are: metadata, label tables, camera folders, bursts, the input check. Imported by every room that handles sequences."""
