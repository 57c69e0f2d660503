"""Grant requests within the exchange's rate limits.

``limiter`` is the queue for all budgets of a UID, ``queue`` its waiters and forecasts, ``budget``
the tokens of one limit, ``permit`` the permission to send one request, and ``reconnect`` paces the
attempts to connect while the exchange cannot be reached.
"""
