"""Values for the two credentials where the environment has none, so that a plain `pytest` runs."""

from __future__ import annotations

import os

os.environ.setdefault("BILLING_KEY", "billing-key-of-the-example")
os.environ.setdefault("REPORTS_TOKEN", "reports-token-of-the-example")
