"""One question a module, one committed file of figures each. Imported by the command line."""
