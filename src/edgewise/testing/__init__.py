"""Contract suites and simulators, public so that backends from outside can be tested with them."""
