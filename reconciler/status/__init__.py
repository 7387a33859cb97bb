"""What came of a pass. Outcomes come in; conditions and phases go out to those who ask, watch or wait, and a key that
failed goes back to the queue after a pause that grows.
"""
