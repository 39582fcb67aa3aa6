"""Frames of a sequence -> inputs of networks, the same for predicting and for training. Imported by `execution` and by `models`."""
