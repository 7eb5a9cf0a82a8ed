"""The example's web side: `uvicorn api.main:app`."""
