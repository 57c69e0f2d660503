"""The wire format: request bodies, replies, signatures and the HTTP transport.

``envelope`` reads what all replies share. ``cancels``, ``countdown`` and ``queries`` encode
requests and decode their replies. ``signing`` signs a request; ``transport`` sends one.
"""
