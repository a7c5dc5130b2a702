"""Whole agents on a Deployment in virtual time: the live system's policies, paced by what the planner assumed."""
