"""Measures: functions from arrays to numbers, numpy only."""
