"""Statistics of drift: pure. The detectors that use them are in ``streams/drift/detectors.py``."""
