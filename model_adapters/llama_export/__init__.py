"""Llama checkpoints from RoPE Baichuans, and the proof that they are the same model. No evaluation needs this room."""
