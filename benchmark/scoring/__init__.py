"""How good a submission is: log loss, bootstrap, calibration, temperature, strata. Imported by `report`, `rehearsal` and everything above."""
