"""Measures the fetcher against other programs that fetch large files. Run it through tests/bench."""
