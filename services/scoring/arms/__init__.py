"""A second model beside the live one: who decides (``arms_decider``), the shadow's scores. Which model a replica serves: ``../model/serving.py``."""
