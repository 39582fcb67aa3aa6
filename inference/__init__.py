"""Makes predictions: photos and a model bundle go in, `submission.csv` comes out."""
