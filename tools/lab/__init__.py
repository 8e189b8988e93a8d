"""Sites, servers and processes to try disco with: for the tests and the tools."""
