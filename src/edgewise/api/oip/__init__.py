"""Open Inference Protocol v2 over REST, with Triton's binary tensor, configuration, statistics, model repository and
classification extensions.
"""
