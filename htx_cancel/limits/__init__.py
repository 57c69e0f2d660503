"""The exchange's rate limits: who may send a request, and when.

``limiter`` is the queue before all budgets of a UID, ``queue`` its waiters and forecasts,
``budget`` the ledger of one limit, ``permit`` the leave to send one request, and ``reconnect``
paces the attempts to reach an exchange that cannot be reached.
"""
