"""The processes that run user code: the template, and the processors that it forks.

Nothing here imports Trio: each processor would pay for it.
"""
