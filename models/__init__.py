"""Makes model bundles: networks and stackers go in, a verified bundle comes out."""
