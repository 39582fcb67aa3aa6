"""How long stages take, relative to reference kernels, and the regression gate. Imported by `capacity` and everything above."""
