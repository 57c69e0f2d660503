"""Answers to written questions about speed and truth, beside what a user would pick instead.

``python -m benchmarks`` runs all of it, ``python -m benchmarks NAME ...`` some: ``pull``,
``cost``, ``first``, ``loop``, ``growth``, ``truth``, ``limiters`` or ``matrix``. Each peer runs in
a fresh process, the server in another, the work is fixed and seeded.
"""
