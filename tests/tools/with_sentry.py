"""The shop with Sentry, started before the application is made, as Sentry's documentation says."""

import os

import sentry_sdk

sentry_sdk.init(dsn=os.environ["SENTRY_DSN"], traces_sample_rate=1.0)

from tests.tools.shop import app, jobs  # noqa: E402

__all__ = ["app", "jobs"]
