"""What a trading desk asks of a client that cancels orders, measured beside ccxt and aiohttp.

``python -m benchmarks`` runs all of it, ``python -m benchmarks NAME ...`` some. There is a module
for each question: ``pull``, ``truth``, ``cost``, ``loop``, ``limiters`` and ``trouble``.
"""
