"""Benchmarks that compare htx_cancel with ccxt, aiohttp and other rate limiters.

``python -m benchmarks`` runs all of them, ``python -m benchmarks NAME ...`` some. Each module named
in ``__main__.NAMES`` answers one question; the other modules are shared by them.
"""
