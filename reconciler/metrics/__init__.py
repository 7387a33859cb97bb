"""Metrics for Prometheus, made when they are asked for. Optional: unless the setting `metrics` says where to serve
them, nothing of this is imported.
"""
