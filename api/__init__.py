"""The example's web side: `qrsocket serve api.main:app`."""
