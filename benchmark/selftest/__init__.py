"""Whether this installation works: doctor, one convolution, one known prediction, the demo. Imported by the command line."""
