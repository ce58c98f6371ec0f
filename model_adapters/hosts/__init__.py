"""What of the host libraries may change under us: their private names and renamed keywords, one file a host.

Each name has a test in tests/hosts that says, when a release moves it, which one it is and who leans on it.
"""
