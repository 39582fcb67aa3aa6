"""What every other room uses: labels, errors with exit codes, choices, sequences, atomic files. Imports no other room."""
