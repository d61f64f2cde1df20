"""Shared parts of the tests: command line, temporary servers, toy networks, expectations."""
