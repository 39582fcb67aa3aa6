"""How to run, never what to compute: settings, units, log format. Imported by the API and by command lines."""
