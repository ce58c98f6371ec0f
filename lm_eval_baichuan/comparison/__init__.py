"""Sets results beside the published tables and says what the difference means."""
