"""The benchmarks' questions as a folder for offline use: what it holds, filling it, and checking it."""
