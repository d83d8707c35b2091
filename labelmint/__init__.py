"""The `labelmint` command line: serve, work, train and demonstrate, each in a module named after its command."""
