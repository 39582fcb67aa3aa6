"""An ensemble, a network, a schedule as data; cheap to import. Imported by every room of `models`."""
