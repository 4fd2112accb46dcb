"""Proof that a saved model is the trained one, also where this kit is not installed.

`reference.py` notes what the trained model answers while it is in memory, `program.py` runs in a fresh process without
this kit and without a network, `prove.py` brings the two together.
"""
