"""The example's jobs: what takes too long for a web request, and what happens every minute."""
