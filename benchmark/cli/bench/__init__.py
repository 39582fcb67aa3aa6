"""The group of sub-commands `hakuna bench`."""
