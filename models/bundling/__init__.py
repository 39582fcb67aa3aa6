"""Makes, verifies and packs bundles. Imported by the command line and by `benchmark`."""
