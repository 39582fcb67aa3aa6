"""Makes model bundles: networks and boosters go in, a verified bundle comes out."""
