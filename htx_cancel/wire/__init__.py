"""What goes over the wire: bodies and what replies say, signatures, and the HTTP transport.

``envelope`` reads what all replies share, ``cancels`` and ``queries`` encode and decode the two
kinds of requests, ``signing`` signs them, and ``transport`` moves one request and one reply.
"""
