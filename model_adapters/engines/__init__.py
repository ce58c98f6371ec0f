"""lm-eval models whose answers another engine computes, in processes of its own."""
