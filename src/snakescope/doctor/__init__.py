"""What this machine can do, what a pipeline needs, and what is missing.

Nothing is written, pulled or submitted, and every program that is asked has little time to answer.
"""
