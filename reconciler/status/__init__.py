"""What came of a pass. Outcomes come in; conditions and phases go out to clients that ask, watch or wait. A key that
failed goes back to the queue after growing pauses.
"""
