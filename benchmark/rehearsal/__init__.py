"""An entry under the competition's contract, from archive to verdict. Imported by the command line."""
