"""The fetcher beside what else fetches large files. Run it by tests/bench."""
