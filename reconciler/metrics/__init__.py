"""Metrics for Prometheus, computed when they are scraped. Optional: unless the setting `metrics` says where to serve
them, nothing of this is imported.
"""
